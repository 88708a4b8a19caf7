"""Topics without training: how far a text entails that it is about each of some labels.

Each label becomes a hypothesis by a template, and a model for entailment judges the pairs (Yin, Hay and Roth
2019, "Benchmarking Zero-shot Text Classification: Datasets, Evaluation and Entailment Approach").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.pairs.client import Client

TEMPLATE = "이 글은 {}에 관한 글이다."
"""The default: 에 follows a vowel as it follows a consonant, so it is right for every label."""

HYPOTHESES = 32
"""Largest number of hypotheses in one request."""

CHARACTERS = 600_000
"""Largest number of characters of a text times the hypotheses of its request. The service allows 4 MiB of
JSON (`_with_each_hypothesis` in `handler/request.py`), where a character has 6 bytes at most."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The labels that a text may have, and how they become hypotheses."""

    labels: tuple[str, ...]
    template: str = TEMPLATE
    multi: bool = False
    """Whether a text may have several of them, or none."""

    @classmethod
    def of(cls, labels: str, template: str = TEMPLATE, multi: bool = False) -> Self:
        """Topics from labels that commas separate.

        Raises:
            ConfigurationError: there are too few labels, one is given twice, or the template has no place.
        """
        names = tuple(label.strip() for label in labels.split(","))
        if not all(names) or len(set(names)) < len(names) or len(names) < (1 if multi else 2):
            raise ConfigurationError("the labels must be two or more different ones, separated by commas")
        if template.count("{}") != 1:
            raise ConfigurationError(
                f"the template must have {{}} once, where the label goes, as in {TEMPLATE!r}"
            )
        return cls(names, template, multi)

    @property
    def hypotheses(self) -> list[str]:
        """A hypothesis for each label."""
        return [self.template.replace("{}", label) for label in self.labels]

    def pairs(self, text: str) -> list[SentencePair]:
        """A text with each hypothesis."""
        return [SentencePair(text, hypothesis) for hypothesis in self.hypotheses]

    def probabilities(self, answers: NDArray[np.float64], labels: Sequence[str]) -> NDArray[np.float64]:
        """The probability of each topic.

        Of several, P(entailment) / (P(entailment) + P(contradiction)), each by itself; of exactly one,
        P(entailment) divided by its sum over all topics, the softmax of its logarithms.

        Args:
            answers: a model's probabilities for the pairs of texts, of shape [..., topics, labels].
            labels: the model's labels, in order.

        Raises:
            ConfigurationError: the model doesn't judge entailment.
        """
        if not {"entailment", "contradiction"} <= {*labels}:
            raise ConfigurationError("topics need a model with the labels entailment and contradiction")
        entailment, contradiction = (
            np.maximum(answers[..., labels.index(name)], np.finfo(float).tiny)
            for name in ("entailment", "contradiction")
        )
        found = entailment / (
            entailment + contradiction if self.multi else entailment.sum(axis=-1, keepdims=True)
        )
        return np.asarray(found, dtype=np.float64)

    def ask(self, client: Client, text: str) -> dict[str, Any]:
        """The topics of a text by a running service, in the fields that an answer to a pair has.

        Raises:
            ServiceRefusedError, ServiceUnreachableError: as the client does.
            ConfigurationError: the model doesn't judge entailment.
        """
        hypotheses = self.hypotheses
        size = max(1, min(HYPOTHESES, CHARACTERS // max(1, len(text))))
        answers = [
            answer
            for start in range(0, len(hypotheses), size)
            for answer in client.classify_many(text, hypotheses[start : start + size])
        ]
        given = np.array([list(answer["probabilities"].values()) for answer in answers])
        found = self.probabilities(given, tuple(answers[0]["probabilities"]))
        return {
            "label": self.labels[int(found.argmax())],
            "probabilities": dict(zip(self.labels, found.tolist(), strict=True)),
            "truncated": any(answer["truncated"] for answer in answers),
            "model": answers[0]["model"],
        }
