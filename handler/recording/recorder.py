"""Counts and logs batches once they are answered, in a thread of its own.

Each write to stdout wakes the JVM, so lines are written together, and no answer waits for them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import TextIO

from handler.recording import BatchRecord

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.1
"""Time for which records wait for more of them. A worker that is killed loses as much."""

HEARTBEAT_SECONDS = 5.0
"""Time between two heartbeats of a worker."""


class JoinedLines(logging.Handler):
    """Keeps the lines of loggers until it is flushed, and writes them together."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        super().__init__()
        self._stream = stream
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self._lines.append(self.format(record) + "\n")

    def flush(self) -> None:
        """Write what was kept."""
        self.acquire()
        lines, self._lines = self._lines, []
        self.release()
        if lines:
            self._stream.write("".join(lines))
            self._stream.flush()


class Recorder:
    """Hands batches on, those of a tenth of a second together, and sends heartbeats in between."""

    def __init__(
        self,
        record: Callable[[Sequence[BatchRecord]], None],
        beat: Callable[[], None],
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        """Start, with a heartbeat.

        Args:
            record: receives batches, in order; called in the recorder's thread.
            beat: called there at once and every `heartbeat_seconds`, for as long as the process lives.
            heartbeat_seconds: for tests.
        """
        self._record = record
        self._beat = beat
        self._heartbeat_seconds = heartbeat_seconds
        self._waiting: SimpleQueue[BatchRecord] = SimpleQueue()
        threading.Thread(target=self._run, name="recorder", daemon=True).start()

    def put(self, batch: BatchRecord) -> None:
        """Leave a batch to be recorded."""
        self._waiting.put(batch)

    def _run(self) -> None:
        next_beat = monotonic()
        while True:
            try:
                if monotonic() >= next_beat:
                    next_beat += self._heartbeat_seconds
                    self._beat()
                batches = [self._waiting.get(timeout=max(0, next_beat - monotonic()))]
                sleep(FLUSH_SECONDS)
                while not self._waiting.empty():  # nobody else takes any
                    batches.append(self._waiting.get())
                self._record(batches)
            except Empty:
                continue
            except Exception as error:  # the next batches may fare better
                logger.error("recording failed: %s", type(error).__name__)
