"""The room of `scripts/benchmark.py`: targets, load, comparison, tables and plots."""
