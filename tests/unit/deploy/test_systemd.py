"""The systemd units: systemd understands them, and they agree with the code that they start."""

from __future__ import annotations

import configparser
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import PROJECT
from scripts.gateway import main as gateway_verb
from scripts.serve import main as serve_verb
from scripts.torchserve import gateway
from scripts.torchserve.gateway_settings import CONNECTIONS
from scripts.torchserve.service import STOP_SECONDS
from tests.programs import need

FOLDER = PROJECT / "deploy" / "systemd"
SERVICE, GATEWAY = FOLDER / "korean-nli.service", FOLDER / "korean-nli-gateway.service"
HOME = "/srv/nli"


def unit(file: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(file, encoding="utf-8")
    return parser


def test_systemd_understands_them(tmp_path: Path) -> None:
    program = need("systemd-analyze")
    for file in (SERVICE, GATEWAY):  # where the project lies here
        text = file.read_text(encoding="utf-8").replace(f"{HOME}/.venv/bin/python", sys.executable)
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    files = [str(tmp_path / file.name) for file in (SERVICE, GATEWAY)]
    done = subprocess.run(
        [program, "verify", *files], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    broken = tmp_path / SERVICE.name
    broken.write_text(broken.read_text(encoding="utf-8").replace("MemoryMax=", "MemoryMaximum="))
    done = subprocess.run(
        [program, "verify", str(broken)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "MemoryMaximum" in done.stderr


@pytest.mark.parametrize("file", [SERVICE, GATEWAY], ids=lambda file: file.stem)
def test_the_verbs_know_every_option(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python, script, *arguments = shlex.split(unit(file)["Service"]["ExecStart"])
    assert python == f"{HOME}/.venv/bin/python"
    assert unit(file)["Service"]["WorkingDirectory"] == HOME
    assert (PROJECT / script).is_file()
    monkeypatch.setattr(sys, "argv", [script, *arguments, "--no-such-option"])
    with pytest.raises(SystemExit):
        (serve_verb if file == SERVICE else gateway_verb)()
    assert capsys.readouterr().err.endswith("error: unrecognized arguments: --no-such-option\n")


def test_the_gateway_stops_first_and_both_have_the_time_they_need() -> None:
    relations = unit(GATEWAY)["Unit"]
    assert SERVICE.name in relations["After"].split()  # stopped in the opposite order
    assert relations["PartOf"] == SERVICE.name  # also where only the service is stopped or restarted
    assert SERVICE.name in unit(GATEWAY)["Install"]["WantedBy"].split()  # and started with it again
    for file, needed in ((SERVICE, STOP_SECONDS), (GATEWAY, gateway.STOP_SECONDS)):
        service = unit(file)["Service"]
        assert needed < int(service["TimeoutStopSec"]) <= needed + 30
        assert service["KillMode"] == "mixed"  # SIGTERM to the verb alone, which stops the others
        assert service["Restart"] == "always"
        assert service["NoNewPrivileges"] == "yes"
        assert service["MemoryMax"]
    assert int(unit(GATEWAY)["Service"]["LimitNOFILE"]) == 2 * CONNECTIONS


def test_each_writes_only_into_its_own_folder() -> None:
    assert "--folder ${STATE_DIRECTORY}" in unit(SERVICE)["Service"]["ExecStart"]
    assert "--log ${LOGS_DIRECTORY}/" in unit(GATEWAY)["Service"]["ExecStart"]
    for file, folder in ((SERVICE, "StateDirectory"), (GATEWAY, "LogsDirectory")):
        assert unit(file)["Service"][folder] == "korean-nli"
        assert unit(file)["Service"]["ProtectSystem"] == "strict"
