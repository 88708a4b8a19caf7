"""The operator's command line: what it prints, and what it refuses before it asks anybody."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from scripts.manage import format_versions, main
from scripts.torchserve.management import Version, Worker, inference_url
from scripts.torchserve.ports import Ports
from tests.commands import call


def manage(*arguments: str | Path) -> CompletedProcess[str]:
    return call(main, *arguments)


def test_versions_are_shown_as_a_table() -> None:
    ready, loading = Worker(1, "READY"), Worker(2, "LOADING")
    table = format_versions(
        [
            Version("1.0", "nli-1.0.mar", False, 1, (ready,), 0),
            Version("2.10", "nli-2.10.mar", True, 2, (ready, loading), 17),
        ]
    )
    assert table.splitlines() == [
        "   VERSION  WORKERS    QUEUED  ARCHIVE",
        "   1.0      1/1 ready  0       nli-1.0.mar",
        "*  2.10     1/2 ready  17      nli-2.10.mar",
        "* answers where the URL names no version",
    ]


def test_the_inference_api_is_one_port_below() -> None:
    assert inference_url("http://127.0.0.1:8081") == "http://127.0.0.1:8080"
    assert inference_url("https://[::1]:9001/") == "https://[::1]:9000/"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["scale", "1.0", "0"], "is not a whole number above 0", id="no-workers-at-all"),
        pytest.param(["rollout", "a.mar", "--max-drop", "0.1"], "need --evaluate", id="gate-without-data"),
        pytest.param(["frobnicate"], "invalid choice", id="unknown-command"),
        pytest.param([], "required: COMMAND", id="no-command"),
    ],
)
def test_wrong_arguments_end_with_2(arguments: list[str], complaint: str) -> None:
    done = manage(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr


@pytest.mark.parametrize("command", ["list", "ready", "rollback"])
def test_without_a_service_there_is_one_line_and_a_1(command: str) -> None:
    url = f"http://127.0.0.1:{Ports.free().management}"
    done = manage("--url", url, command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: nothing can be managed at {url}: ConnectionError\n"


def test_help_ends_with_an_example() -> None:
    done = manage("--help")
    assert done.returncode == 0
    assert "example:\n  python scripts/manage.py rollout" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["promote", "2.0"], ["rollback"], ["register", "a.mar"], ["retire", "1.0"], ["rollout", "a.mar"]],
)
def test_in_a_cluster_versions_come_from_the_chart(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    done = manage(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: in a cluster versions come from the chart")
