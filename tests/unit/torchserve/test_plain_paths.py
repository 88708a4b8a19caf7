"""Links for paths that TorchServe can't read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from scripts.torchserve.plain_paths import LONGEST, PlainPaths


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder with a short path, for links."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.mark.parametrize("name", ["한글", "a b", "$HOME", "50%d", "a'b", 'a"b', "a,b", "a\\b", "a" * LONGEST])
def test_a_folder_gets_a_link_that_stays_the_same(temporary: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    plain = PlainPaths(folder).of(folder, "run")
    assert plain.resolve() == folder
    assert plain.is_relative_to(temporary)
    assert PlainPaths(folder).of(folder, "run") == plain
    assert plain.parent.stat().st_mode & 0o077 == 0


def test_a_plain_path_stays_as_it_is(temporary: Path) -> None:
    folder = temporary / "store-1.0_x"
    folder.mkdir()
    assert PlainPaths(folder).of(folder, "store") == folder
    assert list(temporary.iterdir()) == [folder]


def test_a_file_is_copied(temporary: Path, tmp_path: Path) -> None:
    file = tmp_path / "설정.xml"
    file.write_text("<x/>", encoding="utf-8")
    paths = PlainPaths(tmp_path)
    plain = paths.of(file, "log4j2.xml")
    assert plain.read_text(encoding="utf-8") == "<x/>"
    assert not plain.is_symlink()
    file.write_text("<y/>", encoding="utf-8")
    assert paths.of(file, "log4j2.xml").read_text(encoding="utf-8") == "<y/>"
    paths.remove()
    paths.remove()
    assert list(temporary.iterdir()) == []


def test_two_folders_share_no_link(temporary: Path, tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("가", "나")]
    for each in names:
        each.mkdir()
    assert len({PlainPaths(each).of(each, "run") for each in names}) == 2


@pytest.mark.parametrize("planted", ["a link", "a folder for all"])
def test_what_somebody_else_has_put_there_is_not_used(temporary: Path, tmp_path: Path, planted: str) -> None:
    folder = tmp_path / "가"
    folder.mkdir()
    links = PlainPaths(folder).of(folder, "run").parent
    PlainPaths(folder).remove()
    if planted == "a link":
        links.symlink_to(tmp_path)
    else:
        links.mkdir()
        links.chmod(0o777)
    with pytest.raises(ConfigurationError, match="belongs to somebody else"):
        PlainPaths(folder).of(folder, "run")


def test_a_temporary_folder_in_such_a_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "임시"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(ConfigurationError, match="name another folder in TMPDIR"):
        PlainPaths(folder).of(folder, "run")
