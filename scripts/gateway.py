"""Run the gateway: nginx in front of a service, with limits, JSON errors and, where wanted, keys."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from scripts import PROJECT
from scripts.command_line.arguments import add_gateway_options, argument_parser, run
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings, client_limits
from scripts.torchserve.processes import StartError


def main() -> int:
    """Read the arguments and run until Ctrl-C or SIGTERM.

    Raises:
        ConfigurationError: a setting can't be used, or nginx can't start.
        StartError: nginx ended without being asked to.
    """
    parser = argument_parser(
        __doc__ or "", "python scripts/gateway.py --service 127.0.0.1:8080 --listen 127.0.0.1:8000"
    )
    parser.add_argument(
        "--service",
        type=Address.parse,
        action="append",
        metavar="HOST:PORT",
        help="TorchServe's inference address; repeat it for more that answer the same (127.0.0.1:8080)",
    )
    parser.add_argument(
        "--readiness",
        type=Address.parse,
        metavar="HOST:PORT",
        help="where the service answers /ready (default: the service's port + 5)",
    )
    parser.add_argument("--listen", default="127.0.0.1:8000", help="0.0.0.0:8000 is every interface")
    parser.add_argument("--model-name", default="nli", help="the model's name in TorchServe's URLs (nli)")
    add_gateway_options(parser)
    parser.add_argument(
        "--log",
        type=Path,
        default=PROJECT / ".run" / "gateway.log",
        help="failed requests and faults; '-' for standard output",
    )
    arguments = parser.parse_args()
    service, *others = arguments.service or [Address("127.0.0.1", 8080)]
    settings = GatewaySettings(
        service=service,
        others=tuple(others),
        listen=Address.parse(arguments.listen),
        readiness=arguments.readiness,
        model=arguments.model_name,
        **client_limits(arguments),
    )
    gateway = Gateway(None if arguments.log == Path("-") else arguments.log, settings)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        with gateway:
            behind = ", ".join(map(str, (service, *others)))
            print(f"ready: {gateway.url} in front of {behind}\nCtrl-C stops it.", flush=True)
            while gateway.is_running():
                time.sleep(0.5)
    except KeyboardInterrupt:
        return 0
    raise StartError(f"nginx ended unasked; see {gateway.log or 'above'}")


if __name__ == "__main__":
    sys.exit(run(main))
