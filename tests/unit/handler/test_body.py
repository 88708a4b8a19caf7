"""Bodies: unpacked within bounds, decoded by their charset, parsed strictly."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
import zlib
from typing import Any

import pytest

from handler.body import FORM, RAW_FORM, BodyHeaders, read_body
from handler.errors import InvalidRequest, LimitExceeded, RequestError, UnsupportedEncoding
from handler.settings import HandlerSettings
from scripts import CONFIG

GOOD = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
RAW = json.dumps(GOOD, ensure_ascii=False).encode()
LIMIT = 1000


def read(raw: bytes, **headers: str) -> Any:
    value, binary = read_body(raw, BodyHeaders(**headers), LIMIT)
    assert binary == b""
    return value


def bare_deflate(raw: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush()


@pytest.mark.parametrize(
    ("codec", "content_type"),
    [
        ("utf-8", None),
        ("utf-8", "Application/JSON; Charset=UTF-8"),
        ("utf-8-sig", None),
        ("utf-8-sig", "application/json; charset=utf-8"),
        ("utf-16", None),
        ("utf-16-le", "application/json; charset=utf-16le"),
        ("utf-32", None),
        ("cp949", "text/plain; charset=euc-kr"),
        ("cp949", 'application/json; charset="ks_c_5601-1987"'),
        ("utf-8", "text/plain"),
        ("utf-8", "application/json; charset="),
        ("utf-8", "application/json; charset=utf-8; profile=x"),
    ],
)
def test_any_reasonable_charset_and_byte_order_mark(codec: str, content_type: str | None) -> None:
    raw = json.dumps(GOOD, ensure_ascii=False).encode(codec)
    assert read_body(raw, BodyHeaders(content_type), LIMIT) == (GOOD, b"")


@pytest.mark.parametrize("charset", ["utf-7", "punycode", "hex", "klingon", "rot13"])
def test_other_charsets_are_refused_with_a_list(charset: str) -> None:
    with pytest.raises(InvalidRequest, match="allowed are utf-8, utf-16"):
        read(RAW, content_type=f"application/json; charset={charset}")


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(RAW)),
        ("x-gzip", gzip.compress(RAW)),
        (" GZIP ", gzip.compress(RAW)),
        ("deflate", zlib.compress(RAW)),
        ("deflate", bare_deflate(RAW)),
        ("identity", RAW),
        ("", RAW),
    ],
)
def test_a_compressed_body_is_unpacked(encoding: str, packed: bytes) -> None:
    assert read(packed, content_encoding=encoding) == GOOD


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br"])
def test_other_content_encodings_are_told_what_is_read(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding, match="send it as gzip, deflate or plain"):
        read(RAW, content_encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", RAW),
        ("gzip", gzip.compress(RAW)[:-1]),
        ("gzip", gzip.compress(RAW)[:-8] + bytes(8)),
        ("gzip", gzip.compress(RAW) + b"x"),
        ("gzip", gzip.compress(RAW) * 2),
        ("deflate", RAW),
        ("deflate", zlib.compress(RAW)[:20]),
        ("deflate", b"x"),
    ],
)
def test_a_damaged_stream_is_named(encoding: str, packed: bytes) -> None:
    with pytest.raises(
        InvalidRequest, match=f"the body is not .*{encoding}.*, which its Content-Encoding names"
    ):
        read(packed, content_encoding=encoding)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(100_000_000), 9)
    tracemalloc.start()
    with pytest.raises(LimitExceeded, match="more than 1000 bytes once it is unpacked"):
        read(bomb, content_encoding="gzip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_body_of_exactly_the_limit_is_unpacked() -> None:
    text = json.dumps("a" * (LIMIT - 2))
    assert read(gzip.compress(text.encode()), content_encoding="gzip") == json.loads(text)
    with pytest.raises(LimitExceeded):
        read(gzip.compress(text.encode() + b" "), content_encoding="gzip")


@pytest.mark.parametrize("properties", ["config.properties", "production.properties"])
def test_the_limit_is_the_one_of_plain_bodies(properties: str) -> None:
    text = (CONFIG / properties).read_text(encoding="latin-1")
    stated = re.findall(r"^max_request_size=(\d+)$", text, flags=re.MULTILINE)
    assert set(stated) <= {str(HandlerSettings().max_body_bytes)}
    assert stated or properties != "config.properties"


def test_json_is_split_from_the_binary_data_behind_it() -> None:
    headers = BodyHeaders(content_encoding="gzip", json_length=str(len(RAW)))
    assert read_body(gzip.compress(RAW + b"\x01\x02"), headers, LIMIT) == (GOOD, b"\x01\x02")


@pytest.mark.parametrize("length", ["-1", "1e3", "", "99999", "９", "1" * 5000, "0x10"])
def test_a_length_of_json_that_cannot_be_is_refused(length: str) -> None:
    with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length must be the number of bytes"):
        read(RAW, json_length=length)


@pytest.mark.parametrize(
    ("raw", "content_type", "fields"),
    [
        (RAW, RAW_FORM, GOOD),
        (b' \n{"premise": "1+1=2 & 100%"}', RAW_FORM, {"premise": "1+1=2 & 100%"}),
        (b"premise=a+b&hypothesis=%ED%95%98", RAW_FORM, {"premise": "a b", "hypothesis": "하"}),
        ("premise=하&hypothesis=".encode(), RAW_FORM, {"premise": "하", "hypothesis": ""}),
        (b"premise=%C7%CF", f"{RAW_FORM}; charset=euc-kr", {"premise": "하"}),
        (b"premise=%ED%95%98", f"{FORM} ; charset=utf-8", {"premise": "하"}),
    ],
)
def test_what_the_gateway_passes_on_as_a_form(raw: bytes, content_type: str, fields: dict[str, str]) -> None:
    assert read(raw, content_type=content_type) == fields


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"premise=%FF", "a form field is not valid utf-8"),
        (b"premise=a&premise=b", "same key twice"),
        (b"a&" * 200, "more than 100 fields"),
        (b'{"premise": ', "not JSON"),
    ],
)
def test_a_form_that_cannot_be_read_is_named(raw: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read(raw, content_type=RAW_FORM)
