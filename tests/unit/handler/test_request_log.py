"""What a line of the request log says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from handler.record import ANSWERED, ERROR, BatchRecord, RequestRecord
from handler.request_log import MARK, log_requests


def test_each_request_is_a_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    requests = (
        RequestRecord("a-1", ANSWERED, pairs=3, tokens=30, truncated=1, labels=("x", "y", "x")),
        RequestRecord("b-2", ERROR, 413, "limit_exceeded"),
    )
    answered = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    batches = [BatchRecord(each, answered, 0.1, 0.2, 0.0123456, 30, 0) for each in (requests, requests[:1])]
    with caplog.at_level("INFO", "handler.request_log"):
        log_requests(batches, "1.0")
    (message,) = caplog.messages
    first, second, third = message.split("\n")
    assert first.startswith(MARK)
    assert json.loads(first.removeprefix(MARK)) == {
        "time": "2026-01-02T03:04:05.000+00:00",
        "request_id": "a-1",
        "version": "1.0",
        "status": 200,
        "error": None,
        "pairs": 3,
        "tokens": 30,
        "truncated": 1,
        "labels": {"x": 2, "y": 1},
        "ms": 12.346,
        "batch": 2,
    }
    assert json.loads(second.removeprefix(MARK))["error"] == "limit_exceeded"
    assert json.loads(third.removeprefix(MARK))["batch"] == 1


def test_nothing_is_logged_of_an_empty_batch(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "handler.request_log"):
        log_requests([BatchRecord((), datetime.now(UTC), 0, 0, 0, 0, 0)], "1.0")
    assert not caplog.messages
