"""Serve a model: build its archive where needed, start TorchServe, wait until ready, stop it cleanly."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from handler.errors import ConfigurationError
from scripts.build_archive import MODEL_CONFIG, PROJECT, build_archive
from scripts.command_line import argument_parser, run
from scripts.gateway import Address, Gateway, read_keys
from scripts.server import ArchiveName, Ports, TorchServe

DEMO = PROJECT / "checkpoints" / "demo"
STORE = PROJECT / "model_store"
RUN = PROJECT / ".run"


def archive_of(checkpoint: Path) -> Path:
    """The archive of a checkpoint in the model store, built where it is missing or older than its sources.

    Raises:
        ConfigurationError: the checkpoint is unfit to be served.
    """
    if not (checkpoint / "config.json").is_file():
        raise ConfigurationError(f"{checkpoint} is not a converted checkpoint: it has no config.json")
    archive = STORE / f"nli-{checkpoint.resolve().name}.mar"
    sources = [*checkpoint.iterdir(), *(PROJECT / "handler").iterdir(), MODEL_CONFIG]
    newest = max(source.stat().st_mtime for source in sources)
    if not archive.exists() or archive.stat().st_mtime < newest:
        print(f"building {archive.name} from {checkpoint} ...", flush=True)
        build_archive(checkpoint, "1.0", archive, force=True)
    return archive


def serve(server: TorchServe, announce: Callable[[], None], gateway: Gateway | None = None) -> None:
    """Run `server`, and `gateway` before it, until SIGINT or SIGTERM, or until one ends by itself.

    Raises:
        ConfigurationError: it couldn't start, or it ended unasked.
    """
    asked = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if gateway:
            gateway.start()  # first, so that a missing nginx is told at once
        server.start()
        server.wait_until_ready(progress=_show_progress)
        print("\r", end="")
        announce()
        while server.is_running() and (gateway is None or gateway.is_running()):
            asked.wait(0.5)
        raise ConfigurationError(f"the service ended unasked; see {server.logs}")
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
    finally:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave a half-stopped server
        if gateway:
            gateway.stop()
        server.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _show_progress(seconds: float) -> None:
    if sys.stdout.isatty():
        print(f"\rstarting ... {seconds:.0f} s ", end="", flush=True)


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
  logs        {server.logs}
try:
  curl -s {url} -H 'Content-Type: application/json' \\
    -d '{{"premise": "한 남자가 기타를 치고 있다.", "hypothesis": "남자가 악기를 연주한다."}}'
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
        "--port", type=int, default=8080, help="inference; the next are management, metrics, gRPC (8080)"
    )
    parser.add_argument("--workers", type=int, help="per model (default: what the archive says)")
    parser.add_argument("--gateway", action="store_true", help="start nginx in front of the service too")
    parser.add_argument("--gateway-port", type=int, default=8000, help="where it listens on loopback (8000)")
    parser.add_argument("--gateway-keys", type=Path, metavar="FILE", help="API keys it wants, one a line")
    arguments = parser.parse_args()
    if not 1 <= arguments.port <= 65531:
        parser.error("--port must be from 1 to 65531")
    if arguments.workers is not None and arguments.workers < 1:
        parser.error("--workers must be at least 1")
    archives = arguments.archive or [archive_of(arguments.checkpoint or DEMO)]
    server = TorchServe(RUN, archives, Ports.following(arguments.port), arguments.workers)
    gateway = None
    if arguments.gateway:
        gateway = Gateway(
            server.folder / "gateway.log",
            Address("127.0.0.1", server.ports.inference),
            Address("127.0.0.1", arguments.gateway_port),
            ArchiveName.of(archives[0]).model,
            read_keys(arguments.gateway_keys) if arguments.gateway_keys else (),
        )
    serve(server, lambda: _announce(server, gateway), gateway)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
