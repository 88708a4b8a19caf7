"""The web page, and the headers that tell a browser what it may do with it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path

from handler.answer import Response
from handler.errors import ConfigurationError

PAGE = Path(__file__).with_name("page.html")

PLACE_OF_CARD = b"<!-- model card -->"


def load_page(file: Path = PAGE, card: str | None = None) -> Response:
    """The page as it is sent to a browser, with the model card at its end where there is one.

    Its content security policy allows the file's own style and script by their hashes, requests to the
    page's own origin, and nothing else; text never becomes markup (`require-trusted-types-for`).

    Raises:
        ConfigurationError: the file is missing.
    """
    try:
        body = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the web page can't be read: {error}") from None
    policy = [
        "default-src 'none'",
        f"script-src {_hashes(body, b'script')}",
        f"style-src {_hashes(body, b'style')}",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
    headers = (
        ("Content-Security-Policy", "; ".join(policy)),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
    )
    text = html.escape(card or "")
    shown = f"<details><summary>모델 카드</summary><pre lang>{text}</pre></details>" if text else ""
    body = body.replace(PLACE_OF_CARD, shown.encode())
    return Response(body, "text/html; charset=utf-8", headers)


def _hashes(page: bytes, element: bytes) -> str:
    """The sources of all inline elements of a kind (``'sha256-…'``), or ``'none'``."""
    contents = re.findall(rb"<%b(?:\s[^>]*)?>(.*?)</%b>" % (element, element), page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(content).digest()).decode() for content in contents]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
