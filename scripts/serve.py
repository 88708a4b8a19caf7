"""Serve a model: build its archive where needed, start TorchServe, wait until ready, stop it cleanly."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts import CONFIG, PROJECT
from scripts.command_line.arguments import argument_parser, run
from scripts.model.archive import archive_of
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings, read_keys
from scripts.torchserve.saved_state import Registered, record_ready, record_start
from scripts.torchserve.server import ArchiveName, Ports, TorchServe
from scripts.torchserve.service import plan, serve, sole_use

DEMO = PROJECT / "checkpoints" / "demo"
STORE = PROJECT / "model_store"
RUN = PROJECT / ".run"


def _announce(server: TorchServe, gateway: Gateway | None) -> None:
    name = ArchiveName.of(server.archives[0])
    url = f"{server.url}/predictions/{name.model}"
    door = f"{gateway.url}/, and {gateway.url}/api as in the tutorial" if gateway else f"{url} in a browser"
    print(
        f"""ready: {", ".join(archive.name for archive in server.archives)}
  the page    {door}
  classify    {url}
  management  {server.management_url}/models
  metrics     {server.metrics_url}/metrics
  readiness   http://127.0.0.1:{server.ports.readiness}/ready
  logs        {server.logs}
try:
  curl -s {url} -H 'Content-Type: application/json' \\
    -d '{{"premise": "아이가 공원에서 자전거를 탄다.", "hypothesis": "아이가 자전거를 타지 않는다."}}'
Ctrl-C stops it.""",
        flush=True,
    )


def main() -> int:
    """Read the arguments and serve."""
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
        "--port",
        type=int,
        default=8080,
        help="inference; the next are management, metrics, gRPC, readiness (8080)",
    )
    parser.add_argument("--workers", type=int, help="per model (default: a small one gets one a core)")
    parser.add_argument("--gateway", action="store_true", help="start nginx in front of the service too")
    parser.add_argument("--gateway-port", type=int, default=8000, help="where it listens on loopback (8000)")
    parser.add_argument("--gateway-keys", type=Path, metavar="FILE", help="API keys it wants, one a line")
    parser.add_argument("--folder", type=Path, default=RUN, help="for logs and what is registered (.run)")
    parser.add_argument(
        "--config", type=Path, default=CONFIG / "config.properties", help="or config/production.properties"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="forget what was registered, promoted and scaled since"
    )
    parser.add_argument(
        "--notice",
        type=float,
        default=0,
        metavar="SECONDS",
        help="asked to stop, say so to load balancers (GET /ready) and go on for so long first (0)",
    )
    arguments = parser.parse_args()
    if not 1 <= arguments.port <= 65530:
        parser.error("--port must be from 1 to 65530")
    if arguments.workers is not None and arguments.workers < 1:
        parser.error("--workers must be at least 1")
    asked = arguments.archive
    if arguments.checkpoint:
        asked = [archive_of(arguments.checkpoint, STORE, _say)]
    with sole_use(arguments.folder):
        last = None if arguments.fresh else Registered.read(arguments.folder)
        if asked is None and (last is None or last.is_shipped_model):
            asked = [archive_of(DEMO, STORE, _say)]
        planned = plan(
            asked, arguments.workers, last, shipped=not (arguments.archive or arguments.checkpoint)
        )
        if planned.settings:
            print("bringing back what was registered; --fresh starts anew", flush=True)
        server = TorchServe(
            arguments.folder,
            planned.archives,
            Ports.following(arguments.port),
            planned.workers,
            planned.settings,
            config=arguments.config,
        )
        gateway = _gateway(arguments, server) if arguments.gateway else None

        def announce() -> None:
            record_ready(server, planned.started_with)
            _announce(server, gateway)

        record_start(arguments.folder, last)
        serve(server, announce, gateway, arguments.notice)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _gateway(arguments: argparse.Namespace, server: TorchServe) -> Gateway:
    settings = GatewaySettings(
        service=Address("127.0.0.1", server.ports.inference),
        listen=Address("127.0.0.1", arguments.gateway_port),
        readiness=Address("127.0.0.1", server.ports.readiness),
        model=ArchiveName.of(server.archives[0]).model,
        keys=read_keys(arguments.gateway_keys) if arguments.gateway_keys else (),
    )
    return Gateway(server.folder / "gateway.log", settings)


if __name__ == "__main__":
    sys.exit(run(main))
