"""Multipart forms as the gateway passes them on, in one piece: TorchServe fails with 500 on unusual ones."""

from __future__ import annotations

from email import message_from_string
from email.message import Message

from handler.body import BodyHeaders
from handler.errors import InvalidRequest

RAW_MULTIPART = "application/x-multipart"
"""What the gateway calls the content type of a multipart form, so that TorchServe leaves the form alone."""

MAX_PARTS = 100


def read_multipart(raw: bytes, headers: BodyHeaders) -> tuple[dict[str, bytes], BodyHeaders]:
    """The contents of a form's parts by name, and the headers of its part `body` or `data`, if it has one.

    Args:
        raw: the form as it was sent.
        headers: that came with it; the content type names the boundary.

    Raises:
        InvalidRequest: it isn't a multipart form, or has too many parts or two of one name.
    """
    if headers.content_encoding:
        raise InvalidRequest("a multipart form is read only without a Content-Encoding")
    boundary = _headers(f"Content-Type: {headers.content_type}").get_boundary() or ""
    _, *parts = (b"\r\n" + raw).split(b"\r\n--" + boundary.encode("latin-1", "replace"))
    if not (boundary and parts and parts[-1].startswith(b"--")):
        raise InvalidRequest("the body is not the multipart form that its Content-Type states")
    if len(parts) > MAX_PARTS + 1:
        raise InvalidRequest(f"the form has more than {MAX_PARTS} parts")
    fields: dict[str, bytes] = {}
    content_type = None
    for part in parts[:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        described = _headers(head.decode("latin-1").strip())
        name = str(described.get_param("name", header="content-disposition"))
        if name in fields:
            raise InvalidRequest("the body is ambiguous: a form has two parts of the same name")
        fields[name] = content
        if name in {"body", "data"}:
            content_type = described.get("content-type")
    return fields, BodyHeaders(content_type)


def _headers(text: str) -> Message:
    return message_from_string(f"{text}\n\n")
