"""Records of a batch once it is answered: counts and times, never a text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from handler.answer import Response
from handler.encoded_request import EncodedRequest
from handler.errors import RequestError

ANSWERED, EXPLAINED, PAGE, ERROR = "answered", "explained", "page", "error"
"""Outcomes of a request."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request."""

    id: str
    """TorchServe's id, which the client got as `x-request-id`."""
    outcome: str
    """`ANSWERED`, `EXPLAINED` (with weights), `PAGE` (a browser asked for the web page) or `ERROR`."""
    status: int = 200
    """HTTP status of the response."""
    error: str = "none"
    """Type of the error, such as `invalid_pair`."""
    explained: bool = False
    """Whether explanations were asked for, also where the outcome is `ERROR`."""
    pairs: int = 0
    """Number of pairs read; 0 where the request was unreadable."""
    tokens: int = 0
    """Number of tokens that the model reads of them, special tokens included."""
    truncated: int = 0
    """Number of pairs of which the model does not read everything."""
    labels: tuple[str, ...] = ()
    """Predicted label of each pair; empty where there is no answer."""

    @classmethod
    def of(
        cls,
        request_id: str,
        encoded: EncodedRequest | None,
        response: Response | RequestError,
        explained: bool = False,
    ) -> RequestRecord:
        """The record of a request; `encoded` is None where no pair was read."""
        pairs = encoded.whole if encoded else []
        record = cls(
            id=request_id,
            outcome=PAGE if not encoded else EXPLAINED if explained else ANSWERED,
            explained=explained,
            pairs=len(pairs),
            tokens=encoded.tokens if encoded else 0,
            truncated=sum(pair.truncated for pair in pairs),
        )
        if isinstance(response, RequestError):
            return replace(record, outcome=ERROR, status=response.status, error=response.type)
        return replace(record, labels=response.labels)


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """The requests that were answered together, and what it took."""

    requests: tuple[RequestRecord, ...]
    answered: datetime
    """Time at which the responses were ready, in UTC."""
    infer_seconds: float
    """Time of the forward passes and of rendering the answers."""
    handler_seconds: float
    """Time of the whole batch in the handler."""
    tokens: int
    """Number of tokens that went through the model; equal pairs count once."""
    padding: int
    """Number of positions that went through the model and held nothing."""
