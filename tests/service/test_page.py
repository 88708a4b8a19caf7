"""The service hands out the page to a browser and the tutorial's fields to clients that send them."""

from __future__ import annotations

import pytest
import requests

from handler.page import load_page

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}


@pytest.mark.parametrize("path", ["", "/1.0"])
def test_a_browser_that_opens_the_models_address_gets_the_page(url: str, path: str) -> None:
    answer = requests.get(url + path, headers={"accept": HTML}, timeout=30)
    page = load_page()
    assert answer.status_code == 200
    assert answer.content == page.body
    assert answer.headers["Content-Type"] == page.content_type
    assert {name: answer.headers[name] for name, _ in page.headers} == dict(page.headers)


def test_an_empty_body_from_a_program_is_still_an_error(url: str) -> None:
    answer = requests.get(url, timeout=30)
    assert (answer.status_code, answer.json()["type"]) == (400, "invalid_request")


def test_a_browser_that_posts_a_pair_gets_its_answer(url: str) -> None:
    answer = requests.post(url, json=PAIR, headers={"Accept": HTML}, timeout=30)
    assert answer.json()["premise"] == PAIR["premise"]


def test_the_tutorials_answer_has_its_nine_fields_in_its_order(url: str) -> None:
    full = requests.post(url, json=PAIR, timeout=30).json()
    answer = requests.post(url, json=PAIR, headers={"x-answer": "tutorial"}, timeout=30)
    assert list(answer.json().items()) == list(full.items())[:9]
    assert list(answer.json())[2:4] == ["prediction", "entailment_data"]


@pytest.mark.parametrize("body", [[PAIR], {"instances": [PAIR]}], ids=["list", "KServe"])
def test_the_tutorials_contract_knows_one_pair_only(url: str, body: object) -> None:
    answer = requests.post(url, json=body, headers={"X-Answer": "tutorial"}, timeout=30)
    assert (answer.status_code, answer.json()["type"]) == (400, "invalid_request")
