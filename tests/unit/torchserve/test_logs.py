"""What is read from logs of servers that didn't start."""

from __future__ import annotations

from pathlib import Path

from scripts.torchserve.logs import KEPT, last_complaint, set_aside, worker_fault

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


def test_a_traceback_that_is_still_being_written_is_no_reason_yet(tmp_path: Path) -> None:
    log = tmp_path / "model.log"
    begun = f"INFO W-9000-nli_1.0-stdout {DIED}\nINFO W-9000-nli_1.0-stdout                ^^^^^^^\n"
    log.write_text(begun, encoding="utf-8")
    assert worker_fault(tmp_path) is None
    log.write_text(f"{begun}INFO W-9000-nli_1.0-stdout RuntimeError: no memory\n", encoding="utf-8")
    assert worker_fault(tmp_path) == "RuntimeError: no memory"


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


def test_the_logs_of_the_last_starts_are_kept_and_no_more(tmp_path: Path) -> None:
    set_aside(tmp_path)  # a first start has nothing to keep
    assert list(tmp_path.iterdir()) == []
    for start in range(KEPT + 2):
        for name in ("console.log", "requests.1.log"):
            (tmp_path / name).write_text(f"start {start}", encoding="utf-8")
        set_aside(tmp_path)
    kept = {
        folder.name: (folder / "console.log").read_text(encoding="utf-8") for folder in tmp_path.iterdir()
    }
    assert kept == {f"previous-{number}": f"start {KEPT + 2 - number}" for number in range(1, KEPT + 1)}
    assert (tmp_path / "previous-1" / "requests.1.log").exists()
    set_aside(tmp_path)  # a start that wrote nothing pushes nothing out
    assert (tmp_path / f"previous-{KEPT}").exists()
