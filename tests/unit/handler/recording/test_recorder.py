"""What is recorded comes together, in order, and nothing stops the recorder."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from handler.recording import BatchRecord
from handler.recording.recorder import JoinedLines, Recorder


class CountedWrites(io.StringIO):
    """A stream that knows how often it was written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


def batch(tokens: int) -> BatchRecord:
    return BatchRecord((), datetime.now(UTC), 0, 0, tokens, 0)


def test_lines_are_written_together() -> None:
    stream = CountedWrites()
    lines = JoinedLines(stream)
    logger = logging.Logger("some")
    logger.addHandler(lines)
    for number in range(3):
        logger.info("line %d", number)
    assert not stream.writes
    lines.flush()
    lines.flush()
    assert (stream.writes, stream.getvalue()) == (1, "line 0\nline 1\nline 2\n")


def test_batches_that_come_together_are_recorded_together_and_in_order() -> None:
    calls: list[list[int]] = []
    done = threading.Event()

    def record(batches: Sequence[BatchRecord]) -> None:
        calls.append([each.tokens for each in batches])
        if sum(map(len, calls)) == 100:
            done.set()

    recorder = Recorder(record, lambda: None)
    for tokens in range(100):
        recorder.put(batch(tokens))
    assert done.wait(10)
    assert [tokens for call in calls for tokens in call] == list(range(100))
    assert len(calls) < 10


def test_heartbeats_come_at_once_and_go_on_also_where_recording_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    beats = threading.Semaphore(0)
    failed = threading.Event()

    def record(_: Sequence[BatchRecord]) -> None:
        failed.set()
        raise ValueError("a text of a user")

    Recorder(record, beats.release, heartbeat_seconds=600)
    assert beats.acquire(timeout=60)
    recorder = Recorder(record, beats.release, heartbeat_seconds=0.05)
    recorder.put(batch(1))
    assert failed.wait(60)
    while beats.acquire(blocking=False):  # those before the failure
        pass
    assert beats.acquire(timeout=60)
    assert beats.acquire(timeout=60)
    assert caplog.messages == ["recording failed: ValueError"]
