"""The words that decided, as the page marks them in a real Chromium before a real service."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, Route, expect

from tests.browser.asking import HYPOTHESIS, PAIR, PREMISE, count_posts, hold, judge
from tests.browser.conftest import Open
from tests.gateways import Start

EXPLANATIONS = "**/explanations/nli*"


def explain(url: str, **pair: str) -> dict[str, Any]:
    answer = requests.post(url.replace("/predictions/", "/explanations/"), json=PAIR | pair, timeout=30)
    answer.raise_for_status()
    return dict(answer.json())


def words_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [word | {"field": name} for name in PAIR for word in answer["explanation"][name]]


def ask_why(page: Page) -> None:
    page.click("#why")
    expect(page.locator("#reasons-words")).to_be_visible()


def text_of(page: Page, name: str) -> str:
    """A text of the explanation without its numbers."""
    return str(
        page.locator(f"#reasons-{name}").evaluate(
            "text => [...text.childNodes].map("
            "part => part.nodeName === 'MARK' ? part.firstChild.data : part.textContent).join('')"
        )
    )


def test_the_words_that_decided_are_marked_and_named(page: Page, url: str) -> None:
    posted = count_posts(page)
    judge(page)
    ask_why(page)
    answer = explain(url)
    words = words_of(answer)
    most = max(abs(word["weight"]) for word in words)
    for name in PAIR:
        shown = page.locator(f"#reasons-{name}")
        marked = [
            (word["text"], f"{'−' if word['weight'] < 0 else '+'}{round(abs(word['weight']) * 100)}")
            for word in words
            if word["field"] == name and abs(word["weight"]) >= most / 3
        ]
        marks = shown.locator("mark").all()
        assert [
            tuple(mark.evaluate("m => [m.firstChild.data, m.lastChild.textContent]")) for mark in marks
        ] == marked
        for mark, (_, number) in zip(marks, marked, strict=True):
            assert ("against" in (mark.get_attribute("class") or "")) == number.startswith("−")
        plain = text_of(page, name)
        assert plain == PAIR[name]
    sentence = page.locator("#reasons-text").inner_text()
    strongest = max(words, key=lambda word: abs(word["weight"]))
    assert f"‘{strongest['text']}’" in sentence
    assert page.locator("[role=status]").inner_text() == sentence
    assert [json.loads(body) for body in posted] == [PAIR, PAIR]


def test_marks_are_told_apart_without_colour(page: Page) -> None:
    answer_with_weights(page, [("비가", 0.6), ("온다.", -0.6)], [("날씨가", 0.3), ("맑다.", 0.01)])
    judge(page)
    ask_why(page)
    styles = page.locator("#reasons mark").evaluate_all(
        "marks => marks.map(mark => ['textDecorationStyle', 'textDecorationThickness']"
        ".map(name => getComputedStyle(mark)[name]))"
    )
    assert styles == [["solid", "4px"], ["wavy", "2px"], ["solid", "2px"]]
    assert page.locator("#reasons mark").all_inner_texts() == ["비가+60", "온다.−60", "날씨가+30"]
    expect(page.locator("#reasons-text")).to_contain_text(
        "가장 크게 뒷받침한 낱말은 전제의 ‘비가’, 가설의 ‘날씨가’입니다. 거스른 낱말은 전제의 ‘온다.’입니다."
    )


def test_no_word_is_named_where_none_decides(page: Page) -> None:
    answer_with_weights(page, [("비가", 0.001), ("온다.", 0)], [("날씨가", -0.002), ("맑다.", 0)])
    judge(page)
    ask_why(page)
    expect(page.locator("#reasons-text")).to_have_text("어느 낱말을 빼도 판단이 거의 달라지지 않습니다.")
    expect(page.locator("#reasons mark")).to_have_count(0)


def answer_with_weights(page: Page, *texts: list[tuple[str, float]]) -> None:
    """Answer what is asked of explanations with these words and weights."""
    explanation: dict[str, Any] = {"unread_words": dict.fromkeys(PAIR, 0)}
    for (name, text), words in zip(PAIR.items(), texts, strict=True):
        places = [text.index(word) for word, _ in words]
        explanation[name] = [
            {"text": word, "start": start, "end": start + len(word), "weight": weight}
            for (word, weight), start in zip(words, places, strict=True)
        ]
    probabilities = {"entailment": 0.1, "contradiction": 0.8, "neutral": 0.1}
    body = {"label": "contradiction", "contradiction_data": "거짓 0.8", "probabilities": probabilities}
    page.route(EXPLANATIONS, lambda route: route.fulfill(json=body | {"explanation": explanation}))


def test_it_opens_and_closes_by_the_keyboard_and_asks_once(page: Page) -> None:
    judge(page)
    posted = count_posts(page)
    button = page.locator("#why")
    button.focus()
    for expanded in ("true", "false", "true"):
        page.keyboard.press("Enter")
        expect(button).to_have_attribute("aria-expanded", expanded)
        expect(page.locator("#reasons")).to_be_visible(visible=expanded == "true")
        if expanded == "true":
            expect(page.locator("#reasons-words")).to_be_visible()
    expect(button).to_be_focused()
    assert len(posted) == 1


def test_another_answer_closes_it(page: Page) -> None:
    judge(page)
    ask_why(page)
    judge(page, hypothesis="비가 그쳤다.")
    expect(page.locator("#meaning")).to_be_visible()
    expect(page.locator("#reasons")).to_be_hidden()
    expect(page.locator("#why")).to_have_attribute("aria-expanded", "false")
    ask_why(page)
    expect(page.locator("#reasons-hypothesis")).to_contain_text("그쳤다.")


@pytest.mark.parametrize("fails", [False, True], ids=["which is waited for", "which failed"])
def test_an_explanation_that_comes_after_another_pair_was_sent_is_ignored(page: Page, fails: bool) -> None:
    judge(page)
    explanations: list[Route] = []
    page.route(EXPLANATIONS, lambda route: explanations.append(route))
    page.click("#why")
    expect(page.locator("#reasons-text")).to_contain_text("빼 보는 중입니다")
    predictions = hold(page)
    page.fill("#hypothesis", "비가 그쳤다.")
    page.click("#submit")
    expect(page.locator("#waiting")).to_be_visible()
    if fails:
        predictions[0].fulfill(status=503, body="{}")
        expect(page.locator("#fault")).to_be_visible()
    said = {role: page.locator(f"[role={role}]").inner_text() for role in ("status", "alert")}
    with page.expect_response(EXPLANATIONS) as response:
        explanations[0].continue_()
    response.value.finished()
    page.wait_for_timeout(200)
    assert {role: page.locator(f"[role={role}]").inner_text() for role in said} == said
    expect(page.locator("#reasons-words")).to_be_hidden()


def test_a_fault_leaves_the_prediction_and_may_pass(page: Page) -> None:
    judge(page)
    page.route(EXPLANATIONS, lambda route: route.fulfill(status=429, headers={"Retry-After": "3"}, body="{}"))
    page.click("#why")
    expect(page.locator("#reasons-text")).to_contain_text("3초 뒤에 다시 보내 주세요.")
    expect(page.locator("#word")).to_be_visible()
    page.unroute(EXPLANATIONS)
    page.click("#why")
    ask_why(page)


@pytest.mark.parametrize("body", ["", "[]", '{"label": "x", "probabilities": {"x": 1}}'])
def test_an_explanation_that_is_none(page: Page, body: str) -> None:
    judge(page)
    page.route(EXPLANATIONS, lambda route: route.fulfill(body=body))
    page.click("#why")
    expect(page.locator("#reasons-text")).to_contain_text("답을 읽지 못했습니다")


def test_words_that_are_not_read_are_told(page: Page, url: str) -> None:
    long = f"{PREMISE} " * 100
    judge(page, long)
    ask_why(page)
    unread = explain(url, premise=long)["explanation"]["unread_words"]["premise"]
    expect(page.locator("#reasons-premise")).to_contain_text(f"뒤의 {unread}낱말은 읽지 않았습니다")
    expect(page.locator("#reasons-premise .unread")).to_have_css("text-decoration-line", "line-through")
    expect(page.locator("#reasons-hypothesis .unread")).to_have_count(0)


def test_a_word_that_the_tokenizer_drops_is_no_word_at_the_end(page: Page) -> None:
    judge(page, f"{PREMISE} \u200b")
    ask_why(page)
    assert text_of(page, "premise") == f"{PREMISE} \u200b"
    expect(page.locator("#reasons .unread")).to_have_count(0)


def test_markup_and_odd_signs_stay_text_in_their_places(page: Page) -> None:
    odd = "😀 <b>비가</b> <img src=x onerror=alert(1)> 온다."
    judge(page, odd)
    ask_why(page)
    plain = text_of(page, "premise")
    assert plain == odd
    assert page.locator("#reasons img, #reasons b").count() == 0


def test_behind_the_gateway_it_is_asked_there(open_page: Open, start: Start) -> None:
    gateway = start()
    page = open_page(f"{gateway.url}/")
    judge(page)
    with page.expect_request(lambda request: request.method == "POST") as request:
        ask_why(page)
    assert request.value.url == f"{gateway.url}/explanations/nli"
    assert HYPOTHESIS in (request.value.post_data or "")
