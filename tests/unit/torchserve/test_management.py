"""The management calls: what they read, and how each kind of failure is reported."""

from __future__ import annotations

import pytest

from scripts.torchserve.management import Management, OperationError, Version, Worker
from scripts.torchserve.ports import Ports
from tests.unit.torchserve.stand_in import stand_in


def test_versions_are_read() -> None:
    with stand_in(workers={"1.0": ["READY"], "2.0": ["READY", "LOADING"]}, default="2.0", queued=3) as server:
        management = Management(server.url)
        first, second = management.versions()
        assert first == Version("1.0", "nli-1.0.mar", False, 1, (Worker(100, "READY"),), 3)
        assert second.is_default
        assert second.ready == {100}
        assert management.default() == second
        assert management.version("1.0") == first
        assert management.models() == ["nli"]


def test_an_unknown_model_has_no_versions() -> None:
    with stand_in() as server:
        management = Management(server.url, "other")
        assert (management.versions(), management.default()) == ([], None)
        with pytest.raises(OperationError, match=r"version 1\.0 of other is not registered; .* nothing"):
            management.version("1.0")


def test_the_message_for_an_unknown_version_lists_the_known_ones() -> None:
    message = r"3\.0 of nli is not registered; registered is 1\.0, 2\.0"
    with stand_in(workers={"1.0": [], "2.0": []}) as server, pytest.raises(OperationError, match=message):
        Management(server.url).version("3.0")


@pytest.mark.parametrize("token", [None, "a-token"])
def test_a_token_is_sent_as_a_header(token: str | None) -> None:
    with stand_in() as server:
        Management(server.url, token=token).models()
        assert server.asked == [("GET", "/models", f"Bearer {token}" if token else None)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"message": "no\n such thing"}, "was answered 500: no such thing"),
        (b"<html>\nbad gateway</html>", "was answered 500: <html> bad gateway</html>"),
        (b"", "was answered 500: no message"),
    ],
    ids=["TorchServe's message", "someone else's page", "nothing"],
)
def test_a_refusal_is_one_line_with_its_reason(body: object, reason: str) -> None:
    with stand_in(override=lambda *_: (500, body)) as server, pytest.raises(OperationError) as caught:
        Management(server.url).set_default("1.0")
    assert str(caught.value) == f"PUT /models/nli/1.0/set-default {reason}"
    assert caught.value.status == 500


def test_no_answer_in_time_and_nobody_there_are_told_apart() -> None:
    with stand_in(delay=0.5) as server, pytest.raises(OperationError, match="no answer within 0 s"):
        Management(server.url).default(0.1)
    url = f"http://127.0.0.1:{Ports.free().management}"
    with pytest.raises(OperationError, match=f"nothing can be managed at {url}: ConnectionError"):
        Management(url).models()


def test_another_model_has_no_report() -> None:
    with (
        stand_in(override=lambda *_: (200, [{"modelVersion": "1.0"}])) as server,
        pytest.raises(OperationError, match="not built by this project"),
    ):
        Management(server.url).ask_worker("1.0", 1)


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with stand_in() as server:
        assert Management(server.url).models() == ["nli"]
