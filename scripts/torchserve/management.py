"""TorchServe's management API, typed: what is registered, and the calls that change it.

Each call is one HTTP request and does what TorchServe does, sharp edges included;
`scripts/torchserve/operations.py` puts them together so that nothing is lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from handler.errors import ServiceError

EXPIRING = ("management", "inference")
RENEW_BEFORE = timedelta(minutes=1)
"""How long before it expires a key of TorchServe's is replaced."""

SECONDS = 30.0
"""How long a call may take that has nothing to wait for."""


class OperationError(ServiceError):
    """The running service refused an operation, or couldn't do it in time."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process, as the frontend sees it."""

    pid: int
    status: str
    """`READY` once its model is loaded."""


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version of a model."""

    version: str
    archive: str
    """File name in the model store."""
    is_default: bool
    wanted: int
    """Workers that it is to have."""
    workers: tuple[Worker, ...]
    """Workers that it has, in whatever state."""
    queued: int
    """Requests that wait for a worker."""

    @property
    def ready(self) -> frozenset[int]:
        """Process ids of the workers that have loaded their model."""
        return frozenset(worker.pid for worker in self.workers if worker.status == "READY")


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker says of itself and of its model."""

    pid: int
    requests: int
    """Requests it has taken since it started."""
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """TorchServe's own tokens; empty where its token mode is off."""

    management: str = ""
    inference: str = ""
    renewal: str = ""
    """With which new ones are asked for; the only one that doesn't expire."""
    expired: tuple[str, ...] = ()
    """Which of `management` and `inference` are no longer good, or not for long."""

    @classmethod
    def read(cls, file: Path | None) -> Keys:
        """Read `key_file.json`, which TorchServe writes at each start into the folder it runs in.

        Raises:
            OperationError: the file is missing or isn't what TorchServe writes.
        """
        if file is None:
            return cls()
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            soon = (datetime.now(UTC) + RENEW_BEFORE).isoformat()
            expired = [kind for kind in EXPIRING if content[kind]["expiration time"] < soon]
            management, inference, renewal = (content[kind]["key"] for kind in (*EXPIRING, "API"))
            return cls(management, inference, renewal, tuple(expired))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise OperationError(f"{file} is not a readable key file of TorchServe: {error!r}") from None


class Management:
    """One model of one server."""

    def __init__(self, url: str, model: str = "nli", key_file: Path | None = None) -> None:
        """`url` is the management API's; keys are read again for each call, since a restart changes them."""
        self.url = url.rstrip("/")
        self.model = model
        self._key_file = key_file
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy: these are addresses of a private network

    def versions(self) -> list[Version]:
        """Every registered version, oldest registration first; none where the model isn't known."""
        answer = self._call("GET", f"/models/{self.model}/all", accept=(200, 404))
        if answer.status_code == 404:
            return []
        default = self._call("GET", f"/models/{self.model}").json()[0]["modelVersion"]
        return [_version(each, default) for each in answer.json()]

    def version(self, version: str) -> Version:
        """One registered version.

        Raises:
            OperationError: it isn't registered; the message says what is.
        """
        found = self.versions()
        for each in found:
            if each.version == version:
                return each
        listing = ", ".join(each.version for each in found) or "nothing"
        raise OperationError(f"version {version} of {self.model} is not registered; registered is {listing}")

    def default(self) -> Version | None:
        """The version that answers where a URL names none."""
        return next((each for each in self.versions() if each.is_default), None)

    def register(self, archive: str, workers: int, seconds: float) -> None:
        """Register an archive of the model store and wait until its workers have started, or failed."""
        query: dict[str, str | int] = {
            "url": archive,
            "model_name": self.model,
            "initial_workers": workers,
            "synchronous": "true",
        }
        self._call("POST", "/models", query, seconds)

    def set_default(self, version: str) -> None:
        """Send what names no version to this one from now on; what is queued or runs ends where it is."""
        self._call("PUT", f"/models/{self.model}/{version}/set-default")

    def scale(self, version: str, workers: int, seconds: float = SECONDS, wait: bool = True) -> None:
        """Set the number of workers, and `wait` for new ones; surplus ones are killed, busy or not."""
        query: dict[str, str | int] = {
            "min_worker": workers,
            "max_worker": workers,
            "synchronous": "true" if wait else "false",
        }
        self._call("PUT", f"/models/{self.model}/{version}", query, seconds, accept=(200, 202))

    def remove(self, version: str) -> None:
        """Remove a version; its workers are killed, busy or not."""
        self._call("DELETE", f"/models/{self.model}/{version}")

    def ask_worker(self, version: str, seconds: float) -> Report:
        """Let one worker, whichever is free first, say how it is.

        The question waits in the version's queue like any request, so its answer shows that this worker
        has finished whatever it did before.
        """
        query = {"customized": "true"}
        answer = self._call("GET", f"/models/{self.model}/{version}", query, seconds).json()
        try:
            told = answer[0]["customizedMetadata"]
            return Report(told["worker"]["pid"], told["worker"]["requests"], tuple(told["labels"]))
        except (LookupError, TypeError):
            raise OperationError(
                f"version {version} doesn't describe itself: not built by this project"
            ) from None

    def keys(self) -> Keys:
        """The tokens that are valid now; new ones are asked for where they have expired."""
        keys = Keys.read(self._key_file)
        if not keys.expired:
            return keys
        for kind in keys.expired:
            self._send("GET", "/token", {"type": kind}, SECONDS, keys.renewal)
        return Keys.read(self._key_file)

    def models(self) -> list[str]:
        """The names of all models of the server."""
        return [each["modelName"] for each in self._call("GET", "/models").json()["models"]]

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        seconds: float = SECONDS,
        accept: tuple[int, ...] = (200,),
    ) -> requests.Response:
        answer = self._send(method, path, query, seconds, self.keys().management)
        if answer.status_code not in accept:
            raise OperationError(f"{method} {path} was answered {answer.status_code}: {_reason(answer)}")
        return answer

    def _send(
        self, method: str, path: str, query: Mapping[str, str | int] | None, seconds: float, key: str
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            return self._session.request(
                method, self.url + path, params=query, headers=headers, timeout=max(seconds, 0.01)
            )
        except requests.Timeout:
            raise OperationError(f"{method} {path} got no answer within {seconds:.0f} s") from None
        except requests.RequestException as error:
            raise OperationError(f"nothing can be managed at {self.url}: {type(error).__name__}") from None


def inference_url(management_url: str) -> str:
    """The inference API where `scripts/serve` puts it: one port below the management API."""
    parts = urlsplit(management_url)
    if parts.port is None:
        raise OperationError(f"{management_url} names no port; give --inference-url")
    host = parts.netloc.rpartition(":")[0]
    return parts._replace(netloc=f"{host}:{parts.port - 1}").geturl()


def _version(described: Mapping[str, Any], default: str) -> Version:
    workers = tuple(Worker(each["pid"], each["status"]) for each in described["workers"])
    return Version(
        version=described["modelVersion"],
        archive=described["modelUrl"],
        is_default=described["modelVersion"] == default,
        wanted=described["minWorkers"],
        workers=workers,
        queued=described["jobQueueStatus"]["pendingRequests"],
    )


def _reason(answer: requests.Response) -> str:
    """TorchServe's message, in one line."""
    try:
        return " ".join(str(answer.json()["message"]).split())
    except (ValueError, LookupError, TypeError):
        return " ".join(answer.text.split())[:200] or "no message"
