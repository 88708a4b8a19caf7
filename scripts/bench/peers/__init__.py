"""Other servers of the same model; `python -m scripts.bench.peers.NAME FOLDER PORT WORKERS` starts one."""
