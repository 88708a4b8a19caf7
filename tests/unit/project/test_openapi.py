"""docs/openapi.json says what the code has: limits, errors, names of tensors and fields, and addresses."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from handler.answer import ModelIdentity, describe_answer, make_answer, tutorial_fields
from handler.errors import RequestError
from handler.request import FIELDS, SENTENCES, SentencePair
from handler.settings import HandlerSettings
from handler.tensors import EXPLANATION, INPUTS, OUTPUTS
from scripts import CONFIG
from scripts.torchserve.gateway_settings import DOCUMENT, Address, GatewaySettings

WHOLE: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
SCHEMAS = WHOLE["components"]["schemas"]
NGINX = (CONFIG / "nginx.conf").read_text(encoding="utf-8")


def documented_errors() -> set[tuple[int, str]]:
    """Status and type of every error in the document."""
    found = set()
    for response in WHOLE["components"]["responses"].values():
        told = response["content"]["application/json"]["schema"].get("properties", {})
        kinds = told.get("type", {})
        names = kinds.get("enum", [kinds["const"]] if "const" in kinds else [])
        found |= {(told["code"]["const"], name) for name in names}
    return found


def test_every_error_of_the_service_is_documented() -> None:
    assert {(each.status, each.type) for each in RequestError.__subclasses__()} <= documented_errors()


def test_every_error_of_the_gateway_is_documented_but_those_of_other_addresses() -> None:
    (block,) = re.findall(r"map \$status \$kind \{(.*?)\}", NGINX, re.DOTALL)
    kinds = {(int(status), kind) for status, kind in re.findall(r"(\d+) (\w+);", block)}
    assert kinds - documented_errors() <= {
        (404, "not_found"),
        (405, "method_not_allowed"),
        (500, "internal_error"),
    }


def test_limits_are_the_handlers() -> None:
    limits = HandlerSettings()
    tensor = SCHEMAS["TextTensor"]["properties"]["data"]
    hypotheses = SCHEMAS["Hypotheses"]["properties"]["hypotheses"]
    assert {each["maxItems"] for each in (SCHEMAS["Pairs"], tensor, hypotheses)} == {limits.max_pairs}
    assert SCHEMAS["ExplainedBody"]["maxItems"] == limits.max_explained_pairs
    assert SCHEMAS["Text"]["maxLength"] == limits.max_text_chars


def test_names_are_the_codes() -> None:
    assert SCHEMAS["Pair"]["required"] == list(FIELDS)
    assert SCHEMAS["TextTensor"]["properties"]["name"]["enum"] == list(INPUTS)
    for schema, expected in (("V2Request", OUTPUTS), ("ExplainedV2Request", (*OUTPUTS, EXPLANATION))):
        outputs = SCHEMAS[schema]["properties"]["outputs"]["items"]
        assert outputs["properties"]["name"]["enum"] == list(expected)
    assert SCHEMAS["TensorMetadata"]["properties"]["name"]["enum"] == [*INPUTS, *OUTPUTS]


def test_a_form_may_ask_for_sentences_unless_it_is_explained() -> None:
    assert SCHEMAS["Form"]["properties"][SENTENCES]["enum"] == ["true", "false"]
    assert SCHEMAS["ExplainedForm"]["properties"][SENTENCES]["enum"] == ["false"]
    explained = WHOLE["components"]["requestBodies"]["Explained"]["content"]
    assert [each["schema"]["$ref"].rpartition("/")[2] for each in explained.values()] == [
        "ExplainedBody",
        "ExplainedForm",
        "ExplainedForm",
    ]


def test_fields_of_a_prediction_are_the_answers() -> None:
    labels = ["entailment", "contradiction", "neutral"]
    answer = make_answer(SentencePair("가", "나"), labels, np.array([0.2, 0.5, 0.3]), truncated=False)
    fields = SCHEMAS["PredictionFields"]
    told = describe_answer(answer, ModelIdentity("demo", "nli", "1.0"))
    patterns = re.compile("|".join(fields["patternProperties"]))
    assert {name for name in told if not patterns.search(name)} == set(fields["properties"])
    assert set(fields["required"]) == set(fields["properties"])
    assert list(SCHEMAS["TutorialPrediction"]["example"]) == list(tutorial_fields(answer))


def test_every_address_that_the_gateway_names_is_documented() -> None:
    (block,) = re.findall(r"map \$uri \$endpoint \{(.*?)\n    \}", NGINX, re.DOTALL)
    named = set(re.findall(r"(/\S*) \S+;", block.replace("${MODEL}", "nli")))
    assert len(named) > 5
    assert named <= set(WHOLE["paths"])


def test_another_models_name_replaces_the_usual_one() -> None:
    settings = GatewaySettings(Address("a", 1), Address("b", 2), model="kcbert-nli.2")
    paths = json.loads(settings.document())["paths"]
    assert "/predictions/kcbert-nli.2" in paths
    assert not [path for path in paths if path.endswith("/nli")]
