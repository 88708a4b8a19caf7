"""The page around a prediction: examples, history and links; keyboard, screens and motion."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.asking import HYPOTHESIS, PHONE, PREMISE, count_posts, judge
from tests.browser.conftest import Open

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
