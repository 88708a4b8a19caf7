"""Run the gateway: nginx in front of a service, with limits, JSON errors and, where wanted, keys."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from handler.errors import ConfigurationError
from scripts import PROJECT
from scripts.command_line.arguments import argument_parser, run
from scripts.torchserve.gateway import Address, Gateway, read_keys


def main() -> int:
    """Read the arguments and run until Ctrl-C or SIGTERM."""
    parser = argument_parser(
        __doc__ or "", "python scripts/gateway.py --service 127.0.0.1:8080 --listen 127.0.0.1:8000"
    )
    parser.add_argument("--service", default="127.0.0.1:8080", help="TorchServe's inference address")
    parser.add_argument("--listen", default="127.0.0.1:8000", help="0.0.0.0:8000 is every interface")
    parser.add_argument("--model-name", default="nli", help="the model's name in TorchServe's URLs (nli)")
    parser.add_argument(
        "--keys", type=Path, metavar="FILE", help="API keys, one a line (default: none needed)"
    )
    parser.add_argument(
        "--log", type=Path, default=PROJECT / ".run" / "gateway.log", help="refusals and faults"
    )
    arguments = parser.parse_args()
    gateway = Gateway(
        arguments.log,
        Address.parse(arguments.service),
        Address.parse(arguments.listen),
        arguments.model_name,
        read_keys(arguments.keys) if arguments.keys else (),
    )

    def ask(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, ask)
    with gateway:
        print(f"ready: {gateway.url} in front of {gateway.service}\nCtrl-C stops it.", flush=True)
        try:
            while gateway.is_running():
                time.sleep(0.5)
        except KeyboardInterrupt:
            return 0
    raise ConfigurationError(f"nginx ended unasked; see {gateway.log}")


if __name__ == "__main__":
    sys.exit(run(main))
