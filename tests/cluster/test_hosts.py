"""Three hosts behind one balancer: whatever happens to one of them, every client gets its own answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import Versions
from tests.cluster.hosts import Balancer, Host
from tests.cluster.load import Load

REQUESTS = int(os.environ.get("CLUSTER_REQUESTS", "10000"))
CUT_SECONDS = 14.0

Event = Callable[[list[Host], Versions, Load], None]


def kill_one(hosts: list[Host], versions: Versions, load: Load) -> None:
    load.wait_for(REQUESTS // 5)
    hosts[0].kill()


def cut_one_link(hosts: list[Host], versions: Versions, load: Load) -> None:
    load.wait_for(REQUESTS // 5)
    hosts[1].machine.cut()
    time.sleep(CUT_SECONDS)
    hosts[1].machine.mend()


def restart_all_in_turn(hosts: list[Host], versions: Versions, load: Load) -> None:
    replace(hosts, versions.archives["1.0"], load)


def bring_a_new_version(hosts: list[Host], versions: Versions, load: Load) -> None:
    replace(hosts, versions.archives["2.0"], load)
    done = time.monotonic()
    load.wait_for(REQUESTS // 10)
    assert {each.version for each in list(load.asked) if each.sent > done} == {"2.0"}


def replace(hosts: list[Host], archive: Path, load: Load) -> None:
    for host in hosts:
        load.wait_for(REQUESTS // 10)
        host.stop()
        host.begin(archive)
        host.wait_until_ready()


@pytest.mark.parametrize("event", [kill_one, cut_one_link, restart_all_in_turn, bring_a_new_version])
def test_no_answer_is_lost_or_swapped(
    event: Event, hosts: list[Host], versions: Versions, tmp_path: Path
) -> None:
    with (
        Balancer(tmp_path / "balancer", hosts, 8100) as balancer,
        Load(balancer.url, versions.pairs, versions.expected) as load,
    ):
        event(hosts, versions, load)
        load.wait_for(max(100, REQUESTS - len(load.asked)))
    print(load.report(event.__name__))
    assert load.outcomes().keys() == {"right"}
    assert len(load.asked) >= REQUESTS
    assert max(each.seconds for each in load.asked) < 30


def test_without_retries_some_are_lost(hosts: list[Host], versions: Versions, tmp_path: Path) -> None:
    with (
        Balancer(tmp_path / "balancer", hosts, 8101, retries=False) as balancer,
        Load(balancer.url, versions.pairs, versions.expected) as load,
    ):
        load.wait_for(1000)
        hosts[0].kill()
        load.wait_for(1000)
    print(load.report("a host was killed, without retries"))
    lost = load.outcomes().total() - load.outcomes()["right"]
    assert lost >= 1
    assert "swapped" not in load.outcomes()
