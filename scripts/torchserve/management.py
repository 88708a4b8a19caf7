"""TorchServe's management API with types: what is registered, and the calls that change it.

Each call is one HTTP request. TorchServe ends workers at once when a version is removed or scaled down, even
busy ones; `scripts/torchserve/operations.py` combines the calls so that no request is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from handler.errors import ServiceError
from scripts.pairs.session import new_session

SECONDS = 30.0
"""Time limit of a call that has nothing to wait for."""


FACTS = ("model", "identity", "source", "source_sha256", "precision", "labels", "training_data")
"""What a description says of a model's origin."""


class OperationError(ServiceError):
    """The running service refused an operation, or couldn't do it in time."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """Keep the HTTP status, where the service answered at all."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process, as TorchServe describes it."""

    pid: int
    status: str
    """State of the worker: `READY` once its model is loaded, busy or not."""


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version of a model."""

    version: str
    archive: str
    """File name in the model store."""
    is_default: bool
    wanted: int
    """Number of workers that the version is to have."""
    workers: tuple[Worker, ...]
    """Workers that the version has, in whatever state."""
    queued: int
    """Number of requests that wait for a worker."""

    @property
    def ready(self) -> frozenset[int]:
        """Process ids of the workers that have loaded their model."""
        return frozenset(worker.pid for worker in self.workers if worker.status == "READY")

    @property
    def is_complete(self) -> bool:
        """Whether there are as many workers as wanted, all of which have loaded their model."""
        return 0 < self.wanted == len(self.workers) == len(self.ready)


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker reports of itself and its model."""

    pid: int
    requests: int
    """Number of requests that the worker has taken since it started."""
    labels: tuple[str, ...]


class Management:
    """The management API of one server, for one model."""

    def __init__(self, url: str, model: str = "nli", token: str | None = None) -> None:
        """Prepare the calls; nothing is sent yet.

        Args:
            url: scheme, host and port of the management API.
            model: the model's name in TorchServe's URLs.
            token: sent as `Authorization: Bearer ...`, where the API asks for one.
        """
        self.url = url.rstrip("/")
        self.model = model
        self.token = token
        self._session = new_session(url, token)
        self._session.trust_env = False  # no proxy: these are addresses of a private network

    def versions(self) -> list[Version]:
        """Every registered version, oldest registration first; empty where the model isn't known."""
        default = self.default()
        if default is None:
            return []
        response = self._call("GET", f"/models/{self.model}/all")
        return [_version(each, default.version) for each in response.json()]

    def version(self, version: str) -> Version:
        """One registered version.

        Raises:
            OperationError: the version isn't registered; the message lists those that are.
        """
        found = self.versions()
        for each in found:
            if each.version == version:
                return each
        listing = ", ".join(each.version for each in found) or "nothing"
        raise OperationError(f"version {version} of {self.model} is not registered; registered is {listing}")

    def default(self, seconds: float = SECONDS) -> Version | None:
        """The version that answers where a URL names none, or None where the model isn't known."""
        response = self._call("GET", f"/models/{self.model}", seconds=seconds, accept=(200, 404))
        if response.status_code == 404:
            return None
        (described,) = response.json()
        return _version(described, described["modelVersion"])

    def register(self, archive: str, workers: int, seconds: float) -> None:
        """Register an archive of the model store and wait until its workers have started, or failed."""
        count = str(workers)
        query = {"url": archive, "model_name": self.model, "initial_workers": count, "synchronous": "true"}
        self._call("POST", "/models", seconds, (200,), **query)

    def set_default(self, version: str) -> None:
        """Send requests that name no version to this one; those that are queued or run end where they are."""
        self._call("PUT", f"/models/{self.model}/{version}/set-default")

    def scale(self, version: str, workers: int, seconds: float = SECONDS, wait: bool = True) -> None:
        """Set the number of workers, and `wait` for new ones; surplus ones are killed, busy or not."""
        query = {"min_worker": str(workers), "max_worker": str(workers), "synchronous": str(wait).lower()}
        self._call("PUT", f"/models/{self.model}/{version}", seconds, (200, 202), **query)

    def remove(self, version: str) -> None:
        """Remove a version; its workers are killed, busy or not."""
        self._call("DELETE", f"/models/{self.model}/{version}")

    def ask_worker(self, version: str, seconds: float) -> Report:
        """Ask one worker, whichever is free first, for its report.

        The question waits in the version's queue as requests do, so the answer shows that this worker has
        finished all that it took before.
        """
        told = self._describe(version, seconds)
        return Report(told["worker"]["pid"], told["worker"]["requests"], tuple(told["labels"]))

    def facts(self, version: str, seconds: float) -> dict[str, Any]:
        """Where a version's model comes from, as one of its workers says; `FACTS` are its keys."""
        told = self._describe(version, seconds)
        return {name: told.get(name) for name in FACTS}

    def _describe(self, version: str, seconds: float) -> dict[str, Any]:
        content = self._call("GET", f"/models/{self.model}/{version}", seconds, customized="true").json()
        try:
            told: dict[str, Any] = content[0]["customizedMetadata"]
            if {"worker", "labels"} <= set(told):
                return told
        except (LookupError, TypeError):
            pass
        raise OperationError(f"version {version} doesn't describe itself: not built by this project")

    def models(self) -> list[str]:
        """The names of all models of the server."""
        return [each["modelName"] for each in self._call("GET", "/models").json()["models"]]

    def _call(
        self,
        method: str,
        path: str,
        seconds: float = SECONDS,
        accept: tuple[int, ...] = (200,),
        **query: str,
    ) -> requests.Response:
        try:
            response = self._session.request(
                method, self.url + path, params=query, timeout=max(seconds, 0.01)
            )
        except requests.Timeout:
            raise OperationError(f"{method} {path} got no answer within {seconds:.0f} s") from None
        except requests.RequestException as error:
            raise OperationError(f"nothing can be managed at {self.url}: {type(error).__name__}") from None
        if response.status_code not in accept:
            message = f"{method} {path} was answered {response.status_code}: {_reason(response)}"
            raise OperationError(message, response.status_code)
        return response


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


def _reason(response: requests.Response) -> str:
    """TorchServe's message, in one line."""
    try:
        return " ".join(str(response.json()["message"]).split())
    except (ValueError, LookupError, TypeError):
        return " ".join(response.text.split())[:200] or "no message"
