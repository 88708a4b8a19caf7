"""What the page says when something goes wrong, and markup in a text, which stays text."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests
from playwright.sync_api import Browser, Error, Page, expect

from scripts.torchserve.gateway_settings import Address
from scripts.torchserve.server import Ports, TorchServe
from tests.browser.asking import HYPOTHESIS, POSTS, PREMISE, answer_with, judge
from tests.browser.conftest import Open
from tests.gateways import Start
from tests.processes import suspended

KEY = "0123456789abcdef0123456789abcdef"


def redirect(page: Page, url: str) -> None:
    """Send what the page posts to another address, which answers in its place."""
    page.unroute(POSTS)
    page.route(POSTS, lambda route: route.continue_(url=url))


# --- what goes wrong -------------------------------------------------------------------------------


def expect_fault(page: Page, title: str, status: int | None) -> None:
    """Check that a fault is seen and heard, in Korean, and that the page goes on from there."""
    expect(page.locator("#fault")).to_be_visible()
    expect(page.locator("#fault-title")).to_have_text(title)
    expect(page.locator("#fault-code")).to_have_text(f"응답 코드 {status}" if status else "")
    expect(page.locator("#answer")).to_be_hidden()
    assert page.locator("[role=alert]").inner_text().startswith(f"{title}. ")
    page.unroute(POSTS)
    page.fill("#premise", PREMISE)
    page.fill("#hypothesis", HYPOTHESIS)
    page.get_by_role("button", name="다시 보내기").click()
    expect(page.locator("#answer")).to_be_visible()
    assert page.locator("[role=alert]").inner_text() == ""


@pytest.mark.parametrize(
    ("premise", "status", "title"),
    [("비가 \ud800 온다.", 400, "문장을 읽지 못했습니다"), ("비" * 50_001, 413, "문장이 너무 깁니다")],
    ids=["a lone surrogate", "too long"],
)
def test_what_the_service_refuses(page: Page, premise: str, status: int, title: str) -> None:
    page.evaluate(f"fields.premise.value = {json.dumps(premise)}")
    page.fill("#hypothesis", HYPOTHESIS)
    page.click("#submit")
    expect_fault(page, title, status)


def test_what_the_gateway_says(page: Page, start: Start) -> None:
    gateway = start(Address("127.0.0.1", Ports.free().inference))  # where no service is
    for path, status, title in (
        ("/nothing", 404, "답할 모델이 없습니다"),
        ("/", 405, "답할 모델이 없습니다"),
        ("/predictions/nli", 502, "서비스가 지금 답하지 못합니다"),
    ):
        redirect(page, f"{gateway.url}{path}")
        page.locator("#examples button").first.click()
        expect_fault(page, title, status)


def test_a_service_that_hangs_behind_the_gateway(page: Page, start: Start, server: TorchServe) -> None:
    gateway = start(answer_seconds=1)
    redirect(page, f"{gateway.url}/predictions/nli")
    with suspended(*server.worker_pids()):
        page.locator("#examples button").first.click()
        expect(page.locator("#fault")).to_be_visible()
    expect_fault(page, "답이 너무 늦습니다", 504)


def test_asking_too_often_behind_the_gateway(page: Page, start: Start) -> None:
    gateway = start()
    redirect(page, f"{gateway.url}/predictions/nli")
    stop = threading.Event()
    refused = threading.Event()

    def use_up_the_allowance() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                if session.get(f"{gateway.url}/", timeout=30).status_code == 429:
                    refused.set()

    hasty = threading.Thread(target=use_up_the_allowance)
    hasty.start()
    try:
        assert refused.wait(30)
        for _ in range(20):  # ten requests a second pass, and one of the page's may be among them
            with page.expect_response("**/predictions/nli") as response:
                page.locator("#examples button").first.click()
            if response.value.status == 429:
                break
        expect(page.locator("#fault-text")).to_contain_text("1초 뒤에 다시 보내 주세요.")
    finally:
        stop.set()
        hasty.join()
    expect_fault(page, "잠시만 쉬어 주세요", 429)


def test_faults_that_a_healthy_service_does_not_have(page: Page) -> None:
    for status, title in {
        500: "서비스에 문제가 생겼습니다",
        503: "서비스가 지금 답하지 못합니다",
        418: "문장을 읽지 못했습니다",
        599: "서비스에 문제가 생겼습니다",
    }.items():
        answer_with(page, status, f'{{"code": {status}}}')
        page.locator("#examples button").first.click()
        expect_fault(page, title, status)


def test_an_answer_that_is_none(page: Page) -> None:
    for body in ("<html>", "{}", "null", "[]", '{"label": "x"}'):
        answer_with(page, 200, body)
        page.locator("#examples button").first.click()
        expect_fault(page, "답을 읽지 못했습니다", 200)


def test_no_network(page: Page) -> None:
    page.context.set_offline(True)
    page.locator("#examples button").first.click()
    expect(page.locator("#fault-title")).to_be_visible()
    page.context.set_offline(False)
    expect_fault(page, "서비스에 닿지 못했습니다", None)


def test_a_gateway_that_wants_a_key(open_page: Open, start: Start) -> None:
    gateway = start(keys=(KEY,))
    page = open_page(f"{gateway.url}/")
    page.locator("#examples button").first.click()
    expect(page.locator("#fault-title")).to_have_text("키가 필요합니다")
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.type("no such key")
    with page.expect_response(POSTS) as refused:
        page.keyboard.press("Enter")
    refused.value.finished()
    page.wait_for_timeout(300)
    expect(page.locator("#key")).to_be_visible()
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_be_visible()
    page.reload()  # the tab keeps the key
    expect(page.locator("#answer")).to_be_visible()


# --- text stays text -------------------------------------------------------------------------------

MARKUP = [
    "<b>굵게</b>",
    "<script>window.broken = 1</script>",
    '"><img src=x onerror="window.broken = 1">',
    "<svg onload=window.broken=1>",
    "</textarea><iframe srcdoc='<script>parent.broken = 1</script>'>",
    "javascript:window.broken=1",
    "&lt;b&gt; &amp;amp; ${7*7} {{7*7}}",
]


def assert_shown_as_text(page: Page, premise: str, hypothesis: str) -> None:
    """Check that an answered pair stands everywhere as it was typed; no element came of it, no script ran."""
    expect(page.locator("#answer")).to_be_visible()
    assert page.locator("#said-premise").text_content() == premise
    assert page.locator("#said-hypothesis").text_content() == hypothesis
    first = page.locator("#history li").first.locator(".user")
    assert [each.text_content() for each in first.all()] == [premise, hypothesis]
    assert page.locator(".user *, textarea *, img, iframe, svg").count() == 0
    assert page.locator("script").count() == 1
    assert page.evaluate("window.broken") is None


def test_markup_that_is_typed_stays_text(page: Page) -> None:
    for text in MARKUP:
        judge(page, text, f"{text}{text}")
        expect(page.locator("#history .second").first).to_have_text(f"{text}{text}")
        assert_shown_as_text(page, text, f"{text}{text}")


def test_markup_in_a_link_stays_text(open_page: Open, url: str) -> None:
    text = " ".join(MARKUP)
    page = open_page(url, f"#{urlencode({'premise': text, 'hypothesis': text})}")
    assert_shown_as_text(page, text, text)


def test_the_odd_rows_of_the_original_stay_text(page: Page, original: Path) -> None:
    with (original / "reference_public.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    odd = [row for row in rows if row["kind"] != "klue-nli-dev"]
    judged = 0
    for row in odd:
        if not (row["premise"].strip() and row["hypothesis"].strip()) or row["kind"] == "lone_surrogate":
            continue
        typed = page.evaluate(
            "async pair => { fill(pair); await judge(currentPair()); return currentPair(); }",
            {"premise": row["premise"], "hypothesis": row["hypothesis"]},
        )
        assert_shown_as_text(page, typed["premise"], typed["hypothesis"])
        judged += 1
    assert judged == 55


def test_the_browser_itself_refuses_markup_and_foreign_scripts(browser: Browser, url: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    with pytest.raises(Error, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>x</b>'")
    with pytest.raises(Error, match=r"TrustedScript|Content Security Policy"):
        page.evaluate(
            "const script = document.createElement('script'); script.textContent = 'window.broken = 1';"
            "document.body.append(script)"
        )
    with pytest.raises(Error, match="Failed to fetch"):
        page.evaluate("fetch('http://127.0.0.2:9/')")
    assert page.evaluate("window.broken") is None
    context.close()
