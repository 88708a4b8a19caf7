"""What `scripts/benchmark.py` compares, loads and draws."""
