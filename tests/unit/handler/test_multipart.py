"""Multipart forms that the gateway passes on in one piece."""

from __future__ import annotations

import json

import pytest

from handler.body import BodyHeaders
from handler.errors import InvalidRequest
from handler.multipart import RAW_MULTIPART
from handler.request import Request, SentencePair, parse_request
from handler.settings import HandlerSettings

KIND = f'{RAW_MULTIPART}; boundary="x y"'


def part(name: str, content: bytes, *headers: str) -> bytes:
    head = "\r\n".join([f'Content-Disposition: form-data; name="{name}"', *headers])
    return f"--x y\r\n{head}\r\n\r\n".encode() + content + b"\r\n"


def read(body: bytes, kind: str = KIND, encoding: str | None = None) -> Request:
    return parse_request({"body": body}, BodyHeaders(kind, encoding), HandlerSettings())


def test_a_pair_is_read_whatever_else_the_form_has() -> None:
    text = "비가\r\n--온다 \x00"
    odd = part("", b"no name") + part("©9×", b"\xff") + part("premise_2", b"")
    form = part("premise", text.encode()) + odd + part("hypothesis", "날씨".encode()) + b"--x y--\r\n"
    assert read(form).pairs == (SentencePair(text, "날씨"),)


@pytest.mark.parametrize("name", ["body", "data"])
def test_json_is_read_from_a_part_in_its_own_charset(name: str) -> None:
    body = json.dumps([{"premise": "비", "hypothesis": "해"}], ensure_ascii=False).encode("cp949")
    form = part(name, body, "Content-Type: application/json; charset=euc-kr") + b"--x y--"
    assert read(form).pairs == (SentencePair("비", "해"),)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (b"", "not the multipart form"),
        (b"--other\r\n\r\n\r\n--other--", "not the multipart form"),
        (part("premise", b"a"), "not the multipart form"),
        (part("premise", b"a") * 2 + b"--x y--", "two parts of the same name"),
        (b"".join(part(str(number), b"") for number in range(101)) + b"--x y--", "more than 100 parts"),
        (part("premise_", b"a") + b"--x y--", "no fields 'premise' and 'hypothesis'"),
    ],
)
def test_what_is_no_form_of_a_pair_is_refused(form: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read(form)


def test_a_form_without_a_boundary_or_with_an_encoding_is_refused() -> None:
    form = part("premise", b"a") + b"--x y--"
    with pytest.raises(InvalidRequest, match="not the multipart form"):
        read(form, RAW_MULTIPART)
    with pytest.raises(InvalidRequest, match="without a Content-Encoding"):
        read(form, encoding="gzip")
