"""Writing a file over hours, so that a killed run continues where it stopped.

Rows are appended to `OUTPUT.part`. Beside it, `OUTPUT.progress` records the task and how far it has come, in
rows and in bytes; it is replaced as a whole after each chunk has reached the disk. A run that finds both cuts
off everything after the recorded byte, a torn row at most, and continues after the recorded row. `OUTPUT`
itself appears when the task is done.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from handler.errors import ServiceError


class OutputError(ServiceError):
    """A file can't be written: it exists, belongs to another run, or the disk is full."""


class ResumableOutput:
    """A file that grows by chunks of whole rows, and counts what they hold."""

    def __init__(self, path: Path, task: Mapping[str, Any], header: bytes, force: bool = False) -> None:
        """Check the path; nothing is read or written yet.

        Args:
            path: the file to be written.
            task: a description of the task, as JSON; a run continues only what was begun for the same task.
            header: the beginning of the file.
            force: start over, and replace `path` in the end.

        Raises:
            OutputError: `path` exists already, or its folder doesn't.
        """
        self.path = path
        self._task = dict(task)
        self._header = header
        self._force = force
        self._part = path.with_name(f"{path.name}.part")
        self._progress = path.with_name(f"{path.name}.progress")
        self.rows = 0
        self.counts: Counter[str] = Counter()
        self._bytes = 0
        if path.exists() and not force:
            raise OutputError(f"{path} exists already; --force replaces it")
        if not path.parent.is_dir():
            raise OutputError(f"{path.parent} is no folder")

    def _resume(self) -> None:
        try:
            recorded = json.loads(self._progress.read_text(encoding="utf-8"))
            task, rows, size = recorded["task"], int(recorded["rows"]), int(recorded["bytes"])
            counts = Counter(recorded["counts"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{self._progress} is unreadable ({error}); --force starts over") from None
        different = [key for key in self._task | task if self._task.get(key) != task.get(key)]
        if different:
            raise OutputError(
                f"{self._part} was begun with another {', '.join(different)}; --force starts over"
            )
        if self._part.stat().st_size < size:
            raise OutputError(f"{self._part} is shorter than it was; --force starts over")
        self.rows, self._bytes, self.counts = rows, size, counts

    def __enter__(self) -> Self:
        """Open the file behind the last recorded row.

        Raises:
            OutputError: another run is writing it, or another task was begun for it.
        """
        try:
            self._file = self._part.open("ab")
        except OSError as error:
            raise OutputError(f"{self._part} can't be written: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise OutputError(f"another run is writing {self._part}") from None
        try:
            if self._progress.exists() and not self._force:
                self._resume()
            self._file.truncate(self._bytes)
            if not self._bytes:
                self.append(self._header, 0, Counter())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def append(self, chunk: bytes, rows: int, counts: Counter[str]) -> None:
        """Write whole rows and record them; when this returns, a power cut doesn't lose them.

        Raises:
            OutputError: the disk is full, or broken.
        """
        try:
            self._file.write(chunk)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._bytes += len(chunk)
            self.rows += rows
            self.counts += counts
            self._record()
        except OSError as error:
            raise OutputError(f"{self._part} can't be written: {error.strerror}") from None

    def _record(self) -> None:
        state = {"task": self._task, "rows": self.rows, "bytes": self._bytes, "counts": self.counts}
        new = self._progress.with_name(f"{self._progress.name}.new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(state, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._progress)

    def finish(self) -> None:
        """Give the complete file its name."""
        self._part.replace(self.path)
        self._progress.unlink()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; an unfinished one can be continued by another run."""
        with contextlib.suppress(OSError):  # what a full disk didn't take isn't recorded either
            self._file.close()
