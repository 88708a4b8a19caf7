"""Reading and writing the saved state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handler.errors import ConfigurationError
from scripts.torchserve.saved_state import RECORD, SNAPSHOTS, SavedState, describe_start, record_start
from tests.unit.torchserve.packing import write_archive


def snapshot(**versions: bool) -> dict[str, Any]:
    """As TorchServe writes it: versions like v1=False, True for the default."""
    described = {
        f"{name[1:]}.0": {"marName": f"nli-{name[1:]}.0.mar", "defaultVersion": default, "minWorkers": 1}
        for name, default in versions.items()
    }
    return {"name": "x", "modelCount": len(described), "models": {"nli": described}}


def write_record(folder: Path, store: Path, ready: bool = True) -> None:
    content = {"ready": ready, "started_with": {}, "store": str(store), "snapshot": snapshot(v1=True)}
    (folder / RECORD).write_text(json.dumps(content), encoding="utf-8")


def write_snapshot(folder: Path, name: str, content: dict[str, Any], length: int | None = None) -> None:
    """In Java's properties format, where colons, equal signs and line ends are escaped."""
    text = json.dumps(content, indent=2).replace(":", "\\:").replace("\n", "\\n")
    (folder / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
    file = folder / SNAPSHOTS / f"{name}.cfg"
    file.write_text(
        f"#Saving snapshot\nvmargs=-Xmx256m\nmodel_snapshot={text}"[:length] + "\n", encoding="latin-1"
    )


def versions(registered: SavedState | None) -> dict[str, bool]:
    assert registered
    return {name: state["defaultVersion"] for name, state in registered.snapshot["models"]["nli"].items()}


def test_nothing_is_brought_back_where_nothing_was(tmp_path: Path) -> None:
    assert SavedState.read(tmp_path) is None


def test_the_newest_snapshot_counts(tmp_path: Path) -> None:
    write_record(tmp_path, tmp_path)
    write_snapshot(tmp_path, "20260101000000001-startup", snapshot(v1=True))
    write_snapshot(tmp_path, "20260101000000003-snapshot", snapshot(v1=False, v2=True))
    write_snapshot(tmp_path, "20260101000000002-snapshot", snapshot(v1=True, v2=False))
    assert versions(SavedState.read(tmp_path)) == {"1.0": False, "2.0": True}


def test_a_snapshot_that_a_kill_cut_short_does_not_count(tmp_path: Path) -> None:
    write_record(tmp_path, tmp_path)
    write_snapshot(tmp_path, "20260101000000001-snapshot", snapshot(v1=False, v2=True))
    write_snapshot(tmp_path, "20260101000000002-snapshot", snapshot(v3=True), length=120)
    write_snapshot(tmp_path, "20260101000000003-snapshot", snapshot(v3=True), length=20)
    assert versions(SavedState.read(tmp_path)) == {"1.0": False, "2.0": True}


def test_a_start_that_never_became_ready_changes_nothing(tmp_path: Path) -> None:
    write_record(tmp_path, tmp_path)
    write_snapshot(tmp_path, "20260101000000001-snapshot", snapshot(v1=False, v2=True))
    record_start(tmp_path, SavedState.read(tmp_path))
    assert not list((tmp_path / SNAPSHOTS).iterdir())
    write_snapshot(tmp_path, "20260101000000002-startup", snapshot(v3=True))  # and then it was killed
    assert versions(SavedState.read(tmp_path)) == {"1.0": False, "2.0": True}


def test_a_fresh_start_forgets(tmp_path: Path) -> None:
    write_record(tmp_path, tmp_path)
    record_start(tmp_path, None)
    assert SavedState.read(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{}", '{"ready": true}', "[]"])
def test_a_damaged_record_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / RECORD).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is damaged"):
        SavedState.read(tmp_path)


def test_archives_come_with_the_default_first(tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        write_archive(tmp_path / f"nli-{version}.mar", version)
    registered = SavedState({}, tmp_path, snapshot(v1=False, v2=True))
    assert [archive.name for archive in registered.archives()] == ["nli-2.0.mar", "nli-1.0.mar"]
    assert json.loads(registered.settings()["model_snapshot"]) == registered.snapshot


def test_an_archive_that_is_gone_or_another_stops_the_start(tmp_path: Path) -> None:
    registered = SavedState({}, tmp_path, snapshot(v2=True))
    with pytest.raises(ConfigurationError, match="which is gone or holds another version"):
        registered.archives()
    write_archive(tmp_path / "nli-2.0.mar", "1.0")
    with pytest.raises(ConfigurationError, match="which is gone or holds another version"):
        registered.archives()


def test_the_same_content_is_the_same_start(tmp_path: Path) -> None:
    archive = tmp_path / "nli.mar"
    write_archive(archive, "1.0")
    first = describe_start([archive], None)
    write_archive(archive, "1.0")
    assert describe_start([archive], None) == first
    assert describe_start([archive], 2) != first
    write_archive(archive, "2.0")
    assert describe_start([archive], None) != first
