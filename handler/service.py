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
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from time import perf_counter, time
from typing import Any

import torch
from ts.context import Context
from ts.metrics.metric_cache_errors import MetricsCacheKeyError
from ts.metrics.metric_type_enum import MetricTypes
from ts.service import PredictionException

from handler.admission import TOO_MUCH, Arrival, Capacity, Item, seconds_since
from handler.answer import ModelIdentity, Response, render, render_error, render_metadata
from handler.checkpoint import Checkpoint
from handler.encoded_request import EncodedRequest, ExplainedRequest
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import Inference, Result, load_engine, threads_per_worker
from handler.errors import ConfigurationError, InferenceFailed, InternalError, InvalidRequest, RequestError
from handler.headers import RequestHeaders
from handler.page import load_page
from handler.recording import BatchRecord, RequestRecord
from handler.recording.export import Exporter, Metric
from handler.recording.recorder import JoinedLines, Recorder
from handler.request import parse_request
from handler.sentences import RANKS
from handler.settings import HandlerSettings

logger = logging.getLogger(__name__)

MANY = (b'"hypotheses"', b'"premise_sentences"')
"""Keys of bodies whose texts are read several times."""

MANY_SHARE = 8
"""How many times its size such a body is taken for before it is read; a list of its pairs would have more."""

DEFAULT_RESPONSE_TIMEOUT = 120
"""TorchServe's `responseTimeout` in seconds, where `model-config.yaml` doesn't have it."""


def _import_base_handler_without_openvino() -> Any:
    """TorchServe's `BaseHandler`, imported while `openvino.torch` is hidden.

    Its module imports `openvino.torch` for torch.compile, which is not used here: 2 s of a worker's start and
    136 MB of its memory.
    """
    hidden: dict[str, Any] = {} if "openvino.torch" in sys.modules else {"openvino.torch": None}
    sys.modules.update(hidden)
    try:
        return importlib.import_module("ts.torch_handler.base_handler").BaseHandler
    finally:
        for name in hidden:
            del sys.modules[name]


BaseHandler: Any = _import_base_handler_without_openvino()


class NliHandler(BaseHandler):  # type: ignore[misc]
    """Classifies sentence pairs; one batch may hold requests of many clients, and each stands alone."""

    def initialize(self, context: Context) -> None:
        """Load settings, tokenizer and model, and answer once, before the worker counts as ready.

        Raises:
            ConfigurationError: anything is missing or doesn't fit; the worker then doesn't start.
        """
        _have_torchserve_pass_bodies_as_bytes()
        _have_torchserve_log_metrics_only()
        properties = context.system_properties
        config = context.model_yaml_config or {}
        self.settings = HandlerSettings.from_model_config(config)
        self.checkpoint = Checkpoint.read(Path(properties["model_dir"]))
        self.page = load_page(card=self.checkpoint.card())
        model = context.manifest["model"]
        self.identity = ModelIdentity(self.checkpoint.name, model["modelName"], model["modelVersion"])
        self.encoder = PairEncoder.from_folder(self.checkpoint.folder, self.checkpoint.max_seq_length)
        gpu = properties.get("gpu_id")
        on_gpu = gpu is not None and torch.cuda.is_available()
        self.device = torch.device(f"cuda:{gpu}" if on_gpu else "cpu")
        threads = threads_per_worker(
            self.settings.threads, config.get("minWorkers", 1), self.checkpoint.small
        )
        self.engine = load_engine(self.checkpoint, self.device, threads)
        self.engine.warm_up()
        self.capacity = self._measure_capacity(config.get("responseTimeout", DEFAULT_RESPONSE_TIMEOUT))
        self.requests = 0  # that this worker has answered, descriptions apart
        self.initialized = True
        self.context = context
        lines = JoinedLines(sys.stdout)
        metrics_log = logging.getLogger("ts.metrics")
        metrics_log.handlers, metrics_log.propagate = [lines], False
        exporter = Exporter(
            self.identity, self.checkpoint.identity, self._metric, lines, self.settings.request_log
        )
        self.recorder = Recorder(exporter.record, exporter.beat)
        logger.info(
            "model %s ready on %s with %d threads: %d tokens per second, at most %d in a batch",
            self.checkpoint.identity,
            self.device,
            threads,
            self.capacity.tokens_per_second,
            self.capacity.batch_tokens,
        )

    def handle(self, data: list[Mapping[str, Any]], context: Context) -> list[bytes]:
        """Answer a batch of requests, one body each, in order."""
        self.context = context
        began = perf_counter()
        prepared = self.preprocess(data)
        read = perf_counter()
        answered, inferred = self.inference(prepared)
        infer_seconds = perf_counter() - read
        try:
            return self.postprocess(answered)
        finally:
            try:
                requests = tuple(self._request_records(prepared, answered))
                self.requests += len(requests)
                record = BatchRecord(
                    requests,
                    datetime.now(UTC),
                    infer_seconds=infer_seconds,
                    handler_seconds=perf_counter() - began,
                    tokens=inferred.tokens,
                    padding=inferred.padding,
                )
                self.recorder.put(record)
            except Exception as error:  # a request that can't be recorded is answered all the same
                _internal_error(error)

    def preprocess(self, data: list[Mapping[str, Any]]) -> list[Item]:
        """Bytes → encoded pairs, request by request; what is answered without the model is answered here."""
        now = time()
        arrivals = [self._arrival(index, fields, now) for index, fields in enumerate(data)]
        return self.capacity.admit(arrivals, lambda index: self._prepare(index, data[index]))

    def inference(self, data: list[Item]) -> tuple[list[Response | RequestError], Inference]:
        """Encoded pairs → answers: the pairs of many requests together; and what went through the model."""
        answered: dict[int, Response | RequestError] = {}
        inferences = []
        for group in self.capacity.groups([item for item in data if isinstance(item, EncodedRequest)]):
            began = perf_counter()
            parts = [part for request in group for part in request.parts]
            batches = [[part] for part in parts] if group[0].alone else [parts]
            inferred = Inference.joined([self._infer(batch) for batch in batches])
            self.capacity.observe(inferred.tokens, perf_counter() - began)
            inferences.append(inferred)
            results = iter(inferred.results)
            for each in group:
                own = list(islice(results, len(each.pairs)))  # all of them, also where one is an error
                answered[id(each)] = self._answer(each, own)
        late = self.capacity.refusal(TOO_MUCH)
        return [
            answered.get(id(item), late) if isinstance(item, EncodedRequest) else item for item in data
        ], Inference.joined(inferences)

    def postprocess(self, data: list[Response | RequestError]) -> list[bytes]:
        """Answers → bodies, with the status and the content type of each.

        Raises:
            PredictionException: for an error over gRPC, whose status TorchServe sets from nothing else. As
                it fails the whole batch, it is raised only where no other request shares it; when batched
                with other requests, a gRPC client gets status OK and the error as its body.
        """
        if len(data) == 1 and isinstance(data[0], RequestError) and self._headers(0).came_by_grpc:
            raise PredictionException(data[0].to_json().decode(), data[0].status)
        return [self._send(index, item) for index, item in enumerate(data)]

    def describe_handle(self) -> dict[str, Any]:
        """Facts about the model, which `GET /models/NAME?customized=true` of the management API returns."""
        return {
            "model": self.identity.name,
            "version": self.identity.version,
            "identity": self.checkpoint.identity,
            "labels": list(self.checkpoint.labels),
            "max_seq_length": self.checkpoint.max_seq_length,
            "limits": self.settings.model_dump(
                include={"max_pairs", "max_explained_pairs", "max_text_chars"}
            ),
            "capacity": {
                "tokens_per_second": round(self.capacity.tokens_per_second),
                "batch_tokens": self.capacity.batch_tokens,
                "deadline_seconds": self.capacity.deadline,
            },
            "source": self.checkpoint.source,
            "source_sha256": self.checkpoint.source_sha256,
            "precision": self.checkpoint.precision,
            "training_data": self.checkpoint.training_data,
            "card": self.checkpoint.card(),
            "device": str(self.device),
            "built_by": self.context.manifest.get("builtBy"),
            "worker": {"pid": os.getpid(), "requests": self.requests},
        }

    def _measure_capacity(self, response_timeout: float) -> Capacity:
        # A worker that passes TorchServe's limit is killed, so none comes near.
        longest = response_timeout / 2
        if self.settings.deadline_seconds > longest:
            raise ConfigurationError(
                f"model-config.yaml: deadline_seconds must be at most half of responseTimeout, {longest:g}"
            )
        return Capacity(self.engine.throughput(), self.settings.deadline_seconds, longest)

    def _arrival(self, index: int, fields: Mapping[str, Any], now: float) -> Arrival:
        try:
            headers = self._headers(index)
            waited = seconds_since(headers.get("x-request-start"), now)
            size = sum(map(len, fields.values()))
            many = any(name in value for name in MANY for value in fields.values())
            return Arrival(MANY_SHARE * size if many else size, waited)
        except Exception as error:
            _internal_error(error)
            return Arrival(0)

    def _prepare(self, index: int, fields: Mapping[str, Any]) -> Item:
        try:
            headers = self._headers(index)
            if headers.ask_for_description(fields):
                return Response(json.dumps(self.describe_handle(), ensure_ascii=False).encode())
            if headers.get("x-answer") == "metadata":
                return render_metadata(self.checkpoint.labels, self.identity)
            if not any(fields.values()) and "text/html" in (headers.get("accept") or ""):
                return self.page  # a browser's GET, which can't be told from other methods
            request = parse_request(fields, headers.body, self.settings, headers.asks_for_explanation)
            if request.sentences:
                self._check_that_sentences_can_decide(headers.asks_for_explanation)
            if headers.asks_for_explanation:
                return ExplainedRequest.of(request, self.encoder, self.settings.max_explained_pairs)
            if headers.get("x-answer") == "tutorial":
                request = request.for_tutorial()
            encoded = EncodedRequest(request, self.encoder.encode(request.pairs_to_read))
            headers.check_tokens(encoded.tokens)
            return encoded
        except RequestError as error:
            return error
        except Exception as error:
            return _internal_error(error)

    def _check_that_sentences_can_decide(self, explained: bool) -> None:
        if explained:
            raise InvalidRequest("premise_sentences is not read here: send the sentence that decides")
        if not RANKS.keys() <= {*self.checkpoint.labels}:
            raise InvalidRequest(
                "premise_sentences needs a model with the labels entailment and contradiction"
            )

    def _infer(self, parts: list[list[EncodedPair]]) -> Inference:
        """The results of all pairs; where that fails as a whole, of each part by itself."""
        pairs = [pair for part in parts for pair in part]
        try:
            return self.engine.infer(pairs)
        except Exception as error:
            _internal_error(error)
        if len(parts) > 1:
            return Inference.joined([self._infer([part]) for part in parts])
        return Inference([InferenceFailed("the model failed on this request")] * len(pairs))

    def _answer(self, encoded: EncodedRequest, results: Sequence[Result]) -> Response | RequestError:
        try:
            answers = encoded.answers(self.checkpoint.labels, results)
            return render(encoded.request, answers, self.identity)
        except InferenceFailed as error:
            return error
        except Exception as error:
            return _internal_error(error)

    def _send(self, index: int, item: Response | RequestError) -> bytes:
        """Set the status and the headers of one response; returns its body."""
        try:
            if isinstance(item, RequestError):
                self.context.set_response_status(item.status, item.reason, index)
                response = render_error(item, for_kserve=self._headers(index).at_kserve_address)
            else:
                response = item
            self.context.set_response_content_type(index, response.content_type)
            for name, value in response.headers:
                self.context.set_response_header(index, name, value)
            return response.body
        except Exception as error:
            return self._send(index, _internal_error(error))

    def _headers(self, index: int) -> RequestHeaders:
        return RequestHeaders(self.context.get_all_request_header(index))

    def _request_records(
        self,
        prepared: Sequence[Item],
        answered: Sequence[Response | RequestError],
    ) -> Iterable[RequestRecord]:
        for index, (before, after) in enumerate(zip(prepared, answered, strict=True)):
            if before is self.page or not isinstance(before, Response):  # descriptions aren't counted
                encoded = before if isinstance(before, EncodedRequest) else None
                explained = self._headers(index).asks_for_explanation
                yield RequestRecord.of(self.context.get_request_id(index), encoded, after, explained)

    def _metric(self, metric: Metric, labels: list[str]) -> Any:
        """TorchServe's own metric, which it knows from its `metrics_config` or drops."""
        cache, kind = self.context.metrics, MetricTypes(metric.kind)
        try:
            return cache.get_metric(metric.name, kind)
        except MetricsCacheKeyError:
            return cache.add_metric_to_cache(metric.name, metric.unit, labels, kind)


def _have_torchserve_pass_bodies_as_bytes() -> None:
    """Set the variable by which this process' part of TorchServe leaves JSON alone.

    It would decode JSON only for one spelling of the content type, without a view of repeated keys, and with
    a warning and a traceback in the log for each invalid body.
    """
    os.environ["TS_DECODE_INPUT_REQUEST"] = "false"


def _have_torchserve_log_metrics_only() -> None:
    """Raise this process' log level: TorchServe logs a line for each batch, and metrics are log lines."""
    logging.getLogger().setLevel(logging.WARNING)
    for name in (__name__, "handler", "ts.metrics"):
        logging.getLogger(name).setLevel(logging.INFO)


def _internal_error(error: Exception) -> InternalError:
    """Log where it happened, without the message, which may quote what the user wrote."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    logger.error("%s at %s:%s", type(error).__name__, Path(frame.filename).name, frame.lineno)
    return InternalError("the service failed on this request; its log names the place")
