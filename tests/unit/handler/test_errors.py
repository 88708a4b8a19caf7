"""The error tree, and the table of it in the documents."""

from __future__ import annotations

import json
import re

import pytest

from handler import errors
from handler.errors import RequestError
from scripts import PROJECT

ANSWERED = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, RequestError) and kind is not RequestError
]


@pytest.mark.parametrize("kind", ANSWERED, ids=lambda kind: kind.__name__)
def test_an_error_is_answered_with_code_type_and_message(kind: type[RequestError]) -> None:
    body = json.loads(kind("[2].premise is blank").to_json())
    assert body == {"code": kind.status, "type": kind.type, "message": "[2].premise is blank"}
    assert kind.reason.isascii()  # TorchServe's worker dies of any other phrase


def test_a_place_is_put_before_the_message() -> None:
    error = errors.InferenceFailed("no answer")
    assert str(error.at("instances[3].")) == "instances[3]: no answer"
    assert str(error.at("")) == "no answer"
    assert type(error.at("[0].")) is errors.InferenceFailed


def test_the_documents_list_every_error_and_no_other() -> None:
    document = (PROJECT / "docs" / "api.md").read_text(encoding="utf-8")
    section = document.split("## Errors\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", section, flags=re.MULTILINE)
    assert sorted(rows) == sorted((str(kind.status), kind.type) for kind in ANSWERED)
