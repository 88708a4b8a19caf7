"""Bytes → the value of a body: unpacked, split from binary tensors, decoded, and parsed strictly."""

from __future__ import annotations

import codecs
import json
import zlib
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

from handler.errors import InvalidRequest, LimitExceeded, UnsupportedEncoding

CHARSETS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "euc-kr", "cp949", "iso8859-1", "ascii")
"""Codecs a body may name (Python's names; aliases such as `ks_c_5601-1987` are resolved). Others are
refused: some of Python's take quadratic time, and some aren't text."""

FORM = "application/x-www-form-urlencoded"

RAW_FORM = "application/x-form"
"""What the gateway calls a form. TorchServe takes a body of the type `FORM` apart itself, unless a space
follows the type, and loses JSON that was sent under that type, as `curl -d` sends it."""

_CODECS = {codecs.lookup(name).name for name in CHARSETS}


@dataclass(frozen=True, slots=True)
class BodyHeaders:
    """The headers that say how a body is to be read, as the client sent them; None where it did not."""

    content_type: str | None = None
    """Of it only the charset counts, and whether it is a form."""
    content_encoding: str | None = None
    json_length: str | None = None
    """`Inference-Header-Content-Length` of KServe V2: the number of bytes of JSON before binary tensors."""


def read_body(raw: bytes, headers: BodyHeaders, max_bytes: int) -> tuple[Any, bytes]:
    """The body's value, parsed from JSON or from form fields, and the binary data behind it.

    Args:
        raw: as it was sent.
        headers: that came with it.
        max_bytes: the largest size of a compressed body once it is unpacked.

    Raises:
        InvalidRequest, LimitExceeded, UnsupportedEncoding: with a message that names the place.
    """
    text_bytes, binary = _split(_unpack(raw, headers.content_encoding, max_bytes), headers.json_length)
    charset = charset_of(headers.content_type)
    text = decode(text_bytes, charset or json.detect_encoding(text_bytes), "the body").removeprefix("\ufeff")
    if not text.strip():
        raise InvalidRequest(
            "the body is empty; send JSON, or form fields 'premise' and 'hypothesis' (a query is not read)"
        )
    if media_type(headers.content_type) in {FORM, RAW_FORM} and not text.lstrip().startswith(("{", "[")):
        return _parse_form(text, charset or "utf-8"), binary
    return _parse_json(text), binary


def media_type(content_type: str | None) -> str:
    """A content type without its parameters, in lower case."""
    return (content_type or "").partition(";")[0].strip().lower()


def charset_of(content_type: str | None) -> str | None:
    """The charset parameter of a content type, as a codec name, or None where none is given.

    Raises:
        InvalidRequest: it is none of `CHARSETS`.
    """
    if not content_type or "charset" not in content_type.lower():
        return None
    message = Message()
    message["content-type"] = content_type
    named = message.get_content_charset()
    if not named:
        return None
    try:
        codec = codecs.lookup(named).name
    except (LookupError, ValueError):
        codec = ""
    if codec not in _CODECS:
        raise InvalidRequest(f"the charset of the body is not supported; allowed are {', '.join(CHARSETS)}")
    # Korean Windows programs say euc-kr and mean its superset; a byte order mark may precede UTF-8.
    return {"euc_kr": "cp949", "utf-8": "utf-8-sig"}.get(codec, codec)


def decode(raw: bytes, charset: str, what: str) -> str:
    """Bytes as text.

    Raises:
        InvalidRequest: they are not valid in the charset.
    """
    try:
        return raw.decode(charset)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{what} is not valid {charset} at byte {error.start}") from None


def type_name(value: Any) -> str:
    """What a person calls the type of a JSON value."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def limit_pairs(count: int, most: int) -> None:
    """Refuse a body of more pairs than a request may have.

    Raises:
        LimitExceeded: it has more.
    """
    if count > most:
        raise LimitExceeded(f"{count} pairs in one request; at most {most} are allowed")


def lone_surrogate(text: str) -> int | None:
    """Index of the first lone surrogate, which JSON can hold and no encoding can."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def _unpack(raw: bytes, encoding: str | None, max_bytes: int) -> bytes:
    """Undo the content encoding. No more than `max_bytes` are ever unpacked."""
    name = (encoding or "").strip().lower()
    if name in {"", "identity"} or not raw:
        return raw
    if name not in {"gzip", "x-gzip", "deflate"}:
        raise UnsupportedEncoding(
            "the body's Content-Encoding is not read; send it as gzip, deflate or plain"
        )
    has_zlib_header = len(raw) > 1 and raw[0] & 0x0F == 8 and (raw[0] << 8 | raw[1]) % 31 == 0
    deflate = zlib.MAX_WBITS if has_zlib_header else -zlib.MAX_WBITS  # some clients send bare deflate
    inflater = zlib.decompressobj(deflate if name == "deflate" else zlib.MAX_WBITS | 16)
    try:
        unpacked = inflater.decompress(raw, max_bytes + 1)
    except zlib.error:
        raise InvalidRequest(f"the body is not valid {name}, which its Content-Encoding names") from None
    if len(unpacked) > max_bytes:
        raise LimitExceeded(f"the body has more than {max_bytes} bytes once it is unpacked")
    if not inflater.eof or inflater.unused_data:
        raise InvalidRequest(f"the body is not one whole {name} stream, which its Content-Encoding names")
    return unpacked


def _split(raw: bytes, json_length: str | None) -> tuple[bytes, bytes]:
    """JSON and the binary data behind it."""
    if json_length is None:
        return raw, b""
    digits = json_length.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 12 and int(digits) <= len(raw)):
        raise InvalidRequest(
            "Inference-Header-Content-Length must be the number of bytes of JSON at the body's start"
        )
    return raw[: int(digits)], raw[int(digits) :]


def _parse_form(text: str, charset: str) -> dict[str, str]:
    try:
        fields = parse_qsl(
            text.strip(), keep_blank_values=True, encoding=charset, errors="strict", max_num_fields=100
        )
    except UnicodeDecodeError:
        raise InvalidRequest(f"a form field is not valid {charset}") from None
    except ValueError:
        raise InvalidRequest("the form has more than 100 fields") from None
    return _object(fields)


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidRequest("the body is not readable: it nests too deeply") from None
    except ValueError:  # an integer of thousands of digits, which Python refuses to convert
        raise InvalidRequest("the body is not readable: it holds a number with too many digits") from None


def _object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object from its members, refusing the same key twice."""
    result = dict(items)
    if len(result) < len(items):
        raise InvalidRequest("the body is ambiguous: an object has the same key twice")
    return result


def _refuse_constant(_: str) -> None:
    raise InvalidRequest("the body is not JSON: NaN and Infinity are not JSON numbers")
