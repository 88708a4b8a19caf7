"""The service in one command: build what is missing, start TorchServe, wait until ready, stop it cleanly."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import get_args

from handler.checkpoint import Precision
from scripts import CONFIG, PROJECT
from scripts.command_line.arguments import add_gateway_options, argument_parser, positive_integer, run
from scripts.model.archive import archive_of
from scripts.torchserve.archives import ArchiveName
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings, client_limits
from scripts.torchserve.saved_state import SavedState, record_ready, record_start
from scripts.torchserve.server import Ports, TorchServe
from scripts.torchserve.service import plan, serve, sole_use

DEMO = PROJECT / "checkpoints" / "demo"
STORE = PROJECT / "model_store"
RUN = PROJECT / ".run"


def main() -> int:
    """Read the arguments and serve."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.archive and arguments.precision:
        parser.error("an archive's precision is fixed: --precision is for a checkpoint")
    with sole_use(arguments.folder):
        last = None if arguments.fresh else SavedState.read(arguments.folder)
        asked = arguments.archive
        if arguments.checkpoint or (asked is None and (last is None or last.started_with.get("shipped"))):
            precision: Precision = arguments.precision or ("fp32" if arguments.checkpoint else "int8")
            asked = [archive_of(arguments.checkpoint or DEMO, _store(arguments), _say, precision)]
        elif arguments.precision:
            parser.error(
                "the saved state's archives have their precision: --precision needs --checkpoint, or --fresh "
                "for the shipped model"
            )
        shipped = not (arguments.archive or arguments.checkpoint)
        planned = plan(asked, arguments.workers, last, shipped)
        if planned.settings:
            _say("bringing back the saved state; --fresh starts anew")
        server = TorchServe(
            arguments.folder,
            planned.archives,
            Ports.following(arguments.port, arguments.metrics_address, arguments.readiness_address),
            planned.workers,
            planned.settings,
            config=arguments.config,
        )
        gateway = _gateway(arguments, server) if arguments.gateway else None

        def announce() -> None:
            record_ready(server, planned.started_with)
            _announce(server, gateway)

        record_start(arguments.folder, last)
        serve(server, announce, gateway, arguments.drain_delay)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argument_parser(__doc__ or "", "scripts/serve --archive model_store/nli-1.0.mar --port 8080")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--archive",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="archives from build_archive.py, in one folder; of several versions the first is the default",
    )
    what.add_argument(
        "--checkpoint", type=Path, help="a converted checkpoint to pack and serve (default: checkpoints/demo)"
    )
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        help="of the checkpoint's archive (default: int8 for the shipped model, fp32 for --checkpoint)",
    )
    parser.add_argument(
        "--port",
        type=positive_integer,
        default=8080,
        help="inference; the next are management, metrics, gRPC, readiness (8080)",
    )
    parser.add_argument(
        "--readiness-address",
        type=Address.parse,
        metavar="HOST:PORT",
        help="for GET /ready, where probes come from elsewhere, such as 0.0.0.0:8085 (loopback, --port + 5)",
    )
    parser.add_argument(
        "--metrics-address",
        type=Address.parse,
        metavar="HOST:PORT",
        help="for Prometheus, where it runs elsewhere, such as 0.0.0.0:8082 (loopback, --port + 2)",
    )
    parser.add_argument(
        "--workers",
        type=positive_integer,
        help="per model (default: one for each core if it is small, else one)",
    )
    parser.add_argument("--gateway", action="store_true", help="start nginx in front of the service too")
    parser.add_argument("--gateway-port", type=int, default=8000, help="where it listens on loopback (8000)")
    parser.add_argument(
        "--gateway-address",
        type=Address.parse,
        metavar="HOST:PORT",
        help="for clients on other machines, such as 0.0.0.0:8000 (loopback, --gateway-port)",
    )
    add_gateway_options(parser, "gateway-")
    parser.add_argument(
        "--folder", type=Path, default=RUN, help="for logs and the saved state; of one service (.run)"
    )
    parser.add_argument(
        "--config", type=Path, default=CONFIG / "config.properties", help="or config/production.properties"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="forget what was registered, promoted and scaled since"
    )
    parser.add_argument(
        "--drain-delay",
        type=float,
        default=0,
        metavar="SECONDS",
        help="time from SIGTERM, when GET /ready turns to 503, until the gateway takes nothing more (0)",
    )
    return parser


def _announce(server: TorchServe, gateway: Gateway | None) -> None:
    name = ArchiveName.of(server.archives[0])
    url = f"{server.url}/predictions/{name.model}"
    page = f"{gateway.url}/, and {gateway.url}/api as in the tutorial" if gateway else f"{url} in a browser"
    _say(
        f"""ready: {", ".join(archive.name for archive in server.archives)}
  the page    {page}
  classify    {url}
  management  {server.management_url}/models
  metrics     {server.metrics_url}/metrics
  readiness   http://{server.ports.readiness_host}:{server.ports.readiness}/ready
  logs        {server.logs}
try:
  curl -s {url} -H 'Content-Type: application/json' \\
    -d '{{"premise": "아이가 공원에서 자전거를 탄다.", "hypothesis": "아이가 자전거를 타지 않는다."}}'
Ctrl-C stops it."""
    )


def _store(arguments: argparse.Namespace) -> Path:
    """The model store for archives that are built here, in the folder if the project can't be written."""
    folder: Path = arguments.folder
    return STORE if os.access(STORE, os.W_OK) else folder / "model_store"


def _gateway(arguments: argparse.Namespace, server: TorchServe) -> Gateway:
    settings = GatewaySettings(
        service=Address("127.0.0.1", server.ports.inference),
        listen=arguments.gateway_address or Address("127.0.0.1", arguments.gateway_port),
        readiness=server.ports.local_readiness,
        model=ArchiveName.of(server.archives[0]).model,
        **client_limits(arguments),
    )
    return Gateway(server.folder / "gateway.log", settings)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
