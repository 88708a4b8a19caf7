"""The client of a running service: pairs in, answers out, refusals as errors."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import requests

from handler.errors import InferenceFailed, InternalError, ServiceError
from handler.request import SentencePair
from scripts.pairs.session import new_session

DEFAULT_URL = "http://127.0.0.1:8080"

TOKEN = "TORCHSERVE_TOKEN"
"""Environment variable with TorchServe's inference key: on a command line it would show in `ps`."""


class ServiceRefusedError(ServiceError):
    """The service answered, but not with predictions."""

    def __init__(self, status: int, message: str, kind: str | None = None, wait: float | None = None) -> None:
        """Keep the service's answer.

        Args:
            status: the HTTP status.
            message: the reason, for people.
            kind: the error's type, such as `invalid_pair`; None where none came.
            wait: seconds after which the request may be sent again (`Retry-After`).
        """
        super().__init__(f"the service answered {status}: {message}")
        self.status = status
        self.message = message
        self.kind = kind
        self.wait = wait

    @property
    def may_pass(self) -> bool:
        """True if the same request can succeed later."""
        return (self.status == 429 or self.status >= 500) and self.kind not in LASTING


LASTING = {InferenceFailed.type, InternalError.type}
"""Types of errors from 500 on that stay the same however often the request is sent."""

LONGEST_WAIT = 10.0
"""Seconds between two attempts at most, unless the service asks for more."""


class ServiceUnreachableError(ServiceError):
    """No answer came: nothing listens at the address, or the time ran out."""


class Client:
    """One connection pool to one model; safe to share between threads."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        model: str = "nli",
        token: str | None = None,
        retries: int = 0,
        timeout: float = 60,
        connections: int = 10,
    ) -> None:
        """Prepare the connections; nothing is sent yet. See `new_session` for proxies.

        Args:
            url: scheme, host and port; a model's full address (`…/predictions/nli/1.0`) is taken as it is.
            model: name in the URL, with `/VERSION` to pin one.
            token: the service's key, where it asks for one.
            retries: how often a request is sent again that got 429, a passing 5xx or no answer at all;
                waiting doubles from 0.2 to 10 s, less a random part, or is what `Retry-After` says.
            timeout: seconds until an answer must have come.
            connections: how many threads will ask at the same time.

        Raises:
            ConfigurationError: the key has characters that no HTTP header can hold.
        """
        self.url = url if "/predictions/" in url else f"{url.rstrip('/')}/predictions/{model}"
        self._retries = retries
        self._timeout = timeout
        self._session = new_session(self.url, token, connections)

    def classify(
        self, pairs: Sequence[SentencePair], retries: int | None = None, explain: bool = False
    ) -> list[dict[str, Any]]:
        """Send `pairs` in one request, and return their answers in order.

        `retries` replaces the client's own number; `explain` asks for the weights of the words too.

        Raises:
            ServiceRefusedError: one of the pairs, or all together, are refused; `status` says how.
            ServiceUnreachableError: no answer came.
        """
        url = self.url.replace("/predictions/", "/explanations/") if explain else self.url
        body = [{"premise": pair.premise, "hypothesis": pair.hypothesis} for pair in pairs]
        return self._ask(url, body, retries)

    def classify_many(
        self, premise: str, hypotheses: Sequence[str], retries: int | None = None
    ) -> list[dict[str, Any]]:
        """Send one premise with many hypotheses, and return an answer for each; raises as `classify` does."""
        return self._ask(self.url, {"premise": premise, "hypotheses": list(hypotheses)}, retries)

    def _ask(self, url: str, body: Any, retries: int | None) -> list[dict[str, Any]]:
        """Send a body, again where it may pass, and return the list that answers it."""
        retries = self._retries if retries is None else retries
        for attempt in range(retries + 1):
            last = attempt == retries
            # Clients that were refused at the same time must not return at the same time.
            wait = min(LONGEST_WAIT, 0.2 * 2**attempt) * random.uniform(0.5, 1)
            try:
                return self._post(url, body)
            except ServiceRefusedError as error:
                if last or not error.may_pass:
                    raise
                wait = max(wait, error.wait or 0)
            except ServiceUnreachableError:
                if last:
                    raise
            time.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _post(self, url: str, body: Any) -> list[dict[str, Any]]:
        try:
            # A redirect would carry the texts to another place than the one that was given.
            answer = self._session.post(url, json=body, timeout=self._timeout, allow_redirects=False)
        except requests.exceptions.ProxyError:
            raise ServiceUnreachableError(f"the proxy on the way to {url} doesn't answer") from None
        except requests.ConnectionError:
            raise ServiceUnreachableError(f"no service answers at {url}") from None
        except requests.Timeout:
            raise ServiceUnreachableError(f"no answer within {self._timeout:g} s from {url}") from None
        except requests.RequestException as error:
            raise ServiceUnreachableError(f"{url} can't be reached: {error}"[:250]) from None
        try:
            content = answer.json()
        except ValueError:
            content = {}
        if answer.status_code != 200 or not isinstance(content, list):
            said: dict[str, Any] = content if isinstance(content, dict) else {}
            after = answer.headers.get("Retry-After", "")
            moved = f"; it points to {answer.headers['Location'][:150]}" if answer.is_redirect else ""
            raise ServiceRefusedError(
                answer.status_code,
                str(said.get("message") or answer.reason) + moved,
                said.get("type"),
                min(float(after), 60.0) if after.isdecimal() else None,
            )
        return content

    def __enter__(self) -> Self:
        """Return the client; connections are made when they are needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._session.close()
