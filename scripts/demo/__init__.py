"""What `train_demo.py` trains: data, made-up pairs, the model."""
