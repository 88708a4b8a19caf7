"""The page in a real Chromium, before a real service: what a person types, sees and hears."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from playwright.sync_api import Browser, Error, Page, Route, expect

from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.server import Ports, TorchServe
from tests.browser.conftest import Open
from tests.programs import need

PREMISE = "비가 온다."
HYPOTHESIS = "날씨가 맑다."
PAIR = {"premise": PREMISE, "hypothesis": HYPOTHESIS}
KEY = "0123456789abcdef0123456789abcdef"
POSTS = "**/predictions/nli*"
PHONE = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}
Start = Callable[..., Gateway]


def judge(page: Page, premise: str = PREMISE, hypothesis: str = HYPOTHESIS) -> None:
    """Type a pair, press the button and wait for the prediction."""
    page.fill("#premise", premise)
    page.fill("#hypothesis", hypothesis)
    page.click("#submit")
    expect(page.locator("#answer")).to_be_visible()


def count_posts(page: Page) -> list[str]:
    """A list that grows by the body of each request that is posted from now on."""
    posted: list[str] = []
    page.on("request", lambda each: posted.append(each.post_data or "") if each.method == "POST" else None)
    return posted


def hold(page: Page) -> list[Route]:
    """Let posted requests wait; whoever wants an answer continues the routes that this list collects."""
    held: list[Route] = []
    page.route(
        POSTS, lambda route: held.append(route) if route.request.method == "POST" else route.continue_()
    )
    return held


def redirect(page: Page, url: str) -> None:
    """Send what the page posts to another address, which answers in its place."""
    page.unroute(POSTS)
    page.route(POSTS, lambda route: route.continue_(url=url))


def answer_with(page: Page, status: int, body: str) -> None:
    """Answer what the page posts from now on as no healthy service would."""
    page.route(POSTS, lambda route: route.fulfill(status=status, content_type="application/json", body=body))


@pytest.fixture(scope="module")
def start(server: TorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a gateway before the service, or before another address."""
    need("nginx")
    running: list[Gateway] = []

    def start(service: int = server.ports.inference, **options: Any) -> Gateway:
        listen = Address("127.0.0.1", Ports.free().inference)
        log = tmp_path_factory.mktemp("gateway") / "log"
        settings = GatewaySettings(service=Address("127.0.0.1", service), listen=listen, **options)
        running.append(Gateway(log, settings))
        running[-1].start()
        return running[-1]

    yield start
    for each in running:
        each.stop()


# --- a prediction ----------------------------------------------------------------------------------


def test_a_typed_pair_is_judged_and_shown_as_the_service_answered(page: Page, url: str) -> None:
    posted = count_posts(page)
    judge(page)
    answer = requests.post(url, json=PAIR, timeout=30).json()
    word = answer["prediction"].split(" ")[0]
    expect(page.locator("#word")).to_have_text(word)
    meanings = {
        "참": "전제가 맞다면 가설도 맞습니다.",
        "거짓": "전제가 맞다면 가설은 틀립니다.",
        "중립": "전제만으로는 가설이 맞는지 알 수 없습니다.",
    }
    expect(page.locator("#meaning")).to_have_text(meanings[word])
    rows = page.locator("#bars li")
    expect(rows).to_have_count(3)
    for row, label in zip(rows.all(), answer["probabilities"], strict=True):
        width = answer[f"{label}_width"]
        assert row.locator(".bar").evaluate("bar => bar.style.width") == width.replace(".0%", "%")
        expect(row.locator(".number")).to_have_text(width.replace(".0%", "%"))
        assert (row.get_attribute("aria-current") == "true") == (label == answer["label"])
        expect(row).to_contain_text(answer[f"{label}_data"].split(" ")[0])
    expect(page.locator("#elapsed")).to_have_text(page.locator("#elapsed").inner_text())
    assert int(page.locator("#elapsed").inner_text().replace(",", "").removesuffix(" ms")) > 0
    expect(page.locator("#model")).to_have_text("tiny 1.0")
    expect(page.locator("#truncated")).to_be_hidden()
    assert [json.loads(body) for body in posted] == [PAIR]


def test_bars_are_as_wide_on_the_screen_as_the_service_said(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    judge(page)
    for row in page.locator("#bars li").all():
        share = row.evaluate(
            "row => row.querySelector('.bar').getBoundingClientRect().width"
            " / row.querySelector('.track').getBoundingClientRect().width"
        )
        assert f"{round(share * 100)}%" == row.locator(".number").inner_text()


def test_the_prediction_is_said_to_a_screen_reader(page: Page) -> None:
    judge(page)
    said = page.locator("[role=status]").inner_text()
    assert said.startswith(f"{page.locator('#word').inner_text()}. {page.locator('#meaning').inner_text()}")
    for row in page.locator("#bars li").all():
        assert " ".join(row.inner_text().split()) in said


def test_a_cut_text_is_told(page: Page) -> None:
    judge(page, "비가 온다. " * 100)
    expect(page.locator("#truncated")).to_be_visible()
    assert "뒷부분은 읽지 않고" in page.locator("[role=status]").inner_text()


def test_the_answer_says_which_pair_it_is_about_once_the_form_changes(page: Page) -> None:
    judge(page)
    expect(page.locator("#quote")).to_be_hidden()
    page.fill("#hypothesis", "다른 문장")
    expect(page.locator("#said-premise")).to_have_text(PREMISE)
    expect(page.locator("#said-hypothesis")).to_have_text(HYPOTHESIS)


@pytest.mark.parametrize("path", ["", "/1.0"])
def test_each_address_of_the_model_judges_at_itself(open_page: Open, url: str, path: str) -> None:
    page = open_page(url + path)
    with page.expect_request(lambda request: request.method == "POST") as request:
        judge(page)
    assert request.value.url == url + path


def test_behind_the_gateway_the_page_judges_through_it(open_page: Open, start: Start) -> None:
    gateway = start()
    page = open_page(f"{gateway.url}/")
    with page.expect_request(lambda request: request.method == "POST") as request:
        judge(page)
    assert request.value.url == f"{gateway.url}/predictions/nli"


def test_labels_of_another_corpus_are_shown_as_they_are(page: Page) -> None:
    answer = {
        "prediction": "같음",
        "label": "같음",
        "probabilities": {"다름": 0.25, "같음": 0.75},
        "다름_data": "다름 0.25",
        "같음_data": "같음 0.75",
        "다름_width": "25.0%",
        "같음_width": "75.0%",
        "truncated": False,
        "model": {"name": "other", "version": "2.0"},
    }
    page.route(POSTS, lambda route: route.fulfill(json=answer))
    judge(page)
    expect(page.locator("#word")).to_have_text("같음")
    expect(page.locator("#meaning")).to_have_text("")
    assert page.locator("#bars .number").all_inner_texts() == ["25%", "75%"]


# --- sending ---------------------------------------------------------------------------------------


def test_enter_sends_and_shift_enter_is_a_new_line(page: Page) -> None:
    posted = count_posts(page)
    page.fill("#hypothesis", HYPOTHESIS)
    page.focus("#premise")
    page.keyboard.type("비가")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("온다.")
    assert posted == []
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_be_visible()
    assert [json.loads(body)["premise"] for body in posted] == ["비가\n온다."]


def test_the_enter_that_ends_a_hangul_syllable_does_not_send(page: Page) -> None:
    posted = count_posts(page)
    page.fill("#premise", PREMISE)
    page.fill("#hypothesis", HYPOTHESIS)
    composing = (
        "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true})"
    )
    # dispatchEvent says whether the key keeps its own effect
    assert page.evaluate(f"document.getElementById('hypothesis').dispatchEvent({composing})") is True
    page.wait_for_timeout(200)
    assert posted == []


def test_enter_in_the_premise_goes_on_to_an_empty_hypothesis(page: Page) -> None:
    page.fill("#premise", PREMISE)
    page.press("#premise", "Enter")
    expect(page.locator("#hypothesis")).to_be_focused()
    expect(page.locator("#hypothesis-missing")).to_have_text("")


def test_a_double_click_sends_once(page: Page) -> None:
    posted = count_posts(page)
    page.fill("#premise", PREMISE)
    page.fill("#hypothesis", HYPOTHESIS)
    page.dblclick("#submit", delay=50)
    expect(page.locator("#answer")).to_be_visible()
    page.locator("#examples button").first.dblclick(delay=50)
    expect(page.locator("#history li")).to_have_count(2)
    page.wait_for_timeout(300)
    assert len(posted) == 2


def test_the_same_pair_is_not_sent_again_while_it_waits(page: Page) -> None:
    held = hold(page)
    page.fill("#premise", PREMISE)
    page.fill("#hypothesis", HYPOTHESIS)
    for _ in range(3):
        page.press("#hypothesis", "Enter")
    page.wait_for_timeout(200)
    assert len(held) == 1
    held[0].continue_()
    expect(page.locator("#answer")).to_be_visible()


def test_another_pair_takes_the_place_of_the_one_that_waits(page: Page) -> None:
    held = hold(page)
    page.fill("#premise", PREMISE)
    page.fill("#hypothesis", HYPOTHESIS)
    page.press("#hypothesis", "Enter")
    page.fill("#hypothesis", "비가 그쳤다.")
    page.press("#hypothesis", "Enter")
    page.wait_for_timeout(200)
    assert len(held) == 2
    held[1].continue_()
    expect(page.locator("#history li")).to_have_count(1)
    expect(page.locator("#history .second")).to_have_text("비가 그쳤다.")


def test_an_empty_field_is_pointed_at(page: Page) -> None:
    posted = count_posts(page)
    for premise, hypothesis, field, message in (
        ("", HYPOTHESIS, "premise", "전제를 적어 주세요."),
        ("  \n", HYPOTHESIS, "premise", "전제를 적어 주세요."),
        (PREMISE, "", "hypothesis", "가설을 적어 주세요."),
        ("", "", "premise", "전제를 적어 주세요."),
    ):
        page.fill("#premise", premise)
        page.fill("#hypothesis", hypothesis)
        page.get_by_role("button", name="판단하기").press("Enter")
        expect(page.locator(f"#{field}")).to_be_focused()
        expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")
        expect(page.locator(f"#{field}-missing")).to_have_text(message)
        assert page.locator("[role=status]").inner_text() == message
        page.fill(f"#{field}", "이제 있다.")
        expect(page.locator(f"#{field}-missing")).to_have_text("")
    assert posted == []


# --- waiting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_a_slow_answer_shows_progress_and_can_be_cancelled(page: Page, server: TorchServe, how: str) -> None:
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    try:
        page.fill("#premise", PREMISE)
        page.fill("#hypothesis", HYPOTHESIS)
        page.click("#submit")
        expect(page.locator("[role=progressbar]")).to_be_visible()
        expect(page.locator("#waited")).to_contain_text("초")
        with page.expect_event("requestfailed"):
            if how == "button":
                page.click("#cancel")
            else:
                page.keyboard.press("Escape")
    finally:
        os.kill(worker, signal.SIGCONT)
    expect(page.locator("#legend")).to_be_visible()
    expect(page.locator("#cancel")).to_be_hidden()
    expect(page.locator("#submit")).to_be_focused()
    assert page.locator("[role=status]").inner_text() == "취소했습니다."
    expect(page.locator("#history li")).to_have_count(0)
    page.click("#submit")
    expect(page.locator("#answer")).to_be_visible()


def test_after_a_minute_it_waits_no_longer(page: Page) -> None:
    held = hold(page)
    page.clock.install()
    page.reload()
    page.fill("#premise", PREMISE)
    page.fill("#hypothesis", HYPOTHESIS)
    page.press("#hypothesis", "Enter")
    page.clock.run_for(59_000)
    expect(page.locator("#waited")).to_have_text("답을 기다리는 중 · 59초")
    page.clock.run_for(1_000)
    expect(page.locator("#fault-title")).to_have_text("답이 너무 늦습니다")
    assert len(held) == 1


# --- what goes wrong -------------------------------------------------------------------------------


def expect_fault(page: Page, title: str, status: int | None) -> None:
    """Check that a fault is seen and heard, in Korean, and that the page goes on from there."""
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
    gateway = start(Ports.free().inference)  # where no service is
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
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    try:
        page.locator("#examples button").first.click()
        expect(page.locator("#fault")).to_be_visible()
    finally:
        os.kill(worker, signal.SIGCONT)
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


# --- examples, history, link -----------------------------------------------------------------------


def test_each_example_is_judged_by_a_click(page: Page) -> None:
    examples = page.locator("#examples button")
    for number in range(examples.count()):
        examples.nth(number).click()
        expect(page.locator("#history li")).to_have_count(number + 1)
        assert page.input_value("#premise") in examples.nth(number).inner_text()
    assert examples.count() >= 4


def test_the_history_of_this_visit(page: Page) -> None:
    posted = count_posts(page)
    for hypothesis in ("하나.", "둘.", "하나."):
        page.fill("#hypothesis", "")
        judge(page, PREMISE, hypothesis)
        expect(page.locator("#history .second").first).to_have_text(hypothesis)
    assert page.locator("#history .second").all_inner_texts() == ["하나.", "둘."]  # each pair once
    assert len(posted) == 3
    page.locator("#history button").last.click()
    expect(page.locator("#hypothesis")).to_have_value("둘.")
    expect(page.locator("#word")).to_have_text(page.locator("#history b").last.inner_text())
    assert len(posted) == 3  # nothing is asked again
    page.goto(page.url.split("#")[0])
    expect(page.locator("#history li")).to_have_count(2)
    page.get_by_role("button", name="기록 지우기").click()
    expect(page.locator("#history li")).to_have_count(0)
    page.goto(page.url.split("#")[0])
    expect(page.locator("#no-history")).to_be_visible()


def test_a_new_visit_knows_nothing_of_an_earlier_one(open_page: Open) -> None:
    judge(open_page())
    expect(open_page().locator("#history li")).to_have_count(0)


def test_a_link_opens_the_same_pair_and_tells_the_server_nothing(open_page: Open, url: str) -> None:
    odd = "비가 #온다 & <b>\n100% + 'x'"
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    judge(page, odd)
    page.get_by_role("button", name="링크 복사").click()
    expect(page.locator("#copied")).to_have_text("복사했습니다.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    other = open_page(link)
    expect(other.locator("#answer")).to_be_visible()
    assert other.input_value("#premise") == odd
    assert other.input_value("#hypothesis") == HYPOTHESIS
    assert other.evaluate("performance.getEntriesByType('navigation')[0].name.split('#')[0]") == url
    assert link.split("#")[0] == url


def test_a_link_opened_in_the_same_tab(page: Page) -> None:
    judge(page)
    page.evaluate(f"location.hash = '{urlencode({'premise': '하나.', 'hypothesis': '둘.'})}'")
    expect(page.locator("#history li")).to_have_count(2)
    expect(page.locator("#premise")).to_have_value("하나.")


# --- keyboard, screens, motion ---------------------------------------------------------------------


def test_everything_can_be_done_with_the_keyboard(page: Page) -> None:
    expect(page.locator("#premise")).to_be_focused()
    page.keyboard.type(PREMISE)
    page.keyboard.press("Tab")
    page.keyboard.type(HYPOTHESIS)
    page.keyboard.press("Tab")
    expect(page.locator("#submit")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("#answer")).to_be_visible()
    expect(page.locator("#submit")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#why")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#copy")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#examples button").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#history li")).to_have_count(2)
    for _ in range(page.locator("#examples button").count()):
        page.keyboard.press("Tab")
    expect(page.locator("#clear")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.locator("#history button").last).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#premise")).to_have_value(PREMISE)


def test_the_focus_is_always_seen(page: Page) -> None:
    judge(page)
    for _ in range(14):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            "() => { const e = document.activeElement; const field = e.closest('.field');"
            " return e === document.body ? 'body' : field ? getComputedStyle(field).boxShadow"
            " : getComputedStyle(e).outlineStyle + getComputedStyle(e).outlineWidth; }"
        )
        assert seen == "body" or "inset" in seen or seen == "solid3px"


def test_nothing_is_cut_off_at_any_width(page: Page) -> None:
    judge(page, "가" * 300, "w" * 300)
    page.fill("#premise", "a")
    for width in (320, 360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        sizes = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert sizes == [width, width]


def test_on_a_phone(open_page: Open) -> None:
    page = open_page(**PHONE)
    assert page.evaluate("document.activeElement === document.body")  # no keyboard over the page at first
    page.locator("#examples button").last.tap()
    expect(page.locator("#word")).to_be_in_viewport()
    for button in page.locator("button:visible:not(.link)").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
    size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('textarea')).fontSize)")
    assert size >= 16  # or iOS zooms in on a tap


def test_light_and_dark(page: Page) -> None:
    judge(page)
    grounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(int(part) for part in colour.strip("rgb()").split(",")))
    assert grounds[0] > 3 * 200
    assert grounds[1] < 3 * 50


@pytest.mark.parametrize(("motion", "animation"), [("no-preference", "grow"), ("reduce", "none")])
def test_bars_move_unless_the_user_asked_for_less_motion(page: Page, motion: Any, animation: str) -> None:
    page.emulate_media(reduced_motion=motion)
    judge(page)
    assert page.locator(".bar").first.evaluate("bar => getComputedStyle(bar).animationName") == animation
