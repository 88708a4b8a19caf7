"""The handler that TorchServe runs: preprocess, inference, postprocess, each thin over its module.

TorchServe wants exactly one class in this file. It is packed as the archive's `service.py` beside the
package `handler/`, so the same imports work in the repository, in the tests and in a worker.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import torch
from ts.context import Context
from ts.metrics.metric_cache_errors import MetricsCacheKeyError
from ts.metrics.metric_type_enum import MetricTypes
from ts.service import PredictionException

from handler.answer import ModelIdentity, Reply, make_answer, render
from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import Probabilities, load_engine, threads_per_worker
from handler.errors import InferenceFailed, InternalError, InvalidRequest, RequestError
from handler.metrics import HEARTBEATS, Measurement, measure
from handler.page import load_page
from handler.record import ANSWERED, ERROR, PAGE, BatchRecord, RequestRecord
from handler.recorder import JoinedLines, Recorder
from handler.request import Request, parse_request
from handler.request_log import log_requests
from handler.settings import HandlerSettings

logger = logging.getLogger(__name__)

# TorchServe's module imports openvino.torch, for torch.compile, which isn't used here: 2 s of a worker's
# start and 136 MB of its memory.
_hidden: dict[str, Any] = {"openvino.torch": None}
sys.modules.update(_hidden)
BaseHandler: Any = importlib.import_module("ts.torch_handler.base_handler").BaseHandler
del sys.modules["openvino.torch"]

Prepared: TypeAlias = tuple[Request, list[EncodedPair]]
"""A request whose pairs are ready for the model. Whatever is answered already travels beside it, as a
`Reply` or as its error."""


class NliHandler(BaseHandler):  # type: ignore[misc]
    """Classifies sentence pairs; one batch may hold requests of many clients, and each stands alone."""

    def initialize(self, context: Context) -> None:
        """Load settings, tokenizer and model, and answer once, before the worker counts as ready.

        Raises:
            ConfigurationError: anything is missing or doesn't fit; the worker then doesn't start.
        """
        # TorchServe would decode JSON itself, but only for one spelling of the content type, without a
        # view of repeated keys, and with a warning and a traceback in the log for each invalid body.
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"
        # The worker would log a line for each batch; metrics travel as log lines and must go on.
        logging.getLogger().setLevel(logging.WARNING)
        for name in (__name__, "handler", "ts.metrics"):
            logging.getLogger(name).setLevel(logging.INFO)
        properties = context.system_properties
        config = context.model_yaml_config or {}
        self.settings = HandlerSettings.from_model_config(config)
        self.page = load_page()
        self.checkpoint = Checkpoint.read(Path(properties["model_dir"]))
        model = context.manifest["model"]
        self.identity = ModelIdentity(self.checkpoint.name, model["modelName"], model["modelVersion"])
        self.encoder = PairEncoder.from_folder(self.checkpoint.folder, self.checkpoint.max_seq_length)
        gpu = properties.get("gpu_id")
        on_gpu = gpu is not None and torch.cuda.is_available()
        self.device = torch.device(f"cuda:{gpu}" if on_gpu else "cpu")
        threads = threads_per_worker(
            self.settings.threads, config.get("minWorkers", 1), self.checkpoint.small
        )
        self.engine = load_engine(self.checkpoint, self.device, threads, self.settings.max_batch_tokens)
        self.engine.warm_up()
        self.requests = 0  # that this worker has taken, described ones apart
        self.initialized = True
        self.context = context
        self.metric_lines = JoinedLines(sys.stdout)
        metrics_log = logging.getLogger("ts.metrics")
        metrics_log.handlers, metrics_log.propagate = [self.metric_lines], False
        self.recorder = Recorder(self._record, self._beat)
        logger.info("model %s ready on %s with %d threads", self.checkpoint.name, self.device, threads)

    def handle(self, data: list[Mapping[str, Any]], context: Context) -> list[bytes]:
        """Answer a batch of requests, one body each, in order."""
        self.context = context
        counted = self.engine.tokens, self.engine.padding
        times = [perf_counter()]
        prepared = self.preprocess(data)
        times.append(perf_counter())
        answered = self.inference(prepared)
        times.append(perf_counter())
        try:
            return self.postprocess(answered)
        finally:
            try:
                self.recorder.put(self._batch_record(prepared, answered, times, counted))
            except Exception as error:  # what can't be counted is answered all the same
                _internal_error(error)

    def preprocess(self, data: list[Mapping[str, Any]]) -> list[Prepared | Reply | RequestError]:
        """Bytes → encoded pairs, request by request."""
        return [self._prepare(index, fields) for index, fields in enumerate(data)]

    def inference(self, data: list[Prepared | Reply | RequestError]) -> list[Reply | RequestError]:
        """Encoded pairs → answers: one pass over the pairs of all requests."""
        pairs = [pair for item in data if isinstance(item, tuple) for pair in item[1]]
        results = iter(self.engine.probabilities(pairs))
        return [
            self._answer(*item, list(islice(results, len(item[1])))) if isinstance(item, tuple) else item
            for item in data
        ]

    def postprocess(self, data: list[Reply | RequestError]) -> list[bytes]:
        """Answers → bodies, with the status and the content type of each.

        Raises:
            PredictionException: for an error over gRPC, whose status TorchServe sets from nothing else. As
                it fails the whole batch, it is raised only where no other request shares it; a gRPC client
                in company gets status OK and the error as its body.
        """
        bodies = []
        for index, item in enumerate(data):
            if isinstance(item, RequestError):
                if len(data) == 1 and _came_by_grpc(self.context.get_all_request_header(index)):
                    raise PredictionException(item.to_json().decode(), item.status)
                self.context.set_response_status(item.status, item.reason, index)
                item = Reply(item.to_json())
            self.context.set_response_content_type(index, item.content_type)
            for name, value in item.headers:
                self.context.set_response_header(index, name, value)
            bodies.append(item.body)
        return bodies

    def describe_handle(self) -> dict[str, Any]:
        """What `GET /models/NAME?customized=true` of the management API adds about the model."""
        return {
            "model": self.identity.name,
            "version": self.identity.version,
            "labels": list(self.checkpoint.labels),
            "max_seq_length": self.checkpoint.max_seq_length,
            "limits": self.settings.model_dump(include={"max_pairs", "max_text_chars", "max_batch_tokens"}),
            "source": self.checkpoint.source,
            "source_sha256": self.checkpoint.source_sha256,
            "device": str(self.device),
            "worker": {"pid": os.getpid(), "requests": self.requests},
        }

    def _prepare(self, index: int, fields: Mapping[str, Any]) -> Prepared | Reply | RequestError:
        headers = self.context.get_all_request_header(index)
        try:
            if headers.get("describe") == "True":
                return Reply(json.dumps(self.describe_handle(), ensure_ascii=False).encode())
            self.requests += 1
            if headers.get("explain") == "True":
                raise InvalidRequest("explanations are not offered; post to /predictions instead")
            if not any(fields.values()) and "text/html" in (_header(headers, "accept") or ""):
                return self.page  # a browser's GET, which can't be told from other methods
            request = parse_request(fields, _content_type(headers), self.settings)
            if _header(headers, "x-answer") == "tutorial":
                request = request.for_tutorial()
            return request, self.encoder.encode(request.pairs)
        except RequestError as error:
            return error
        except Exception as error:
            return _internal_error(error)

    def _answer(
        self, request: Request, encoded: list[EncodedPair], results: list[Probabilities | InferenceFailed]
    ) -> Reply | RequestError:
        answers = []
        try:
            for pair, tokens, result in zip(request.pairs, encoded, results, strict=True):
                if isinstance(result, InferenceFailed):
                    return result.at(pair.where)
                answers.append(make_answer(pair, self.checkpoint.labels, result, tokens.truncated))
            labels = tuple(answer.label for answer in answers)
            return Reply(render(request, answers, self.identity), labels=labels)
        except Exception as error:
            return _internal_error(error)

    def _batch_record(
        self,
        prepared: list[Prepared | Reply | RequestError],
        answered: list[Reply | RequestError],
        times: list[float],
        counted: tuple[int, int],
    ) -> BatchRecord:
        """What to remember; `times` and `counted` are the clock's and the engine's readings before."""
        requests = [
            self._request_record(index, before, after)
            for index, (before, after) in enumerate(zip(prepared, answered, strict=True))
            if before is self.page or not isinstance(before, Reply)  # what describes the model isn't counted
        ]
        return BatchRecord(
            tuple(requests),
            datetime.now(UTC),
            tokenize_seconds=times[1] - times[0],
            infer_seconds=times[2] - times[1],
            handler_seconds=perf_counter() - times[0],
            tokens=self.engine.tokens - counted[0],
            padding=self.engine.padding - counted[1],
        )

    def _request_record(
        self, index: int, before: Prepared | Reply | RequestError, after: Reply | RequestError
    ) -> RequestRecord:
        encoded = before[1] if isinstance(before, tuple) else []
        record = RequestRecord(
            id=self.context.get_request_id(index),
            outcome=PAGE if before is self.page else ANSWERED,
            pairs=len(encoded),
            tokens=sum(len(pair.input_ids) for pair in encoded),
            truncated=sum(pair.truncated for pair in encoded),
        )
        if isinstance(after, RequestError):
            return replace(record, outcome=ERROR, status=after.status, error=after.type)
        return replace(record, labels=after.labels)

    def _record(self, batches: Sequence[BatchRecord]) -> None:
        """Count and log batches; in the recorder's thread."""
        for measurement in measure(batches):
            self._send(measurement)
        self.metric_lines.flush()
        if self.settings.request_log:
            log_requests(batches, self.identity.version)

    def _beat(self) -> None:
        self._send((HEARTBEATS, (), 1))
        self.metric_lines.flush()

    def _send(self, measurement: Measurement) -> None:
        """Hand a measurement to TorchServe, which knows the metric from its `metrics_config` or drops it."""
        metric, labels, value = measurement
        cache, kind = self.context.metrics, MetricTypes(metric.kind)
        try:
            target = cache.get_metric(metric.name, kind)
        except MetricsCacheKeyError:
            names = ["version", *metric.labels, "ModelName", "Level"]
            target = cache.add_metric_to_cache(metric.name, metric.unit, names, kind)
        target.add_or_update(value, [self.identity.version, *labels, self.identity.endpoint, "Model"])


def _content_type(headers: Mapping[str, Any]) -> str | None:
    """The content type of the body.

    TorchServe also hands over a type for each part, which lacks the charset unless the part has its own.
    """
    sent = _header(headers, "content-type")
    if sent and not sent.lower().startswith("multipart/"):
        return sent
    part = headers.get("body") or headers.get("data")
    return str(part.get("content-type")) if isinstance(part, dict) else None


def _header(headers: Mapping[str, Any], wanted: str) -> str | None:
    """A header by its lower-case name; TorchServe keeps the client's spelling."""
    return next((str(value) for name, value in headers.items() if name.lower() == wanted), None)


def _came_by_grpc(headers: Mapping[str, Any]) -> bool:
    """HTTP requests have headers, which are strings; gRPC has only the types of its parts."""
    return not any(isinstance(value, str) for value in headers.values())


def _internal_error(error: Exception) -> InternalError:
    """Log where it happened, without the message, which may quote what the user wrote."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    logger.error("%s at %s:%s", type(error).__name__, Path(frame.filename).name, frame.lineno)
    return InternalError("the service failed on this request; its log names the place")
