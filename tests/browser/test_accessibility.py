"""axe-core finds nothing to complain about, in any state of the page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.asking import PHONE, POSTS, answer_with, hold, judge
from tests.browser.conftest import Open

STATES: dict[str, Callable[[Page], object]] = {}


def state(make: Callable[[Page], object]) -> Callable[[Page], object]:
    STATES[make.__name__] = make
    return make


@state
def empty(page: Page) -> None:
    expect(page.locator("#legend")).to_be_visible()


@state
def prediction(page: Page) -> None:
    judge(page, "비가 온다. " * 100)
    page.fill("#premise", "다른 문장")
    expect(page.locator("#quote")).to_be_visible()


@state
def reasons(page: Page) -> None:
    judge(page, "비가 온다. " * 100)
    page.click("#why")
    expect(page.locator("#reasons-words")).to_be_visible()


@state
def blank(page: Page) -> None:
    page.click("#submit")
    expect(page.locator("#premise-missing")).not_to_be_empty()


@state
def waiting(page: Page) -> None:
    hold(page)
    page.locator("#examples button").first.click()
    expect(page.locator("#waiting")).to_be_visible()


@state
def fault(page: Page) -> None:
    answer_with(page, 503, "{}")
    page.locator("#examples button").first.click()
    expect(page.locator("#fault")).to_be_visible()


@state
def key_wanted(page: Page) -> None:
    answer_with(page, 401, "{}")
    page.locator("#examples button").first.click()
    expect(page.locator("#key")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", ["wide", "phone"])
def test_axe_finds_no_violation(open_page: Open, screen: str, scheme: str) -> None:
    page = open_page(color_scheme=scheme, reduced_motion="reduce", **(PHONE if screen == "phone" else {}))
    for name, make in STATES.items():
        page.goto(page.url.split("#")[0])
        make(page)
        results = Axe().run(page, options={"resultTypes": ["violations", "incomplete"]}).response
        found = {
            each["id"]: [node["target"] for node in each["nodes"]]
            for kind in ("violations", "incomplete")
            for each in results[kind]
        }
        assert found == {}, name
        assert len(results["passes"]) > 20
        page.unroute(POSTS)
