"""A file appears whole or not at all, on this machine and in a store that isn't on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from scripts.bulk.folder import Folder


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    url = str(tmp_path / "출력, 1") if request.param == "local" else f"memory://{uuid4().hex}"
    folder = Folder(url)
    yield folder
    folder.remove("")


def read(folder: Folder, name: str) -> bytes:
    with folder.open(name) as file:
        return file.read()


def test_a_file_is_there_when_it_is_written_and_not_before(folder: Folder) -> None:
    with folder.write("parts/one") as file:
        file.write(b"one")
        assert folder.names() == []
    assert read(folder, "parts/one") == b"one"
    with folder.write("parts/one") as file:
        file.write(b"again")
    assert read(folder, "parts/one") == b"again"
    assert (folder.size("parts/one"), folder.names()) == (5, ["parts/one"])


def test_a_file_whose_writer_fails_is_not_there(folder: Folder) -> None:
    with pytest.raises(ZeroDivisionError), folder.write("parts/one") as file:
        file.write(b"half" * (1 // 0))
    assert folder.names() == []
    assert not folder.exists("parts/one")


def test_names_are_sorted_and_leave_out_what_is_hidden(folder: Folder) -> None:
    names = ["b/2", "a", "b/10", "_SUCCESS", ".hidden", "_temporary/x", "b/.x"]
    for name in names:
        with folder.write(name) as file:
            file.write(b"")
    assert folder.names() == ["a", "b/10", "b/2"]
    folder.remove("b")
    folder.remove("b")
    assert folder.names() == ["a"]


def test_a_local_path_has_the_content_and_the_ending_of_the_name(folder: Folder) -> None:
    with folder.write("쌍/a.csv.gz") as file:
        file.write(b"content")
    with folder.local("쌍/a.csv.gz") as path:
        assert (path.read_bytes(), path.name) == (b"content", "a.csv.gz")


def test_a_missing_file_is_an_error(folder: Folder) -> None:
    with pytest.raises(OSError, match=os.strerror(2) + "|nothing"), folder.open("nothing"):
        pass
