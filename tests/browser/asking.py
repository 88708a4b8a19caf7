"""What a person does on the page, and what its requests meet instead of a healthy service."""

from __future__ import annotations

import time

from playwright.sync_api import Page, Route, expect

PREMISE = "비가 온다."
HYPOTHESIS = "날씨가 맑다."
PAIR = {"premise": PREMISE, "hypothesis": HYPOTHESIS}
POSTS = "**/predictions/nli*"
PHONE = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}


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
    """Let posted requests wait as routes in this list; one that is continued is answered."""
    held: list[Route] = []
    page.route(
        POSTS, lambda route: held.append(route) if route.request.method == "POST" else route.continue_()
    )
    return held


def expect_held(page: Page, held: list[Route], count: int) -> None:
    """Wait until so many requests are held, and check that no more come."""
    end = time.monotonic() + 60
    while len(held) < count:
        assert time.monotonic() < end, f"{len(held)} of {count} requests"
        page.wait_for_timeout(20)
    page.wait_for_timeout(200)
    assert len(held) == count


def answer_with(page: Page, status: int, body: str) -> None:
    """Answer what the page posts from now on as no healthy service would."""
    page.route(POSTS, lambda route: route.fulfill(status=status, content_type="application/json", body=body))
