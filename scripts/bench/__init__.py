"""The room of `scripts/benchmark.py`: targets, load, comparison and tables."""
