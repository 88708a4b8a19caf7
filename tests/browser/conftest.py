"""A real Chromium, the page opened in it from a real service, and gateways before that service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from scripts.torchserve.server import TorchServe
from tests.gateways import Start, gateways
from tests.programs import need

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Open = Callable[..., Page]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window.

    Not for the whole session: while it is there an event loop runs in this thread, and no other can.
    """
    program = need("chromium")
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Open]:
    """Open the page in a browser profile of its own: `open_page(address, fragment, **profile)`.

    Afterwards, nothing may have been asked of another host, and no script may have failed.
    """
    contexts = []
    faults: list[str] = []
    hosts: set[str] = set()

    def note(message: ConsoleMessage) -> None:
        # A browser reports each answer of 400 and above, which some tests want.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            faults.append(message.text)

    def note_host(request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            hosts.add(request.url.split("/")[2].split(":")[0])

    def open_page(address: str = url, fragment: str = "", **profile: Any) -> Page:
        context = browser.new_context(**{"locale": "ko-KR"} | profile)
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", note_host)
        page.goto(address + fragment)
        return page

    yield open_page
    for each in contexts:
        each.close()
    assert faults == []
    assert hosts <= {"127.0.0.1"}


@pytest.fixture
def page(open_page: Open) -> Page:
    """The page as the service hands it out, on a wide screen."""
    return open_page()


@pytest.fixture(scope="module")
def start(server: TorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with gateways(server, tmp_path_factory) as start:
        yield start
