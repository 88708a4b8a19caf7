"""The page as a file: complete in itself, and allowed to do nothing but what it holds."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from handler.page import PAGE, PLACE_OF_CARD, load_page

PAGE_SOURCE = PAGE.read_text(encoding="utf-8")


def policy() -> dict[str, str]:
    header = dict(load_page().headers)["Content-Security-Policy"]
    return dict(directive.split(" ", 1) for directive in header.split("; "))


def test_it_is_sent_as_html_with_headers_that_close_every_other_door() -> None:
    response = load_page()
    assert response.content_type == "text/html; charset=utf-8"
    assert response.body == PAGE.read_bytes().replace(PLACE_OF_CARD, b"")
    headers = dict(response.headers)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    directives = policy()
    assert directives["default-src"] == "'none'"
    assert directives["connect-src"] == "'self'"
    assert directives["img-src"] == "data:"
    assert directives["frame-ancestors"] == "'none'"
    assert "unsafe" not in " ".join(directives.values())


@pytest.mark.parametrize("element", ["script", "style"])
def test_the_policy_names_each_inline_element_by_its_hash(element: str) -> None:
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", PAGE_SOURCE, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    assert policy()[f"{element}-src"] == f"'sha256-{digest}'"


def test_the_model_card_is_shown_as_text() -> None:
    response = load_page(card="# 모델\n<script>alert(1)</script>")
    assert "<pre lang># 모델\n&lt;script&gt;alert(1)&lt;/script&gt;</pre>" in response.body.decode()
    assert response.headers == load_page().headers


def test_a_page_without_script_or_style_allows_none(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<!doctype html><title>x</title>")
    assert "script-src 'none'; style-src 'none'" in dict(load_page(file).headers)["Content-Security-Policy"]


def test_a_missing_page_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the web page can't be read"):
        load_page(tmp_path / "page.html")


def test_it_needs_nothing_from_elsewhere_and_never_writes_markup() -> None:
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", PAGE_SOURCE) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", PAGE_SOURCE) == []
    assert re.findall(r"\s(?:style|on\w+)=", PAGE_SOURCE.split("<script>")[0].split("</style>")[1]) == []
