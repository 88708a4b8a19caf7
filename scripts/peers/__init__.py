"""What the benchmark compares the service with; `python -m scripts.peers.NAME FOLDER PORT` starts one."""
