"""The page in a real Chromium, before a real service: a pair is typed, sent, waited for and judged."""

from __future__ import annotations

import json

import pytest
import requests
from playwright.sync_api import Page, expect

from scripts.torchserve.server import TorchServe
from tests.browser.asking import HYPOTHESIS, PAIR, POSTS, PREMISE, count_posts, expect_held, hold, judge
from tests.browser.conftest import Open
from tests.gateways import Start
from tests.processes import suspended

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
    expect_held(page, held, 1)
    held[0].continue_()
    expect(page.locator("#answer")).to_be_visible()


def test_another_pair_takes_the_place_of_the_one_that_waits(page: Page) -> None:
    held = hold(page)
    page.fill("#premise", PREMISE)
    page.fill("#hypothesis", HYPOTHESIS)
    page.press("#hypothesis", "Enter")
    page.fill("#hypothesis", "비가 그쳤다.")
    page.press("#hypothesis", "Enter")
    expect_held(page, held, 2)
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
    with suspended(*server.worker_pids()):
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
    expect(page.locator("#legend")).to_be_visible()
    expect(page.locator("#cancel")).to_be_hidden()
    expect(page.locator("#submit")).to_be_focused()
    assert page.locator("[role=status]").inner_text() == "취소했습니다."
    expect(page.locator("#history li")).to_have_count(0)
    page.click("#submit")
    expect(page.locator("#answer")).to_be_visible()


def test_after_a_minute_it_waits_no_longer(page: Page) -> None:
    held = hold(page)
    page.clock.install(time=0)
    page.reload()
    page.clock.pause_at(3600)  # until here time runs as it does outside
    page.fill("#premise", PREMISE)
    page.fill("#hypothesis", HYPOTHESIS)
    page.press("#hypothesis", "Enter")
    page.clock.run_for(59_000)
    expect(page.locator("#waited")).to_have_text("답을 기다리는 중 · 59초")
    page.clock.run_for(1_000)
    expect(page.locator("#fault-title")).to_have_text("답이 너무 늦습니다")
    assert len(held) == 1
