"""Run the gateway: nginx in front of a service, with limits, JSON errors and, where wanted, keys."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from handler.errors import ConfigurationError
from scripts import PROJECT
from scripts.command_line.arguments import argument_parser, positive_integer, run
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import LOOPBACK, Address, GatewaySettings, read_keys


def main() -> int:
    """Read the arguments and run until Ctrl-C or SIGTERM."""
    parser = argument_parser(
        __doc__ or "", "python scripts/gateway.py --service 127.0.0.1:8080 --listen 127.0.0.1:8000"
    )
    parser.add_argument("--service", default="127.0.0.1:8080", help="TorchServe's inference address")
    parser.add_argument(
        "--readiness",
        metavar="HOST:PORT",
        help="where the service answers /ready (default: the service's port + 5)",
    )
    parser.add_argument("--listen", default="127.0.0.1:8000", help="0.0.0.0:8000 is every interface")
    parser.add_argument("--model-name", default="nli", help="the model's name in TorchServe's URLs (nli)")
    parser.add_argument(
        "--keys", type=Path, metavar="FILE", help="API keys, one a line (default: none needed)"
    )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        metavar="ADDRESS_OR_NETWORK",
        help="a proxy whose X-Forwarded-For names the client; repeat it for more, 'none' trusts nobody "
        f"({' and '.join(LOOPBACK)})",
    )
    parser.add_argument(
        "--rate", type=positive_integer, default=10, help="requests a second from one address (10)"
    )
    parser.add_argument(
        "--large-rate", type=positive_integer, default=1, help="of these with 1,000 bytes or more (1)"
    )
    parser.add_argument(
        "--log",
        type=Path,
        default=PROJECT / ".run" / "gateway.log",
        help="failed requests and faults; '-' for standard output",
    )
    arguments = parser.parse_args()
    proxies = tuple(arguments.trusted_proxy or LOOPBACK)
    settings = GatewaySettings(
        service=Address.parse(arguments.service),
        listen=Address.parse(arguments.listen),
        readiness=Address.parse(arguments.readiness) if arguments.readiness else None,
        model=arguments.model_name,
        keys=read_keys(arguments.keys) if arguments.keys else (),
        trusted_proxies=() if proxies == ("none",) else proxies,
        rate=arguments.rate,
        large_rate=arguments.large_rate,
    )
    gateway = Gateway(None if arguments.log == Path("-") else arguments.log, settings)

    def ask(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, ask)
    try:
        with gateway:
            print(f"ready: {gateway.url} in front of {settings.service}\nCtrl-C stops it.", flush=True)
            while gateway.is_running():
                time.sleep(0.5)
    except KeyboardInterrupt:
        return 0
    raise ConfigurationError(f"nginx ended unasked; see {arguments.log}")


if __name__ == "__main__":
    sys.exit(run(main))
