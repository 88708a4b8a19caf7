"""A file that grows over several runs, whatever ends them."""

from __future__ import annotations

import resource
from collections import Counter
from pathlib import Path

import pytest

from scripts.pairs.resumable_output import OutputError, ResumableOutput

TASK = {"input": "abc"}
HEADER = b"h\n"


def output(path: Path, task: dict[str, str] = TASK, force: bool = False) -> ResumableOutput:
    return ResumableOutput(path, task, HEADER, force)


def write(path: Path, *rows: bytes) -> None:
    """A run that ends without finishing."""
    with output(path) as written:
        for row in rows:
            written.append(row, 1, Counter(good=1))


def test_a_second_run_goes_on_behind_the_first(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    write(path, b"1\n", b"2\n")
    assert not path.exists()
    with output(path) as written:
        assert (written.rows, written.counts) == (2, {"good": 2})
        written.append(b"3\n4\n", 2, Counter(good=1, bad=1))
        written.finish()
    assert path.read_bytes() == b"h\n1\n2\n3\n4\n"
    assert written.counts == {"good": 3, "bad": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["o.csv"]


@pytest.mark.parametrize("torn", [b"3", b"3,\xea\xb0", b"3\n4\n5"])
def test_what_was_written_but_not_recorded_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "o.csv"
    write(path, b"1\n", b"2\n")
    with (tmp_path / "o.csv.part").open("ab") as file:
        file.write(torn)
    with output(path) as written:
        assert written.rows == 2
        written.append(b"3\n", 1, Counter())
        written.finish()
    assert path.read_bytes() == b"h\n1\n2\n3\n"


def test_a_part_without_a_record_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    (tmp_path / "o.csv.part").write_bytes(b"h\n1")
    write(path, b"1\n")
    assert (tmp_path / "o.csv.part").read_bytes() == b"h\n1\n"


def test_another_task_isnt_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    write(path, b"1\n")
    with pytest.raises(OutputError, match="another input"), output(path, {"input": "other"}):
        pass
    (tmp_path / "o.csv.part").write_bytes(b"h")
    with pytest.raises(OutputError, match="shorter"), output(path):
        pass
    (tmp_path / "o.csv.progress").write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match="unreadable"), output(path):
        pass
    with output(path, {"input": "other"}, force=True) as written:
        assert written.rows == 0
        written.finish()
    assert path.read_bytes() == HEADER


def test_a_finished_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_bytes(b"kept")
    with pytest.raises(OutputError, match="exists"):
        output(path)
    with output(path, force=True) as written:
        written.append(b"1\n", 1, Counter())
        assert path.read_bytes() == b"kept"
        written.finish()
    assert path.read_bytes() == b"h\n1\n"


def test_two_runs_dont_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    with (
        output(path) as written,
        pytest.raises(OutputError, match="another run"),
        output(path),
    ):
        pass
    assert written.rows == 0


def test_a_missing_folder_and_a_full_disk_are_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder"):
        output(tmp_path / "none" / "o.csv")
    full = tmp_path / "full.csv"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with output(full) as written:
        written.append(b"1\n", 1, Counter())
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            with pytest.raises(OutputError, match="can't be written"):
                written.append(b"2\n" * 100, 100, Counter())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with output(full) as written:
        assert written.rows == 1
        written.append(b"2\n", 1, Counter())
        written.finish()
    assert full.read_bytes() == b"h\n1\n2\n"
