"""What the service is compared with; `python -m scripts.peers.NAME FOLDER PORT WORKERS` starts one."""
