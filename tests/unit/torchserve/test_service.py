"""The plan of a start, given the saved state, and a folder that one service holds."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from handler.errors import ConfigurationError
from scripts import PROJECT
from scripts.torchserve import gateway, management, processes, server
from scripts.torchserve.draining import DRAIN_SECONDS
from scripts.torchserve.ports import Ports
from scripts.torchserve.processes import end, family_of, leftovers
from scripts.torchserve.saved_state import SavedState, describe_start
from scripts.torchserve.server import TorchServe
from scripts.torchserve.service import STOP_SECONDS, StopSignals, plan, serve, sole_use
from tests.unit.torchserve.packing import write_archive


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for version in ("1.0", "2.0", "3.0"):
        write_archive(folder / f"nli-{version}.mar", version)
    return folder


@pytest.fixture
def last(store: Path) -> SavedState:
    """Started with 1.0; in the end 2.0 was the default beside it, with three workers."""
    versions: dict[str, Any] = {
        "1.0": {"marName": "nli-1.0.mar", "defaultVersion": False, "minWorkers": 1},
        "2.0": {"marName": "nli-2.0.mar", "defaultVersion": True, "minWorkers": 3},
    }
    return SavedState(describe_start([store / "nli-1.0.mar"], None), store, {"models": {"nli": versions}})


def names(archives: object) -> list[str]:
    assert isinstance(archives, (list, tuple))
    return [archive.name for archive in archives]


def test_the_first_start_brings_what_is_asked_for(store: Path) -> None:
    planned = plan([store / "nli-1.0.mar"], 2, None)
    assert (names(planned.archives), planned.workers, planned.settings) == (["nli-1.0.mar"], 2, {})


@pytest.mark.parametrize("wish", [True, False], ids=["the-same-wish", "no-wish"])
def test_the_same_again_brings_back_what_was_registered(store: Path, last: SavedState, wish: bool) -> None:
    planned = plan([store / "nli-1.0.mar"] if wish else None, None, last)
    assert (names(planned.archives), planned.workers) == (["nli-2.0.mar", "nli-1.0.mar"], None)
    assert planned.settings == last.settings()
    assert planned.started_with == last.started_with


@pytest.mark.parametrize("wish", [True, False], ids=["the-same-wish", "no-wish"])
def test_another_number_of_workers_keeps_the_versions(store: Path, last: SavedState, wish: bool) -> None:
    planned = plan([store / "nli-1.0.mar"] if wish else None, 2, last)
    assert (names(planned.archives), planned.workers) == (["nli-2.0.mar", "nli-1.0.mar"], 2)
    assert planned.settings == {}
    again = plan(None, None, SavedState(planned.started_with, store, last.snapshot))
    assert again.settings == last.settings()


def test_other_archives_are_a_new_beginning(store: Path, last: SavedState) -> None:
    planned = plan([store / "nli-3.0.mar"], None, last)
    assert (names(planned.archives), planned.settings) == (["nli-3.0.mar"], {})


def test_a_broken_archive_is_told(tmp_path: Path, last: SavedState) -> None:
    with pytest.raises(ConfigurationError, match="doesn't exist"):
        plan([tmp_path / "missing.mar"], None, last)


def test_a_folder_is_for_one_service_and_free_afterwards(tmp_path: Path) -> None:
    with (
        sole_use(tmp_path),
        pytest.raises(ConfigurationError, match=r"runs in .* already"),
        sole_use(tmp_path),
    ):
        pass
    with sole_use(tmp_path):
        pass


def test_a_signal_while_a_process_is_started_is_held_until_it_is_known() -> None:
    signals = StopSignals()
    known: list[bool] = []

    def start() -> None:
        with signals.held():
            signal.raise_signal(signal.SIGTERM)
            known.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert known
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signals.asked.is_set()
        signals.ignore()
        signal.raise_signal(signal.SIGTERM)
    finally:
        signals.restore()


def test_sigterm_between_start_and_remembering_leaves_no_process(
    tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            signal.raise_signal(signal.SIGTERM)  # the process runs, and nobody has its number yet

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", Interrupted)
        serve(TorchServe(tmp_path / "ts", [tiny_archive], Ports.free()), lambda: None)
    (launcher,) = started[:1]
    try:
        assert launcher.poll() is not None
        assert leftovers(tmp_path / "ts") == []
    finally:
        end([*family_of(launcher.pid), *leftovers(tmp_path / "ts")])


def test_the_documented_time_to_stop_is_that_of_the_constants() -> None:
    text = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
    parts = [float(number) for number in re.findall(r"\((\d+) s at most\)", text)]
    assert parts == [
        gateway.STOP_SECONDS,
        DRAIN_SECONDS + management.SECONDS,
        server.STOP_SECONDS + 3 * processes.KILL_SECONDS,
    ]
    (total,) = re.findall(r"give a service manager (\d+) s plus the drain delay", text)
    assert STOP_SECONDS <= int(total) < STOP_SECONDS + 2
