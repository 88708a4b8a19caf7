"""Three hosts behind one balancer: whatever happens to one of them, every client gets its own answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import Versions
from tests.cluster.hosts import Balancer, Host
from tests.load import Clients
from tests.processes import suspended

REQUESTS = int(os.environ.get("CLUSTER_REQUESTS", "10000"))
CUT_SECONDS = 14.0

Event = Callable[[list[Host], Versions, Clients], None]


def kill_one(hosts: list[Host], versions: Versions, load: Clients) -> None:
    """Kill a host that has requests to answer."""
    load.wait_for(REQUESTS // 5)
    with suspended(*hosts[0].machine.pids()):
        load.wait_for(REQUESTS // 50)  # meanwhile it is given requests, and keeps them
        hosts[0].kill()


def cut_one_link(hosts: list[Host], versions: Versions, load: Clients) -> None:
    load.wait_for(REQUESTS // 5)
    hosts[1].machine.cut()
    time.sleep(CUT_SECONDS)
    hosts[1].machine.mend()


def restart_all_in_turn(hosts: list[Host], versions: Versions, load: Clients) -> None:
    replace(hosts, versions.archives["1.0"], load)


def bring_a_new_version(hosts: list[Host], versions: Versions, load: Clients) -> None:
    replace(hosts, versions.archives["2.0"], load)
    done = time.monotonic()
    load.wait_for(REQUESTS // 10)
    assert {each.version for each in list(load.answered) if each.sent > done} == {"2.0"}


def replace(hosts: list[Host], archive: Path, load: Clients) -> None:
    for host in hosts:
        load.wait_for(REQUESTS // 10)
        host.stop()
        load.pause = 0.1  # leaves the host that starts some of this machine's cores
        host.begin(archive)
        host.wait_until_ready()
        load.pause = 0


def report(event: str, load: Clients) -> None:
    waits = sorted(each.seconds for each in load.answered)
    wrong = {outcome: count for outcome, count in load.outcomes().items() if outcome != "right"}
    print(
        f"{event}: {len(waits)} asked, not answered right: {wrong or 0}; "
        f"waits: median {waits[len(waits) // 2]:.3f} s, longest {waits[-1]:.2f} s"
    )


@pytest.mark.parametrize("event", [kill_one, cut_one_link, restart_all_in_turn, bring_a_new_version])
def test_no_answer_is_lost_or_swapped(
    event: Event, hosts: list[Host], versions: Versions, tmp_path: Path
) -> None:
    with (
        Balancer(tmp_path / "balancer", hosts, 8100) as balancer,
        versions.clients(balancer.url) as load,
    ):
        event(hosts, versions, load)
        load.wait_for(max(100, REQUESTS - len(load.answered)))
    report(event.__name__, load)
    assert load.outcomes().keys() == {"right"}
    assert len(load.answered) >= REQUESTS
    assert max(each.seconds for each in load.answered) < 30


def test_without_retries_some_are_lost(hosts: list[Host], versions: Versions, tmp_path: Path) -> None:
    with (
        Balancer(tmp_path / "balancer", hosts, 8101, retries=False) as balancer,
        versions.clients(balancer.url) as load,
    ):
        kill_one(hosts, versions, load)
        load.wait_for(REQUESTS // 10)
    report("kill_one, without retries", load)
    assert load.outcomes().total() - load.outcomes()["right"] >= 1
    assert "swapped" not in load.outcomes()
