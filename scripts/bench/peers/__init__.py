"""What the service is compared with; `python -m scripts.bench.peers.NAME FOLDER PORT WORKERS` starts one."""
