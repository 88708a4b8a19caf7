"""The error tree: what can go wrong, with which HTTP status and type it is answered.

    ServiceError
    ├── ConfigurationError            the service can't start as it is configured
    └── RequestError                  one request can't be answered; its neighbours can
        ├── InvalidRequest       400  the body is not something this service reads
        ├── InvalidPair          400  a premise or a hypothesis is missing or unusable
        ├── LimitExceeded        413  more than this service takes at once
        ├── UnsupportedEncoding  415  the body is compressed in a way that is not read
        ├── Overloaded           503  more comes in than can be answered in time
        ├── InferenceFailed      500  the model gave no usable answer for a pair
        └── InternalError        500  a fault of ours

Nothing else in the handler writes a status code.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self


class ServiceError(Exception):
    """The root: an error with a message meant for a person, in one line."""


class ConfigurationError(ServiceError):
    """Settings, weights, labels or vocabulary are missing or don't fit together."""


class RequestError(ServiceError):
    """One request can't be answered. Carries the HTTP status and the type that is sent."""

    status: ClassVar[int]
    reason: ClassVar[str]
    type: ClassVar[str]

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Further headers of the response, name and value."""
        return ()

    def at(self, where: str) -> Self:
        """The same error, with the path of the pair it concerns before its message."""
        return type(self)(f"{where.removesuffix('.')}: {self}" if where else str(self))

    def to_json(self, kserve: bool = False) -> bytes:
        """The error as it is answered: ``{"code": 400, "type": "…", "message": "…"}`` in UTF-8.

        Args:
            kserve: whether to add the message once more as ``error``, the key that KServe's clients read.
        """
        body: dict[str, Any] = {"error": str(self)} if kserve else {}
        body |= {"code": self.status, "type": self.type, "message": str(self)}
        return json.dumps(body, ensure_ascii=False).encode()


class InvalidRequest(RequestError):
    """The body is empty, in no known encoding, not JSON, or of no known shape."""

    status = 400
    reason = "Bad Request"
    type = "invalid_request"


class InvalidPair(RequestError):
    """A premise or a hypothesis is missing, not a string, blank, or not valid Unicode."""

    status = 400
    reason = "Bad Request"
    type = "invalid_pair"


class LimitExceeded(RequestError):
    """More pairs than one request may hold, or a longer text than one pair may hold."""

    status = 413
    reason = "Request Entity Too Large"
    type = "limit_exceeded"


class UnsupportedEncoding(RequestError):
    """The body's content encoding is none that this service unpacks."""

    status = 415
    reason = "Unsupported Media Type"
    type = "unsupported_encoding"


class Overloaded(RequestError):
    """The request would be answered too late, or nobody waits for it any more."""

    status = 503
    reason = "Service Unavailable"
    type = "overloaded"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        """Keep the seconds after which the client may try again."""
        super().__init__(message)
        self._retry_after = retry_after

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The seconds after which the client may try again."""
        return (("Retry-After", str(self._retry_after)),)


class InferenceFailed(RequestError):
    """The model raised an error for this pair, or answered with something that isn't finite."""

    status = 500
    reason = "Internal Server Error"
    type = "inference_failed"


class InternalError(RequestError):
    """A fault of this service; the log names the place."""

    status = 500
    reason = "Internal Server Error"
    type = "internal_error"


def one_line(error: BaseException, limit: int = 150) -> str:
    """An error's whole message in one line, shortened in its middle where it is longer than `limit`."""
    text = " ".join(str(error).split()) or type(error).__name__
    half = (limit - 3) // 2
    return text if len(text) <= limit else f"{text[:half]} … {text[-half:]}"
