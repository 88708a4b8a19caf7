"""Finding and ending what a killed service has left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from scripts.torchserve.processes import FRONTEND, end, family_of, leftovers

SLEEP = "import time; time.sleep(60)"


def test_only_what_runs_in_the_folder_is_left_over_and_it_is_ended(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "mine-too"
    commands = [
        [sys.executable, "-c", SLEEP, FRONTEND, "-f", str(mine / "config.properties")],
        [sys.executable, "-c", SLEEP, "model_service_worker.py", "--sock-name", f"{mine}/tmp/.ts.sock.9000"],
        [sys.executable, "-c", SLEEP, FRONTEND, "-f", str(other / "config.properties")],
        [sys.executable, "-c", SLEEP, str(mine / "config.properties")],  # someone who looks at the file
    ]
    started = [subprocess.Popen(command) for command in commands]
    try:
        found = leftovers(mine)
        assert {each.pid for each in found} == {each.pid for each in started[:2]}
        end(found)
        assert [each.poll() is None for each in started] == [False, False, True, True]
        assert leftovers(mine) == []
        end(found)  # again does no harm
    finally:
        for each in started:
            each.kill()
            each.wait()


def test_a_family_is_a_process_and_all_below_it() -> None:
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{SLEEP}'])"
    with subprocess.Popen([sys.executable, "-c", nested]) as parent:
        while len(family_of(parent.pid)) < 2:
            assert parent.poll() is None
        family = family_of(parent.pid)
        assert family[0].pid == parent.pid
        end(family)
        assert not any(psutil.pid_exists(each.pid) and each.status() != "zombie" for each in family)
    assert family_of(parent.pid) == []
