"""Serve a model: build its archive where needed, start TorchServe, wait until ready, stop it cleanly."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from handler.errors import ConfigurationError
from scripts.build_archive import MODEL_CONFIG, PROJECT, build_archive
from scripts.command_line import argument_parser, run
from scripts.gateway import Address, Gateway, read_keys
from scripts.operating.management import Management
from scripts.running.draining import drain
from scripts.running.readiness import Readiness
from scripts.running.registered import Registered, describe_start, record_ready, record_start
from scripts.running.server import CONFIG, ArchiveName, Ports, TorchServe
from scripts.running.sizing import suitable_workers

DEMO = PROJECT / "checkpoints" / "demo"
STORE = PROJECT / "model_store"
RUN = PROJECT / ".run"


def archive_name(checkpoint: Path) -> str:
    """How the archive of a checkpoint is called in the model store."""
    return f"nli-{checkpoint.resolve().name}.mar"


def archive_of(checkpoint: Path) -> Path:
    """The archive of a checkpoint in the model store, built where it is missing or older than its sources.

    Raises:
        ConfigurationError: the checkpoint is unfit to be served.
    """
    if not (checkpoint / "config.json").is_file():
        raise ConfigurationError(f"{checkpoint} is not a converted checkpoint: it has no config.json")
    archive = STORE / archive_name(checkpoint)
    sources = [*checkpoint.iterdir(), *(PROJECT / "handler").iterdir(), MODEL_CONFIG]
    newest = max(source.stat().st_mtime for source in sources)
    if not archive.exists() or archive.stat().st_mtime < newest:
        print(f"building {archive.name} from {checkpoint} ...", flush=True)
        build_archive(checkpoint, "1.0", archive, force=True)
    return archive


def serve(
    server: TorchServe,
    announce: Callable[[], None],
    gateway: Gateway | None = None,
    notice_seconds: float = 0,
) -> None:
    """Run `server`, and `gateway` before it, until SIGINT or SIGTERM, or until one ends by itself.

    Asked to stop, it says so at once to who asks for readiness, goes on for `notice_seconds`, takes nothing
    new, answers what it has, and ends; asked again, it ends at once.

    Raises:
        ConfigurationError: it couldn't start, or it ended unasked.
    """
    asked = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    model = ArchiveName.of(server.archives[0]).model
    readiness = Readiness(Management(server.management_url, model, server.key_file), server.ports.readiness)
    ready = False
    try:
        if gateway:
            gateway.start()  # first, so that a missing nginx is told at once
        server.start()
        readiness.start()
        server.wait_until_ready(progress=_show_progress)
        ready = True
        print("\r", end="")
        announce()
        while server.is_running() and (gateway is None or gateway.is_running()):
            asked.wait(0.5)
        raise ConfigurationError(f"the service ended unasked; see {server.logs}")
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            readiness.announce_stop()
            if ready and server.is_running():
                time.sleep(notice_seconds)
                if gateway:
                    gateway.stop()
                drain(server, lambda line: print(line, flush=True))
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # a third Ctrl-C must not leave a half-stopped server
        if gateway:
            gateway.stop()
        server.stop()
        readiness.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Hold a folder for one service at a time; a killed one lets go of it.

    Raises:
        ConfigurationError: another one holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"a service runs in {folder} already; give this one another --folder"
            ) from None
        yield


@dataclass(frozen=True, slots=True)
class Plan:
    """What a start is to bring."""

    archives: Sequence[Path]
    workers: int | None
    """Of each version; None where `settings` brings them back."""
    settings: dict[str, str]
    started_with: dict[str, Any]
    """What the next start compares itself with."""


def plan(asked: Sequence[Path] | None, workers: int | None, last: Registered | None) -> Plan:
    """Decide what to serve, after `last`.

    The same archives as last time, or no wish, bring back what was registered in the end, all as it was; if
    another number of workers is asked for, each version gets that many. Other archives are a new beginning,
    with as many workers as suit the first of them unless told otherwise. Who never wished for anything gets
    the demo model.

    Raises:
        ConfigurationError: an archive is missing or broken.
    """
    if asked is None and last is not None and list(last.started_with["archives"]) != [archive_name(DEMO)]:
        archives: Sequence[Path] = []
        started_with = last.started_with | {"workers": workers or last.started_with["workers"]}
    else:
        archives = asked or [archive_of(DEMO)]
        started_with = describe_start(archives, workers)
    if last is not None and last.started_with["archives"] == started_with["archives"]:
        archives = last.archives()
        if last.started_with == started_with:
            return Plan(archives, None, last.settings(), started_with)
    return Plan(archives, workers or suitable_workers(archives[0]), {}, started_with)


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
    asked = arguments.archive or ([archive_of(arguments.checkpoint)] if arguments.checkpoint else None)
    with sole_use(arguments.folder):
        last = None if arguments.fresh else Registered.read(arguments.folder)
        planned = plan(asked, arguments.workers, last)
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


def _gateway(arguments: argparse.Namespace, server: TorchServe) -> Gateway:
    return Gateway(
        server.folder / "gateway.log",
        Address("127.0.0.1", server.ports.inference),
        Address("127.0.0.1", arguments.gateway_port),
        ArchiveName.of(server.archives[0]).model,
        read_keys(arguments.gateway_keys) if arguments.gateway_keys else (),
    )


if __name__ == "__main__":
    sys.exit(run(main))
