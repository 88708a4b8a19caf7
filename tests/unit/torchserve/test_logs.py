"""What is read from logs of servers that didn't start."""

from __future__ import annotations

from pathlib import Path

from scripts.torchserve.logs import last_complaint, worker_fault

DIED = "Backend worker process died."


def test_a_workers_own_error_is_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model.log").write_text(
        "2026-01-01 INFO W-9000-nli_1.0-stdout MODEL_LOG - loading\n"
        f"2026-01-01 INFO W-9000-nli_1.0-stdout MODEL_LOG - {DIED}\n"
        "2026-01-01 INFO W-9000-nli_1.0-stdout MODEL_LOG - Traceback (most recent call last):\n"
        "2026-01-01 INFO W-9000-nli_1.0-stdout MODEL_LOG - "
        "handler.errors.ConfigurationError: tokenizer.json is missing\n",
        encoding="utf-8",
    )
    assert worker_fault(tmp_path) == "tokenizer.json is missing"


def test_no_fault_where_no_worker_died(tmp_path: Path) -> None:
    assert worker_fault(tmp_path) is None
    (tmp_path / "model.log").write_text("ValueError: handled\n", encoding="utf-8")
    assert worker_fault(tmp_path) is None


def test_the_launchers_complaint_comes_before_the_servers(tmp_path: Path) -> None:
    assert last_complaint(tmp_path) == f"no reason given; see {tmp_path}"
    (tmp_path / "server.log").write_text("WARN old Java\n", encoding="utf-8")
    assert last_complaint(tmp_path) == f"WARN old Java (more in {tmp_path})"
    (tmp_path / "console.log").write_text("hello\njava: Error: no memory\nbye\n", encoding="utf-8")
    assert last_complaint(tmp_path) == f"java: Error: no memory (more in {tmp_path})"
