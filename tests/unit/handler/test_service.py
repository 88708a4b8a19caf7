"""The handler in TorchServe's own `Service` and `Context`: the answers to a batch, request by request."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.protocol.otf_message_handler import create_predict_response
from ts.service import PredictionException, Service

from handler import service as module
from handler.admission import Capacity
from handler.answer import Response
from handler.batcher import ModelBatch
from handler.encoded_request import EncodedRequest
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import Engine, Inference
from handler.errors import ConfigurationError, InferenceFailed
from handler.recording import ANSWERED, ERROR, EXPLAINED, BatchRecord, RequestRecord
from handler.request import read_pair
from handler.service import NliHandler
from scripts import CONFIG

PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
JSON = {"Content-Type": "application/json"}
DESCRIBE = {"describe": "True"}
EXPLAIN = JSON | {"explain": "True", "url_path": ""}
MANIFEST = {
    "builtBy": "1.2.3",
    "model": {"modelName": "nli", "modelVersion": "1.0", "configFile": "model-config.yaml"},
}

Message = dict[str, Any]


def message(body: Any, headers: Mapping[str, str] = JSON) -> Message:
    """A request as TorchServe's frontend sends it to a worker."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = headers.get("Content-Type", "")
    return raw_message([{"name": "body", "value": bytearray(content), "contentType": kind}], headers)


def raw_message(parameters: list[dict[str, Any]], headers: Mapping[str, str]) -> Message:
    sent = [{"name": name.encode(), "value": value.encode()} for name, value in headers.items()]
    return {"requestId": b"id", "headers": sent, "parameters": parameters}


def grpc_message(body: bytes) -> Message:
    """A request over gRPC, which has no header."""
    return raw_message([{"name": "data", "value": bytearray(body), "contentType": ""}], {})


class Worker:
    """A worker of TorchServe without its socket: the handler, its context, and what it writes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stdout = io.StringIO()
        monkeypatch.setattr(sys, "stdout", self.stdout)
        self.handler = NliHandler()
        metrics = MetricsCacheYamlImpl(config_file_path=CONFIG / "metrics.yaml")
        metrics.initialize_cache()
        self.service = Service(
            "nli", str(folder), MANIFEST, self.handler.handle, None, 16, metrics_cache=metrics
        )
        self.handler.initialize(self.service.context)

    def run(self, *messages: Message) -> list[bytes]:
        """The bodies that the handler answers a batch with."""
        return self.handler.handle(self.receive(*messages), self.service.context)

    def receive(self, *messages: Message) -> list[Mapping[str, Any]]:
        """A batch as `Service.predict` prepares it for the handler."""
        headers, data, ids = Service.retrieve_data_for_inference(messages)
        self.service.context.request_ids = ids
        self.service.context.request_processor = headers
        return list(data)

    def answers(self, *messages: Message) -> list[tuple[int, Any]]:
        """Status and parsed body of each."""
        bodies = self.run(*messages)
        statuses = [self.service.context.get_response_status(index)[0] for index in range(len(bodies))]
        # What goes to the frontend is built of the same; it must take bodies, phrases and headers.
        assert create_predict_response(bodies, {0: "id"}, "", 200, self.service.context)
        return list(zip(statuses, map(json.loads, bodies), strict=True))

    def written(self, text: str) -> str:
        """What was written to stdout, once it has `text`."""
        deadline = time.monotonic() + 10
        while text not in self.stdout.getvalue():
            assert time.monotonic() < deadline, f"{text} wasn't written: {self.stdout.getvalue()}"
            time.sleep(0.01)
        return self.stdout.getvalue()


@pytest.fixture(scope="module")
def model_folder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies unpacked beside a worker."""
    folder = tmp_path_factory.mktemp("unpacked")
    shutil.copytree(tiny_checkpoint, folder, dirs_exist_ok=True)
    shutil.copy(CONFIG / "model-config.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def process_state() -> Iterator[pytest.MonkeyPatch]:
    """What `initialize` changes in its process, put back afterwards."""
    names = [None, "handler", "handler.service", "ts.metrics"]
    loggers = [logging.getLogger(name) for name in names]
    saved = [(each, each.level, each.handlers[:], each.propagate) for each in loggers]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TS_DECODE_INPUT_REQUEST", "true")
        yield patch
    for each, level, handlers, propagate in saved:
        each.setLevel(level)
        each.handlers, each.propagate = handlers, propagate


@pytest.fixture(scope="module")
def worker(model_folder: Path, process_state: pytest.MonkeyPatch) -> Worker:
    return Worker(model_folder, process_state)


# --- start -----------------------------------------------------------------------------------------


def test_initialize_has_bodies_passed_as_bytes_and_says_what_is_ready(
    model_folder: Path, process_state: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "handler.service")
    worker = Worker(model_folder, process_state)
    worker.written("nli_worker_heartbeats_total")
    assert os.environ["TS_DECODE_INPUT_REQUEST"] == "false"
    identity = worker.handler.checkpoint.identity
    capacity = worker.handler.capacity
    assert (
        f"model {identity} ready on cpu with 1 threads: {int(capacity.tokens_per_second)} tokens per second, "
        f"at most {capacity.batch_tokens} in a batch"
    ) in caplog.messages


def test_a_bad_setting_stops_the_start(
    model_folder: Path, process_state: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(model_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model-config.yaml").write_text("handler: {max_pair: 3}")
    with pytest.raises(ConfigurationError, match="max_pair"):
        Worker(tmp_path, process_state)


def test_a_deadline_beyond_torchserve_s_limit_stops_the_start(
    model_folder: Path, process_state: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(model_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model-config.yaml").write_text("{responseTimeout: 30, handler: {deadline_seconds: 15.5}}")
    with pytest.raises(ConfigurationError, match="at most half of responseTimeout, 15"):
        Worker(tmp_path, process_state)


def test_the_base_handler_is_imported_without_openvino_and_leaves_the_modules_as_they_were() -> None:
    before = sys.modules.get("openvino.torch")
    assert module._import_base_handler_without_openvino() is module.BaseHandler
    assert sys.modules.get("openvino.torch") is before


# --- batches ---------------------------------------------------------------------------------------


def test_each_request_of_a_mixed_batch_is_answered_by_itself(worker: Worker) -> None:
    answers = worker.answers(
        message(PAIR),
        message(b"{"),
        message([PAIR, PAIR]),
        message(PAIR | {"premise": " "}),
        message([PAIR] * 65),
        message(PAIR, JSON | {"X-Answer": "tutorial"}),
        message([PAIR], JSON | {"X-Answer": "tutorial"}),
        message(PAIR, {"Content-Type": "application/json; charset=klingon"}),
        message(PAIR, EXPLAIN),
        message([PAIR] * 9, EXPLAIN),
    )
    assert [status for status, _ in answers] == [200, 400, 200, 400, 413, 200, 400, 400, 200, 413]
    assert [body["type"] for status, body in answers if status != 200] == [
        "invalid_request", "invalid_pair", "limit_exceeded",
        "invalid_request", "invalid_request", "limit_exceeded",
    ]  # fmt: skip
    assert answers[0][1] == answers[2][1][0] == answers[2][1][1]
    assert answers[8][1]["probabilities"] == pytest.approx(answers[0][1]["probabilities"], abs=1e-6)
    assert answers[5][1].items() < answers[0][1].items()
    assert worker.service.context.get_response_content_type(1) == "application/json; charset=utf-8"


def test_a_premise_by_sentences_is_one_answer_of_several_pairs(worker: Worker) -> None:
    texts = ["비가 온다.", "책을 읽는다.", "날씨가 맑다."]
    body = {"premise": " ".join(texts), "hypotheses": ["비가 온다.", "책이 있다."], "premise_sentences": True}
    pairs = [{"premise": text, "hypothesis": "책이 있다."} for text in texts]
    (status, both), _, (_, alone) = worker.answers(message(body), message(PAIR), message(pairs))
    assert (status, [answer["hypothesis"] for answer in both]) == (200, body["hypotheses"])
    sentence = both[1]["sentence"]
    assert both[1]["premise"][sentence["start"] : sentence["end"]] == sentence["text"]
    assert texts[sentence["index"]] == sentence["text"]
    assert both[1]["probabilities"] == pytest.approx(alone[sentence["index"]]["probabilities"], abs=1e-6)
    assert (both[1]["truncated"], sentence["truncated"]) == (False, False)


def test_a_premise_by_sentences_counts_each_pair_and_one_prediction(worker: Worker) -> None:
    body = PAIR | {"premise": "비가 온다. 책이 있다.", "premise_sentences": True}
    item = worker.handler._prepare(0, worker.receive(message(body))[0])
    assert isinstance(item, EncodedRequest)
    record = RequestRecord.of("id", item, Response(b"", labels=("neutral",)))
    assert (record.pairs, record.labels, record.tokens) == (2, ("neutral",), item.tokens)


def test_sentences_are_refused_where_they_can_t_decide(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = PAIR | {"premise_sentences": True}
    (status, error) = worker.answers(message(body, EXPLAIN), message(PAIR))[0]
    assert (status, error["type"]) == (400, "invalid_request")
    assert "send the sentence that decides" in error["message"]
    others = replace(worker.handler.checkpoint, labels=("same", "different", "neutral"))
    monkeypatch.setattr(worker.handler, "checkpoint", others)
    (status, error) = worker.answers(message(body), message(PAIR))[0]
    assert "needs a model with the labels entailment and contradiction" in error["message"]


def test_a_gateway_may_bound_what_a_small_body_costs(worker: Worker) -> None:
    body = {"premise": "가 " * 60, "hypotheses": ["나"] * 60}
    bounded = JSON | {"X-Max-Tokens": "1024"}
    answers = worker.answers(message(body, bounded), message(PAIR, bounded), message(body))
    assert [status for status, _ in answers] == [413, 200, 200]
    assert answers[0][1]["type"] == "limit_exceeded"
    assert answers[0][1]["message"].startswith("the request has 3840 tokens; at most 1024 are allowed")


def test_a_body_of_many_hypotheses_is_taken_for_a_larger_one(worker: Worker) -> None:
    one, many = ({"body": json.dumps(body).encode()} for body in (PAIR, {"premise": "가", "hypotheses": []}))
    worker.receive(message(PAIR), message(PAIR))
    assert worker.handler._arrival(0, one, 0).size == len(one["body"])
    assert worker.handler._arrival(1, many, 0).size == module.MANY_SHARE * len(many["body"])


def test_forms_are_read(worker: Worker) -> None:
    form = [
        {"name": name, "value": bytearray(text.encode()), "contentType": "text/plain"}
        for name, text in PAIR.items()
    ]
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    part = [{"name": "body", "value": bytearray(json.dumps(PAIR).encode("cp949")), "contentType": ""}]
    part[0]["contentType"] = "application/json; charset=euc-kr"
    answers = worker.answers(raw_message(form, boundary), raw_message(part, boundary), message(PAIR))
    assert [status for status, _ in answers] == [200, 200, 200]
    assert answers[0][1] == answers[1][1] == answers[2][1]


def test_errors_at_kserves_addresses_are_what_its_clients_read(worker: Worker) -> None:
    at_predictions, at_kserve = {"explain": "False", "url_path": ""}, {"explain": "False"}
    (plain, kserve) = worker.answers(message({}, JSON | at_predictions), message({}, JSON | at_kserve))
    assert plain == (400, {"code": 400, "type": "invalid_pair", "message": "premise is missing"})
    assert kserve == (400, plain[1] | {"error": "premise is missing"})
    assert worker.service.context.get_response_content_type(0) == "application/json; charset=utf-8"
    assert worker.service.context.get_response_content_type(1) == "application/json"


def test_compressed_bodies_and_binary_tensors_are_read_by_headers_of_any_case(worker: Worker) -> None:
    chunks = [len(text.encode()).to_bytes(4, "little") + text.encode() for text in PAIR.values()]
    inputs = [
        {"name": name, "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(chunk)}}
        for name, chunk in zip(PAIR, chunks, strict=True)
    ]
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"CONTENT-ENCODING": "gzip", "inference-header-content-length": str(len(head))}
    answers = worker.answers(
        message(gzip.compress(head + b"".join(chunks)), headers),
        message(gzip.compress(json.dumps(PAIR).encode()), JSON | {"content-encoding": "gzip"}),
        message(PAIR, JSON | {"Content-Encoding": "br"}),
        message(PAIR),
    )
    assert [status for status, _ in answers] == [200, 200, 415, 200]
    assert answers[0][1]["outputs"][0]["data"] == [answers[3][1]["label"]]
    assert answers[1][1] == answers[3][1]


def test_the_model_s_metadata_is_no_request_to_the_model(worker: Worker) -> None:
    taken = worker.handler.requests
    ((status, body),) = worker.answers(message(b"", {"X-Answer": "metadata"}))
    assert (status, body["name"], worker.handler.requests) == (200, "nli", taken)


def test_a_browser_gets_the_page(worker: Worker) -> None:
    (body,) = worker.run(message(b"", {"accept": "text/html,*/*"}))
    assert body == worker.handler.page.body
    headers = worker.service.context.get_response_headers(0)
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


# --- descriptions ----------------------------------------------------------------------------------


def test_torchserve_s_own_request_is_answered_with_a_description(worker: Worker) -> None:
    taken = worker.handler.requests
    described, asked = worker.answers(raw_message([], DESCRIBE | {"Host": "127.0.0.1"}), message(PAIR))
    assert described[0] == asked[0] == 200
    assert described[1]["model"] == "tiny"
    assert described[1]["identity"] == worker.handler.checkpoint.identity
    assert described[1]["built_by"] == "1.2.3"
    assert described[1]["limits"] == {"max_pairs": 64, "max_explained_pairs": 8, "max_text_chars": 50000}
    assert described[1]["worker"] == {"pid": os.getpid(), "requests": taken}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (message(PAIR, JSON | DESCRIBE), 200),
        (message(b"", DESCRIBE), 400),
        (raw_message([], DESCRIBE | {"content-TYPE": "application/x-www-form-urlencoded"}), 400),
    ],
    ids=["JSON", "an empty body", "an empty form"],
)
def test_a_client_s_describe_header_is_nothing_special(worker: Worker, sent: Message, status: int) -> None:
    ((found, body),) = worker.answers(sent)
    assert found == status
    assert "source_sha256" not in body


# --- faults ----------------------------------------------------------------------------------------


def statuses(answers: Sequence[tuple[int, Any]]) -> list[tuple[int, str | None]]:
    return [(status, body.get("type")) for status, body in answers]


def failing(
    method: Callable[..., Any], fails: Callable[[Any], bool], error: type[Exception] = RuntimeError
) -> Callable[..., Any]:
    """The same method, failing for some arguments."""

    def wrapper(self: Any, argument: Any, *others: Any) -> Any:
        if fails(argument):
            raise error("남몰래한말")
        return method(self, argument, *others)

    return wrapper


def test_a_body_of_unknown_size_is_read(worker: Worker) -> None:
    odd = raw_message([{"name": "body", "value": 5, "contentType": ""}], JSON)
    assert statuses(worker.answers(odd, message(PAIR))) == [(400, "invalid_request"), (200, None)]


def test_an_error_while_encoding_fails_its_own_request(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encode = failing(PairEncoder.encode, lambda pairs: len(pairs) == 2)
    monkeypatch.setattr(PairEncoder, "encode", encode)
    answers = worker.answers(message(PAIR), message([PAIR, PAIR]), message(PAIR))
    assert statuses(answers) == [(200, None), (500, "internal_error"), (200, None)]
    assert "RuntimeError at test_service.py" in caplog.text
    assert "남몰래" not in caplog.text


def test_an_error_of_the_engine_fails_its_own_request(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = worker.handler.encoder.encode([read_pair(PAIR, worker.handler.settings)])

    def has_poison(pairs: list[EncodedPair]) -> bool:
        return poison[0] in pairs

    monkeypatch.setattr(Engine, "infer", failing(Engine.infer, has_poison, MemoryError))
    other = {"premise": "책을 읽는다.", "hypothesis": "비가 온다."}
    # The cheapest request comes first, so the results of the last are behind those of the one that fails.
    answers = worker.answers(message(other), message([PAIR, other]), message({"instances": [other] * 3}))
    assert statuses(answers) == [(200, None), (500, "inference_failed"), (200, None)]
    assert worker.handler._infer([]) == Inference([])


def test_an_error_while_rendering_fails_its_own_request(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(request: EncodedRequest, *others: Any) -> Response:
        if len(others[0]) == 2:
            raise ValueError("남몰래한말")
        return Response(b"{}")

    monkeypatch.setattr(module, "render", render)
    answers = worker.answers(message([PAIR, PAIR]), message(PAIR))
    assert statuses(answers) == [(500, "internal_error"), (200, None)]


def test_an_error_while_sending_fails_its_own_request(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Response(b"{}", headers=(("a", "b"), "no pair"))  # type: ignore[arg-type]
    monkeypatch.setattr(worker.handler, "page", broken)
    answers = worker.answers(message(PAIR), message(b"", {"Accept": "text/html"}), message(PAIR))
    assert statuses(answers) == [(200, None), (500, "internal_error"), (200, None)]


def test_a_pair_that_breaks_the_model_is_named(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.handler.engine, "_model", None)
    answers = worker.answers(message([PAIR, PAIR]), message(b"[]"))
    assert statuses(answers) == [(500, "inference_failed"), (400, "invalid_request")]
    assert answers[0][1]["message"] == "[0]: the model failed on this pair"


def test_what_can_t_be_recorded_is_answered(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def put(_: object) -> None:
        raise RuntimeError("full")

    monkeypatch.setattr(worker.handler.recorder, "put", put)
    assert statuses(worker.answers(message(PAIR))) == [(200, None)]
    assert "RuntimeError at test_service.py" in caplog.text


def test_a_variant_that_breaks_the_model_fails_its_pair_and_is_named(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = worker.handler.encoder.join(
        *worker.handler.encoder._token_ids(["비가", "날씨가 맑다."])
    )  # the premise without its last word

    def run(engine: Engine, batch: ModelBatch) -> Any:
        found = list(original(engine, batch))
        return [
            InferenceFailed("the model failed on this pair") if pair == poison else result
            for pair, result in zip(batch.pairs, found, strict=True)
        ]

    original = Engine._run
    monkeypatch.setattr(Engine, "_run", run)
    other = {"premise": "책을 읽는다.", "hypothesis": "비가 온다."}
    answers = worker.answers(message([other, PAIR], EXPLAIN), message(PAIR), message(other, EXPLAIN))
    assert statuses(answers) == [(500, "inference_failed"), (200, None), (200, None)]
    assert answers[0][1]["message"] == "[1]: the model failed on this pair"


# --- explanations ----------------------------------------------------------------------------------


def test_a_pair_is_explained_in_every_shape(worker: Worker) -> None:
    tensors = [
        {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]} for name, text in PAIR.items()
    ]
    form = [
        {"name": name, "value": bytearray(text.encode()), "contentType": "text/plain"}
        for name, text in PAIR.items()
    ]
    single, several, first, second, label, reasons, filled = worker.answers(
        message(PAIR, EXPLAIN),
        message([PAIR, PAIR], EXPLAIN),
        message({"instances": [PAIR]}, EXPLAIN),
        message({"inputs": tensors}, EXPLAIN),
        message({"inputs": tensors, "outputs": [{"name": "label"}]}, EXPLAIN),
        message({"inputs": tensors, "outputs": [{"name": "explanation"}, {"name": "label"}]}, EXPLAIN),
        raw_message(form, EXPLAIN | {"Content-Type": "multipart/form-data; boundary=x"}),
    )
    expected = single[1]
    words = expected["explanation"]["premise"]
    assert [(each["text"], each["start"], each["end"]) for each in words] == [("비가", 0, 2), ("온다.", 3, 6)]
    assert all(isinstance(each["weight"], float) for each in words)
    assert expected["explanation"]["unread_words"] == {"premise": 0, "hypothesis": 0}
    assert several[1] == [expected, expected]
    assert first[1] == {"explanations": [expected]}
    assert [each["name"] for each in second[1]["outputs"]] == [
        "label",
        "probabilities",
        "truncated",
        "explanation",
    ]
    assert [each["name"] for each in label[1]["outputs"]] == ["label"]
    assert [each["name"] for each in reasons[1]["outputs"]] == ["explanation", "label"]
    for each in (second[1]["outputs"][3], reasons[1]["outputs"][0]):
        assert json.loads(each["data"][0]) == expected["explanation"]
    assert filled[1] == expected


def test_an_explanation_is_no_output_of_a_prediction(worker: Worker) -> None:
    tensors = [
        {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]} for name, text in PAIR.items()
    ]
    ((status, body),) = worker.answers(
        message({"inputs": tensors, "outputs": [{"name": "explanation"}]}, JSON)
    )
    assert (status, body["type"]) == (400, "invalid_request")
    assert body["message"].startswith("outputs[0].name must be 'label' or")


def test_weights_do_not_depend_on_the_rest_of_the_batch(worker: Worker) -> None:
    others = [PAIR | {"hypothesis": f"{number} " * 9} for number in range(8)]
    ((_, alone),) = worker.answers(message(PAIR, EXPLAIN))
    busy = worker.answers(message(others), message(PAIR, EXPLAIN), message(others, EXPLAIN), message(PAIR))
    assert busy[1][1] == alone


def test_an_explanation_costs_the_tokens_of_all_its_variants(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.handler, "capacity", Capacity(50.0, deadline=2, longest=60))
    answers = worker.answers(message([PAIR] * 8, EXPLAIN), message(PAIR))
    assert statuses(answers) == [(503, "overloaded"), (200, None)]


def test_it_is_recorded_that_an_explanation_was_asked_for_whatever_became_of_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[BatchRecord] = []
    monkeypatch.setattr(worker.handler.recorder, "put", recorded.append)
    worker.answers(
        message(PAIR, EXPLAIN),
        message([PAIR] * 9, EXPLAIN),
        message(b"{", EXPLAIN),
        message(b"{"),
        message(PAIR),
    )
    (batch,) = recorded
    assert [(each.outcome, each.explained) for each in batch.requests] == [
        (EXPLAINED, True),
        (ERROR, True),
        (ERROR, True),
        (ERROR, False),
        (ANSWERED, False),
    ]


# --- overload --------------------------------------------------------------------------------------


def test_what_is_too_much_is_refused_and_counted(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.handler, "capacity", Capacity(50.0, deadline=2, longest=60))
    taken = worker.handler.requests
    others = [PAIR | {"hypothesis": f"{number} " * 9} for number in range(8)]
    answers = worker.answers(message(others), message(PAIR), message(others))
    assert statuses(answers) == [(503, "overloaded"), (200, None), (503, "overloaded")]
    assert worker.service.context.get_response_headers(0)["Retry-After"] == "1"
    assert worker.handler.requests == taken + 3


def test_a_worker_that_becomes_slow_refuses_the_rest_of_a_batch(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    capacity = Capacity(1e6, deadline=2, longest=60)
    monkeypatch.setattr(worker.handler, "capacity", capacity)

    def infer(engine: Engine, pairs: list[EncodedPair]) -> Inference:
        capacity.tokens_per_second = 1.0
        return Engine.infer(engine, pairs)

    monkeypatch.setattr(worker.handler.engine, "infer", partial(infer, worker.handler.engine))
    large = [PAIR | {"hypothesis": f"{number} " * 40} for number in range(40)]
    answers = worker.answers(message(large), message(PAIR), message(large))
    assert [status for status, _ in answers].count(200) == 2
    assert answers[1][0] == 200
    assert (503, "overloaded") in statuses([each for each in answers if each[0] == 503])


def test_a_request_that_is_too_old_is_refused(worker: Worker) -> None:
    now = time.time()
    old, young = (JSON | {"X-Request-Start": f"t={now - age:.3f}"} for age in (10.5, 0.1))
    answers = worker.answers(message(PAIR, old), message(PAIR, young), message(b"{", old))
    assert statuses(answers) == [(503, "overloaded"), (200, None), (503, "overloaded")]


def test_the_throughput_follows_the_batches(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.handler, "capacity", Capacity(1e9, deadline=2, longest=60))
    worker.answers(message([PAIR | {"hypothesis": f"{number} " * 30} for number in range(64)]))
    assert worker.handler.capacity.tokens_per_second < 1e9


# --- gRPC ------------------------------------------------------------------------------------------


def test_an_error_over_grpc_becomes_a_status_where_no_other_request_shares_the_batch(worker: Worker) -> None:
    with pytest.raises(PredictionException) as raised:
        worker.run(grpc_message(b"{"))
    assert raised.value.error_code == 400
    assert json.loads(raised.value.message)["type"] == "invalid_request"
    answers = worker.answers(grpc_message(b"{"), grpc_message(json.dumps(PAIR).encode()))
    assert statuses(answers) == [(400, "invalid_request"), (200, None)]


# --- records ---------------------------------------------------------------------------------------


def test_requests_are_counted_and_logged_and_descriptions_are_not(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "handler.recording.export")

    def wait_until_recorded() -> None:
        """Answer one more request, and wait until it is logged: records come in order."""
        worker.answers(message(PAIR) | {"requestId": b"the last"})
        deadline = time.monotonic() + 60
        while "the last" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    wait_until_recorded()  # also what other tests left to the recorder
    caplog.clear()
    worker.stdout.seek(0)
    worker.stdout.truncate()
    worker.answers(message([PAIR, PAIR]), message(b"{"), raw_message([], DESCRIBE))
    written = worker.written("nli_handler_seconds")
    model = worker.handler.checkpoint.identity
    assert f"nli_pairs_total.Count:2|#version:1.0,model:{model},outcome:answered,error:none" in written
    assert (
        f"nli_requests_total.Count:1|#version:1.0,model:{model},outcome:error,error:invalid_request"
        in written
    )
    assert "nli_batch_requests.Count:2|" in written
    wait_until_recorded()
    assert caplog.text.count("request_id") == 3
