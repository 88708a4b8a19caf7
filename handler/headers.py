"""The headers of a request, as TorchServe hands them to a worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handler.body import BodyHeaders
from handler.errors import LimitExceeded


class RequestHeaders:
    """What a client's headers, and those that TorchServe adds, say of a request.

    TorchServe keeps the client's spelling of names. It also hands over a content type for each part, as a
    mapping under the part's name.
    """

    def __init__(self, headers: Mapping[str, Any]) -> None:
        """Take the headers of one request."""
        self._headers = headers

    def get(self, wanted: str) -> str | None:
        """A header by its lower-case name."""
        return next((str(value) for name, value in self._headers.items() if name.lower() == wanted), None)

    @property
    def body(self) -> BodyHeaders:
        """The headers that say how the body is to be read."""
        return BodyHeaders(
            self._content_type(), self.get("content-encoding"), self.get("inference-header-content-length")
        )

    @property
    def came_by_grpc(self) -> bool:
        """HTTP requests have headers, which are strings; gRPC has only the types of its parts."""
        return not any(isinstance(value, str) for value in self._headers.values())

    @property
    def at_kserve_address(self) -> bool:
        """Whether the address was `/v1/models/…` or `/v2/models/…`.

        TorchServe adds `explain` to requests at those and at `/predictions`, `url_path` to the latter only.
        """
        return "explain" in self._headers and "url_path" not in self._headers

    @property
    def asks_for_explanation(self) -> bool:
        """Whether the address was one of TorchServe's for explanations."""
        return self._headers.get("explain") == "True"

    def check_tokens(self, tokens: int) -> None:
        """Refuse a request that costs more than its body shows, as a gateway counts requests by their bodies.

        Raises:
            LimitExceeded: it has more tokens than `X-Max-Tokens` allows.
        """
        most = self.get("x-max-tokens") or ""
        if most.isdecimal() and tokens > int(most):
            raise LimitExceeded(
                f"the request has {tokens} tokens; at most {most} are allowed for a body of its size: "
                "send fewer hypotheses or sentences at once"
            )

    def ask_for_description(self, fields: Mapping[str, Any]) -> bool:
        """Whether a request is TorchServe's own, made for `GET /models/NAME?customized=true`.

        Its header `describe` can be sent by any client of `/predictions`. But TorchServe gives the request of
        such a client a body, were it an empty one, unless its content type is that of a form; its own has
        neither.
        """
        return self._headers.get("describe") == "True" and not fields and self.get("content-type") is None

    def _content_type(self) -> str | None:
        """The content type of the body; a part's lacks the charset unless the part has its own."""
        sent = self.get("content-type")
        if sent and not sent.lower().startswith("multipart/"):
            return sent
        part = self._headers.get("body") or self._headers.get("data")
        return str(part.get("content-type")) if isinstance(part, dict) else sent
