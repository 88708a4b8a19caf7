"""A file appears whole or not at all, on this machine and in a store that isn't on it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from handler.errors import ConfigurationError
from scripts.bulk.archive import Archive
from scripts.bulk.folder import UNFINISHED, Folder
from scripts.bulk.place import folder_at


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
    assert folder.names() == ["parts/one"]


def test_a_file_whose_writer_fails_is_not_there(folder: Folder) -> None:
    with pytest.raises(ZeroDivisionError), folder.write("parts/one") as file:
        file.write(b"half" * (1 // 0))
    assert folder.names() == []
    assert not folder.exists("parts/one")


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_another_command_has_written_is_there(
    folder: Folder, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfileobj

    def clear_up(*arguments: Any) -> None:
        copy(*arguments)
        monkeypatch.undo()
        if there:
            with folder.write("parts/one") as file:
                file.write(b"one")
        folder.remove(UNFINISHED)

    monkeypatch.setattr(shutil, "copyfileobj", clear_up)
    refused = contextlib.nullcontext() if there else pytest.raises(FileNotFoundError)
    with refused, folder.write("parts/one") as file:
        file.write(b"one")
    assert folder.names() == ["parts/one"] * there


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


def test_a_path_is_the_same_folder_in_a_process_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/kim")
    assert folder_at("쌍/1").url == str(tmp_path / "쌍" / "1")
    assert folder_at("~/쌍").url == "/home/kim/쌍"
    assert folder_at("memory://쌍/1").url == "memory://쌍/1"


def test_a_url_that_nothing_opens_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for url, said in (("s3://bucket/nli-1.0.mar", "Install s3fs"), ("ftpx://host/nli-1.0.mar", "ftpx")):
        for read in (folder_at, Archive.read):
            with pytest.raises(ConfigurationError, match=f"{url} can't be opened.*{said}"):
                read(url)
