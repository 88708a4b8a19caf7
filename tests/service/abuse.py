"""Requests that no careful client sends, and odd ones that are fine, each with the answer it must get."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from handler.request import SentencePair

JSON = {"Content-Type": "application/json"}
WORDS = [
    "비가",
    "온다.",
    "남자가",
    "책을",
    "읽는다.",
    "여자가",
    "날씨가",
    "맑다.",
    "없다.",
    "😀",
    "<b>",
    "[SEP]",
    "漢字",
]


BOMB = gzip.compress(bytes(100_000_000), 9)


@dataclass(frozen=True)
class Case:
    """One request and what it must be answered with: an error, or the predictions on `pairs`."""

    kind: str
    body: bytes
    status: int = 200
    type: str = ""
    pairs: tuple[SentencePair, ...] = ()
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))


def sentence(random: random.Random) -> str:
    return " ".join(random.choice(WORDS) for _ in range(random.randint(1, 40)))


def pair(random: random.Random) -> SentencePair:
    return SentencePair(sentence(random), sentence(random))


def plain(pair: SentencePair) -> dict[str, Any]:
    return {"premise": pair.premise, "hypothesis": pair.hypothesis}


def dump(content: Any, codec: str = "utf-8", ascii_only: bool = False) -> bytes:
    return json.dumps(content, ensure_ascii=ascii_only).encode(codec)


def good_single(random: random.Random) -> Case:
    one = pair(random)
    return Case("a pair", dump(plain(one), ascii_only=random.random() < 0.5), pairs=(one,))


def good_list(random: random.Random) -> Case:
    several = tuple(pair(random) for _ in range(random.randint(1, 8)))
    return Case("a list of pairs", dump([plain(each) for each in several]), pairs=several)


def good_hypotheses(random: random.Random) -> Case:
    premise, several = sentence(random), [sentence(random) for _ in range(random.randint(1, 8))]
    body = dump({"premise": premise, "hypotheses": several})
    return Case("many hypotheses", body, pairs=tuple(SentencePair(premise, each) for each in several))


def good_sentences(random: random.Random) -> Case:
    one = pair(random)  # of one line and without an end, since what follows a full stop would be a sentence
    one = SentencePair(one.premise.replace(".", ""), one.hypothesis)
    return Case("a premise by sentences", dump(plain(one) | {"premise_sentences": True}), pairs=(one,))


def bad_sentences(random: random.Random) -> Case:
    wrong: list[Any] = [None, 1, "네", [], {}]
    content = plain(pair(random)) | {"premise_sentences": random.choice(wrong)}
    return Case("wrong premise_sentences", dump(content), 400, "invalid_request")


def bad_sentences_too_many(random: random.Random) -> Case:
    content = plain(SentencePair("비가 온다. " * random.choice([65, 5000]), "가"))
    body = dump(content | {"premise_sentences": True})
    return Case("too many sentences", body, 413, "limit_exceeded")


def good_codec(random: random.Random) -> Case:
    one = SentencePair("비가 온다.", f"날씨가 {random.randint(0, 999)}")
    codec, named = random.choice([("cp949", "euc-kr"), ("utf-16", "utf-16"), ("utf-8-sig", "utf-8")])
    headers = {"Content-Type": f"application/json; charset={named}"}
    return Case("another charset", dump(plain(one), codec), pairs=(one,), headers=headers)


def good_odd_text(random: random.Random) -> Case:
    odd = [
        "\u200b",
        "\x00\x01가",
        "뷁" * 200,
        "비가 온다. " * 900,
        "👨\u200d👩\u200d👧",
        "مرحبا",
        "가\u0301",
        "가" + "\u0301\u0327" * 20_000,
        "{premise}",
    ]
    one = SentencePair(random.choice(odd), random.choice(odd))
    return Case("odd text", dump(plain(one)), pairs=(one,))


def good_compressed(random: random.Random) -> Case:
    one = pair(random)
    body = dump(plain(one))
    encoding, body = random.choice([("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))])
    return Case("a compressed body", body, pairs=(one,), headers=JSON | {"Content-Encoding": encoding})


def good_extra_keys(random: random.Random) -> Case:
    one = pair(random)
    return Case("extra keys", dump(plain(one) | {"": None, "더": [{}], "id": 1.5}), pairs=(one,))


def bad_syntax(random: random.Random) -> Case:
    whole = dump(plain(pair(random)))
    body = whole[: random.randint(1, len(whole) - 1)].decode("utf-8", "ignore").encode()
    return Case("JSON cut short", body, 400, "invalid_request")


def bad_bytes(random: random.Random) -> Case:
    return Case("random bytes", b"\xff" + random.randbytes(random.randint(0, 300)), 400, "invalid_request")


def bad_type(random: random.Random) -> Case:
    wrong: Any = random.choice([None, True, 0, 1e300, [], ["가"], {}, {"premise": "가"}])
    content = plain(pair(random)) | {random.choice(["premise", "hypothesis"]): wrong}
    return Case("a field of the wrong type", dump(content), 400, "invalid_pair")


def bad_missing(random: random.Random) -> Case:
    content = plain(pair(random))
    del content[random.choice(["premise", "hypothesis"])]
    return Case("a field missing", dump([plain(pair(random)), content]), 400, "invalid_pair")


def bad_blank(random: random.Random) -> Case:
    content = plain(pair(random)) | {"premise": random.choice(["", " ", "\n\t", "\u3000\u2003"])}
    return Case("blank text", dump(content), 400, "invalid_pair")


def bad_surrogate(random: random.Random) -> Case:
    content = plain(pair(random)) | {"hypothesis": "가" * random.randint(0, 9) + "\ud800"}
    return Case("a lone surrogate", dump(content, ascii_only=True), 400, "invalid_pair")


def bad_top_level(random: random.Random) -> Case:
    body = random.choice([b"1", b"null", b'"a"', b"[]", b"true", b"", b" ", b"{} {}", b"\xef\xbb\xbf"])
    return Case("no pair at all", body, 400, "invalid_request")


def bad_member(random: random.Random) -> Case:
    other: Any = random.choice([None, 1, "가", []])
    return Case("a list with something else in it", dump([plain(pair(random)), other]), 400, "invalid_pair")


def bad_key_twice(random: random.Random) -> Case:
    return Case("a key twice", b'{"premise": "a", "premise": "b", "hypothesis": "c"}', 400, "invalid_request")


def bad_hypotheses(random: random.Random) -> Case:
    wrong: list[Any] = [None, {}, [], "가", 1]
    content = {"premise": sentence(random), "hypotheses": random.choice(wrong)}
    return Case("wrong hypotheses", dump(content), 400, "invalid_request")


def bad_hypothesis(random: random.Random) -> Case:
    wrong: list[Any] = [None, "", [], 1]
    content = {"premise": sentence(random), "hypotheses": ["가", random.choice(wrong)]}
    return Case("a wrong hypothesis among many", dump(content), 400, "invalid_pair")


def bad_hypotheses_too_many(random: random.Random) -> Case:
    content = {"premise": sentence(random), "hypotheses": ["가"] * random.choice([65, 2000])}
    return Case("too many hypotheses", dump(content), 413, "limit_exceeded")


def bad_number(random: random.Random) -> Case:
    body = random.choice([b'{"premise": NaN}', b"[-Infinity]", b"[" + b"9" * 5000 + b"]"])
    return Case("a number that is none", body, 400, "invalid_request")


def bad_nesting(random: random.Random) -> Case:
    opening = random.choice([b"[", b'{"premise":'])
    return Case("deep nesting", opening * 60_000, 400, "invalid_request")


def bad_charset(random: random.Random) -> Case:
    headers = {"Content-Type": f"application/json; charset={random.choice(['utf-7', 'hex', 'x-none'])}"}
    return Case("an unknown charset", dump(plain(pair(random))), 400, "invalid_request", headers=headers)


def bad_form(random: random.Random) -> Case:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Case("a form without our fields", b"a=1&b=2", 400, "invalid_request", headers=headers)


def bad_form_field(random: random.Random) -> Case:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Case("a form with one field", b"premise=a", 400, "invalid_pair", headers=headers)


def bad_multipart(random: random.Random) -> Case:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    body = b'--x\r\nContent-Disposition: form-data; name="premise"\r\n\r\n\xff\xfe\r\n--x--\r\n'
    return Case("multipart that is no UTF-8", body, 400, "invalid_pair", headers=headers)


def bad_tensor(random: random.Random) -> Case:
    good: dict[str, Any] = {"name": "premise", "datatype": "BYTES", "shape": [1], "data": ["가"]}
    wrong: dict[str, Any] = random.choice(
        [{"shape": [-1]}, {"shape": "x"}, {"datatype": "FP32"}, {"data": "가"}, {"name": 7}]
    )
    return Case("a wrong tensor", dump({"inputs": [good | wrong]}), 400, "invalid_request")


def bad_binary(random: random.Random) -> Case:
    size = random.choice([-1, 3, 4, 1000, True, "4"])
    tensor = {"name": "premise", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
    head = dump({"inputs": [tensor]})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return Case("wrong binary data", head + b"\x09\0\0\0", 400, "invalid_request", headers=headers)


def bad_length(random: random.Random) -> Case:
    headers = JSON | {"Inference-Header-Content-Length": random.choice(["-1", "1e9", "9" * 9, "x", "１"])}
    headers = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    return Case("a wrong length of JSON", dump(plain(pair(random))), 400, "invalid_request", headers=headers)


def bad_compressed(random: random.Random) -> Case:
    headers = JSON | {"Content-Encoding": random.choice(["gzip", "deflate"])}
    body = random.choice([dump(plain(pair(random))), gzip.compress(b"{}")[:-1], random.randbytes(99)])
    return Case("a damaged compressed body", body, 400, "invalid_request", headers=headers)


def bad_bomb(random: random.Random) -> Case:
    headers = JSON | {"Content-Encoding": "gzip"}
    return Case("a compressed bomb", BOMB, 413, "limit_exceeded", headers=headers)


def bad_encoding(random: random.Random) -> Case:
    headers = JSON | {"Content-Encoding": random.choice(["br", "zstd", "gzip, gzip", "x"])}
    return Case(
        "an unknown encoding", dump(plain(pair(random))), 415, "unsupported_encoding", headers=headers
    )


def bad_json_as_form(random: random.Random) -> Case:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Case(
        "JSON sent as a form", b'{"premise": "a", "hypothesis": "b"}', 400, "invalid_request", headers=headers
    )


def bad_instances(random: random.Random) -> Case:
    wrong: list[Any] = [None, {}, [], "가"]
    content = {"instances": random.choice(wrong)}
    return Case("wrong instances", dump(content), 400, "invalid_request")


def bad_too_many(random: random.Random) -> Case:
    content = [plain(SentencePair("가", "나"))] * random.choice([65, 200])
    return Case("too many pairs", dump(content), 413, "limit_exceeded")


def bad_too_long(random: random.Random) -> Case:
    content = {"premise": "가 " * random.choice([25_001, 60_000]), "hypothesis": "나"}
    return Case("too long a text", dump(content), 413, "limit_exceeded")


Maker = Callable[[random.Random], Case]
GOOD: list[Maker] = [
    good_single,
    good_list,
    good_hypotheses,
    good_sentences,
    good_codec,
    good_odd_text,
    good_extra_keys,
    good_compressed,
]
BAD: list[Maker] = [
    bad_syntax, bad_bytes, bad_type, bad_missing, bad_blank, bad_surrogate, bad_top_level, bad_member,
    bad_key_twice, bad_number, bad_nesting, bad_charset, bad_form, bad_form_field, bad_multipart, bad_tensor,
    bad_instances, bad_too_many, bad_too_long, bad_binary, bad_length, bad_compressed, bad_bomb, bad_encoding,
    bad_json_as_form, bad_hypotheses, bad_hypothesis, bad_hypotheses_too_many,
    bad_sentences, bad_sentences_too_many,
]  # fmt: skip


def cases(count: int, seed: int = 0) -> list[Case]:
    """`count` requests, two bad or odd ones for each plain one, in random order."""
    generator = random.Random(seed)
    makers = BAD + GOOD * 2
    return [generator.choice(makers)(generator) for _ in range(count)]
