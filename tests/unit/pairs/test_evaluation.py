"""Evaluation: figures checked against hand-made cases and an independent computation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handler.request import SentencePair
from scripts.evaluate import main
from scripts.pairs.evaluation import evaluate, expected_calibration_error
from scripts.pairs.labelled import LabelledPair
from scripts.pairs.text_file import DataError
from tests.commands import call

LABELS = ("entailment", "contradiction", "neutral")


def predict(pairs: Sequence[SentencePair]) -> NDArray[np.float64]:
    """A model that reads its prediction from the premise, such as "0.7 0.2 0.1"."""
    return np.array([list(map(float, pair.premise.split())) for pair in pairs])


def labelled(probabilities: str, label: str | None) -> LabelledPair:
    return LabelledPair(SentencePair(probabilities, "x"), label)


def test_a_case_worked_out_by_hand() -> None:
    rows = [labelled("0.9 0.05 0.05", "entailment"), labelled("0.9 0.05 0.05", "neutral")]
    rows += [labelled("0.1 0.8 0.1", "contradiction"), labelled("0.1 0.1 0.8", "neutral")]
    result = evaluate("hand", LABELS, predict, rows)
    assert result.accuracy == 0.75
    assert result.confusion == ((1, 0, 0), (0, 1, 0), (1, 0, 1))
    assert result.f1 == pytest.approx({"entailment": 2 / 3, "contradiction": 1.0, "neutral": 2 / 3})
    # Two bins: at 0.9 half are right, at 0.8 all.
    assert result.calibration_error == pytest.approx((2 * abs(0.5 - 0.9) + 2 * abs(1.0 - 0.8)) / 4)
    assert "75.00%" in result.to_text()


def test_order_is_kept_over_many_batches_and_threads() -> None:
    rows = [
        labelled("1 0 0", "entailment"),
        labelled("0 1 0", "contradiction"),
        labelled("0 0 1", "neutral"),
    ] * 50
    assert evaluate("many", LABELS, predict, rows, threads=4).accuracy == 1.0


def test_perfect_calibration_is_zero_and_overconfidence_is_its_gap() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(1 / 3, 1, 200_000)
    assert expected_calibration_error(confidence, random.uniform(size=200_000) < confidence) < 0.01
    always = np.full(1000, 0.99)
    assert expected_calibration_error(always, np.arange(1000) % 2 == 0) == pytest.approx(0.49)


@pytest.mark.parametrize("label", [None, "maybe", "3"])
def test_another_label_is_an_error_before_any_work(label: str | None) -> None:
    def unasked(pairs: Sequence[SentencePair]) -> NDArray[np.float64]:
        raise AssertionError("the labels come first")

    with pytest.raises(DataError, match="the model's labels are"):
        evaluate("x", LABELS, unasked, [labelled("1 0 0", "neutral"), labelled("1 0 0", label)])


def test_pairs_without_a_gold_label_are_skipped_and_counted() -> None:
    rows = [labelled("1 0 0", "entailment"), labelled("no numbers", "-"), labelled("0 1 0", "neutral")]
    result = evaluate("x", LABELS, predict, rows)
    assert (result.pairs, result.skipped, result.accuracy) == (2, 1, 0.5)
    assert "1 without a gold label" in result.to_text()
    assert "skipped" not in evaluate("x", LABELS, predict, rows[:1]).to_text()
    with pytest.raises(DataError, match="no pair has a gold label"):
        evaluate("x", LABELS, predict, rows[1:2])


def test_numbers_are_read_in_the_models_order_and_the_report_says_so() -> None:
    rows = [labelled("1 0 0", "0"), labelled("0 1 0", "1"), labelled("0 0 1", "1")]
    result = evaluate("x", LABELS, predict, rows)
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.label_numbers == LABELS
    assert "0 entailment, 1 contradiction, 2 neutral" in result.to_text()
    swapped = evaluate("x", LABELS, predict, rows, ("entailment", "neutral", "contradiction"))
    assert swapped.accuracy == pytest.approx(2 / 3)
    assert swapped.confusion[2] == (0, 1, 1)
    assert "1 neutral" in swapped.to_text()


def test_the_command_prints_json(tiny_checkpoint: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    lines = [
        {"premise": "비가 온다.", "hypothesis": f"날씨가 {index}", "label": "neutral"} for index in range(40)
    ]
    data.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    done = call(main, "--data", data, "--checkpoint", tiny_checkpoint, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["pairs"], result["skipped"]) == (40, 0)
    assert sum(map(sum, result["confusion"])) == 40
