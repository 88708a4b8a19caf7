"""Holding a model's predictions against labels: accuracy, confusion, F1 by class, calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from handler.checkpoint import Checkpoint
from handler.encoding import PairEncoder
from handler.engine import available_cores, load_engine
from handler.errors import ConfigurationError, InferenceFailed
from handler.request import SentencePair
from scripts.command_line.tables import text_table
from scripts.pairs.client import Client
from scripts.pairs.labelled import LabelledPair

BATCH = 32
"""Pairs in one request or one call of the engine."""

BINS = 15
"""Of confidence, equally wide, for the calibration error (Guo et al. 2017)."""

Predict = Callable[[Sequence[SentencePair]], list[dict[str, float]]]
"""Probabilities by label for each pair."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a model's verdicts fit the labels."""

    model: str
    pairs: int
    accuracy: float
    """Share of pairs whose most probable label is the right one."""
    calibration_error: float
    """Expected difference between confidence and accuracy, over 15 bins: 0 is perfect."""
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Counts; a row for each true label, a column for each predicted one, both in the order of `labels`."""
    f1: dict[str, float]
    """By label: the harmonic mean of precision and recall."""

    def to_text(self) -> str:
        """A table for people."""
        figures = [
            ("model", self.model),
            ("pairs", str(self.pairs)),
            ("accuracy", f"{self.accuracy:.2%}"),
            ("ECE", f"{self.calibration_error:.4f}"),
        ]
        rows = [("true \\ predicted", *self.labels, "F1")]
        for label, counts in zip(self.labels, self.confusion, strict=True):
            rows.append((label, *map(str, counts), f"{self.f1[label]:.4f}"))
        return f"{text_table(figures)}\n\n{text_table(rows, '<' + '>' * (len(self.labels) + 1))}"


def evaluate(model: str, predict: Predict, pairs: Sequence[LabelledPair], threads: int = 1) -> Evaluation:
    """Ask a model for its verdict on each pair and hold it against the label.

    Args:
        model: the model's name, for the report.
        predict: asked with up to 32 pairs at a time.
        pairs: at least one, all labelled.
        threads: how many calls of `predict` may run at the same time.

    Raises:
        ConfigurationError: a pair has no label, or one that the model doesn't know.
    """
    batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
    answers: list[dict[str, float]] = []
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(pairs), unit="pair", disable=None) as bar:
        for batch in pool.map(lambda rows: predict([row.pair for row in rows]), batches):
            answers += batch
            bar.update(len(batch))
    labels = tuple(answers[0])
    truth = [_index_of(row, index, labels) for index, row in enumerate(pairs)]
    probabilities = np.array([[answer[label] for label in labels] for answer in answers])
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    correct = predicted == np.array(truth)
    hits = confusion.diagonal()
    totals = confusion.sum(axis=0) + confusion.sum(axis=1)
    scores = np.divide(2 * hits, totals, out=np.zeros(len(labels)), where=totals > 0)
    return Evaluation(
        model=model,
        pairs=len(pairs),
        accuracy=float(correct.mean()),
        calibration_error=expected_calibration_error(probabilities.max(axis=1), correct),
        labels=labels,
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        f1=dict(zip(labels, map(float, scores), strict=True)),
    )


def expected_calibration_error(
    confidence: np.ndarray[tuple[int], np.dtype[np.float64]],
    correct: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> float:
    """Mean of |accuracy - confidence| over 15 equal bins of confidence, weighted by their pairs.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        abs(float(correct[bins == index].mean() - confidence[bins == index].mean()))
        * int((bins == index).sum())
        for index in np.unique(bins)
    ]
    return sum(gaps) / len(confidence)


def evaluate_url(
    url: str, pairs: Sequence[LabelledPair], model: str = "nli", token: str | None = None
) -> Evaluation:
    """Evaluate a served model; `model` may pin a version, as `nli/2.0`.

    Raises:
        ServiceError: the service can't be reached or refuses a pair.
    """
    with Client(url, model, token, retries=3) as client:
        served = client.classify([pairs[0].pair])[0]["model"]

        def predict(batch: Sequence[SentencePair]) -> list[dict[str, float]]:
            return [answer["probabilities"] for answer in client.classify(batch)]

        return evaluate(f"{served['name']} {served['version']} at {client.url}", predict, pairs, threads=2)


def evaluate_checkpoint(folder: Path, pairs: Sequence[LabelledPair]) -> Evaluation:
    """Evaluate a converted checkpoint in this process.

    Raises:
        ConfigurationError: it can't be loaded, or fails on a pair.
    """
    checkpoint = Checkpoint.read(folder)
    encoder = PairEncoder.from_folder(folder, checkpoint.max_seq_length)
    engine = load_engine(checkpoint, torch.device("cpu"), available_cores())

    def predict(batch: Sequence[SentencePair]) -> list[dict[str, float]]:
        answers = []
        for result in engine.probabilities(encoder.encode(batch)):
            if isinstance(result, InferenceFailed):
                raise ConfigurationError(f"{folder}: {result}")
            answers.append(dict(zip(checkpoint.labels, result.tolist(), strict=True)))
        return answers

    return evaluate(f"{checkpoint.name} in {folder}", predict, pairs)


def _index_of(row: LabelledPair, index: int, labels: tuple[str, ...]) -> int:
    if row.label not in labels:
        stated = "has no label" if row.label is None else f"has the label {row.label!r}"
        raise ConfigurationError(f"row {index} {stated}; the model's labels are {', '.join(labels)}")
    return labels.index(row.label)
