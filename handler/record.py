"""What is remembered of a batch once it is answered: counts and times, never a text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

ANSWERED, PAGE, ERROR = "answered", "page", "error"
"""How a request can end."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request."""

    id: str
    """TorchServe's id, which its client got as `x-request-id`."""
    outcome: str
    """`ANSWERED`, `PAGE` (a browser asked for the web page) or `ERROR`."""
    status: int = 200
    """As it was answered over HTTP."""
    error: str = "none"
    """The error's type, such as `invalid_pair`."""
    pairs: int = 0
    """That were read; 0 where the request couldn't be."""
    tokens: int = 0
    """That the model reads of them, special tokens included."""
    truncated: int = 0
    """Pairs of which the model doesn't read everything."""
    labels: tuple[str, ...] = ()
    """The verdict on each pair; empty where there is no answer."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """The requests that were answered together, and what it took."""

    requests: tuple[RequestRecord, ...]
    answered: datetime
    """When, in UTC."""
    tokenize_seconds: float
    """Reading and encoding."""
    infer_seconds: float
    """The forward passes and the answers made of them."""
    handler_seconds: float
    """All of it."""
    tokens: int
    """That went through the model; equal pairs count once."""
    padding: int
    """Positions that went through the model and held nothing."""
