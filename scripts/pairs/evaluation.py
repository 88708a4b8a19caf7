"""Holding a model's predictions against labels: accuracy, confusion, F1 by class, calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from handler.checkpoint import Checkpoint
from handler.request import SentencePair
from scripts.command_line.tables import text_table
from scripts.pairs.client import Client
from scripts.pairs.labelled import LabelledPair, class_numbers, name_numbers
from scripts.pairs.text_file import DataError
from scripts.pairs.topics import Topics

BATCH = 32
"""Pairs in one request or one call of the engine."""

BINS = 15
"""Bins of confidence, equally wide, for the calibration error (Guo et al. 2017)."""

Predict = Callable[[Sequence[SentencePair]], NDArray[np.float64]]
"""The probabilities of each pair, of shape [pairs, labels]."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of a model on labelled pairs."""

    model: str
    pairs: int
    """Pairs with a gold label, to which every figure belongs."""
    skipped: int
    """Pairs without a gold label ("-")."""
    accuracy: float
    """Share of pairs whose most probable label is the right one."""
    most_frequent: float
    """Accuracy of always answering the label that is the most frequent among these pairs."""
    calibration_error: float
    """Expected difference between confidence and accuracy, over 15 bins: 0 is perfect."""
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Counts; a row for each true label, a column for each predicted one, both in the order of `labels`."""
    f1: dict[str, float]
    """By label: the harmonic mean of precision and recall."""
    label_numbers: tuple[str, ...] | None
    """The labels that 0, 1, … were read as, where labels in the file were numbers."""

    def to_text(self) -> str:
        """A table for people."""
        figures = [("model", self.model), ("pairs", str(self.pairs))]
        if self.skipped:
            figures.append(("skipped", f"{self.skipped} without a gold label"))
        if self.label_numbers:
            figures.append(("numbers", name_numbers(self.label_numbers)))
        figures.append(
            ("accuracy", f"{self.accuracy:.2%} (always the most frequent: {self.most_frequent:.2%})")
        )
        figures.append(("ECE", f"{self.calibration_error:.4f}"))
        rows = [("true \\ predicted", *self.labels, "F1")]
        for label, counts in zip(self.labels, self.confusion, strict=True):
            rows.append((label, *map(str, counts), f"{self.f1[label]:.4f}"))
        return f"{text_table(figures)}\n\n{text_table(rows, '<' + '>' * (len(self.labels) + 1))}"


def evaluate(
    model: str,
    labels: Sequence[str],
    predict: Predict,
    pairs: Sequence[LabelledPair],
    label_order: Sequence[str] | None = None,
    threads: int = 1,
) -> Evaluation:
    """Ask a model for its prediction on each pair and hold it against the label.

    Args:
        model: the model's name, for the report.
        labels: the model's labels in the order of its outputs.
        predict: asked with up to 32 pairs at a time, once every label has been found among the model's.
        pairs: labelled pairs; those without a gold label are skipped and counted.
        label_order: the labels that numbers in the file stand for; None is the model's order.
        threads: how many calls of `predict` may run at the same time.

    Raises:
        DataError: a label is missing or not the model's, or no pair has a gold label.
    """
    found = class_numbers(pairs, labels, label_order)
    truth = np.array([number for number in found.numbers if number is not None], dtype=int)
    asked = [row.pair for row, number in zip(pairs, found.numbers, strict=True) if number is not None]
    if not asked:
        raise DataError("no pair has a gold label")
    batches = [asked[start : start + BATCH] for start in range(0, len(asked), BATCH)]
    answers = []
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(asked), unit="pair", disable=None) as bar:
        for answer in pool.map(predict, batches):
            answers.append(answer)
            bar.update(len(answer))
    skipped = len(pairs) - len(asked)
    return measure(model, labels, np.concatenate(answers), truth, skipped, found.order)


def measure(
    model: str,
    labels: Sequence[str],
    probabilities: NDArray[np.float64],
    truth: NDArray[np.int64],
    skipped: int = 0,
    label_numbers: tuple[str, ...] | None = None,
) -> Evaluation:
    """The figures of a model whose probabilities, of shape [pairs, labels], and right labels are known."""
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    correct = predicted == truth
    most_frequent = np.bincount(truth).max() / len(truth)
    hits = confusion.diagonal()
    totals = confusion.sum(axis=0) + confusion.sum(axis=1)
    scores = np.divide(2 * hits, totals, out=np.zeros(len(labels)), where=totals > 0)
    return Evaluation(
        model=model,
        pairs=len(truth),
        skipped=skipped,
        accuracy=float(correct.mean()),
        most_frequent=float(most_frequent),
        calibration_error=expected_calibration_error(probabilities.max(axis=1), correct),
        labels=tuple(labels),
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        f1=dict(zip(labels, map(float, scores), strict=True)),
        label_numbers=label_numbers,
    )


def expected_calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
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
    url: str,
    pairs: Sequence[LabelledPair],
    model: str = "nli",
    token: str | None = None,
    label_order: Sequence[str] | None = None,
    topics: Topics | None = None,
) -> Evaluation:
    """Evaluate a served model; `model` may pin a version, as `nli/2.0`.

    With `topics`, the pairs' premises are texts, and their labels topics.

    Raises:
        DataError: a label is missing or not the model's.
        ServiceError: the service can't be reached or refuses a pair.
    """
    with Client(url, model, token, retries=3) as client:
        (first,) = client.classify([pairs[0].pair])
        labels, served = tuple(first["probabilities"]), first["model"]

        def predict(batch: Sequence[SentencePair]) -> NDArray[np.float64]:
            answers = client.classify(batch)
            return np.array([[answer["probabilities"][label] for label in labels] for answer in answers])

        def predict_topics(batch: Sequence[SentencePair]) -> NDArray[np.float64]:
            found = [topics.ask(client, pair.premise) for pair in batch] if topics else []
            return np.array([list(each["probabilities"].values()) for each in found])

        name = f"{served['name']} {served['version']} at {client.url}"
        if topics:
            return evaluate(name, topics.labels, predict_topics, pairs, label_order, threads=2)
        return evaluate(name, labels, predict, pairs, label_order, threads=2)


def evaluate_checkpoint(
    folder: Path,
    pairs: Sequence[LabelledPair],
    label_order: Sequence[str] | None = None,
    topics: Topics | None = None,
) -> Evaluation:
    """Evaluate a converted checkpoint in this process; `topics` as in `evaluate_url`.

    Raises:
        DataError: a label is missing or not the model's.
        ConfigurationError: the checkpoint can't be loaded, or fails on a pair.
    """
    # Imports torch, for which those who evaluate a served model should not have to wait.
    from scripts.pairs.local_model import LocalModel

    checkpoint = Checkpoint.read(folder)
    labels = topics.labels if topics else checkpoint.labels
    class_numbers(pairs, labels, label_order)
    model = LocalModel(checkpoint)

    def predict(batch: Sequence[SentencePair]) -> NDArray[np.float64]:
        if not topics:
            return model.probabilities(batch)
        answers = model.probabilities([each for pair in batch for each in topics.pairs(pair.premise)])
        return topics.probabilities(answers.reshape(len(batch), len(labels), -1), checkpoint.labels)

    return evaluate(f"{checkpoint.name} in {folder}", labels, predict, pairs, label_order)
