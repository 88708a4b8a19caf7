"""What a version has to show before it becomes the default: sensible answers, the same labels, accuracy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from handler.request import SentencePair
from scripts.pairs.client import Client
from scripts.pairs.evaluation import evaluate_url
from scripts.pairs.labelled import LabelledPair, name_numbers
from scripts.torchserve.management import Management, OperationError

SMOKE_PAIR = SentencePair("한 남자가 기타를 치고 있다.", "남자가 악기를 연주한다.")


@dataclass(frozen=True, slots=True)
class Gate:
    """The accuracy on labelled pairs that a new version must reach to be promoted."""

    file: Path
    min_accuracy: float = 0.0
    max_drop: float = 1.0
    """Largest allowed difference to the accuracy of the current default."""


def check_answer(management: Management, url: str, version: str, labels: tuple[str, ...]) -> None:
    """Let a version classify one pair, and check the form of its answer.

    Raises:
        ServiceError: the version doesn't answer, or the answer isn't a prediction.
    """
    pinned = f"{management.model}/{version}"
    with Client(url, pinned, management.token, timeout=30) as client:
        (answer,) = client.classify([SMOKE_PAIR])
    values = list(answer["probabilities"].values())
    sensible = (
        tuple(answer["probabilities"]) == labels
        and answer["label"] in labels
        and answer["model"]["version"] == version
        and all(0 <= value <= 1 for value in values)
        and math.isclose(sum(values), 1, abs_tol=1e-3)
    )
    if not sensible:
        raise OperationError(f"version {version} doesn't answer sensibly: {json.dumps(answer)[:300]}")


def check_accuracy(
    management: Management,
    url: str,
    gate: Gate,
    pairs: Sequence[LabelledPair],
    new: str,
    default: str,
    say: Callable[[str], None],
) -> None:
    """Evaluate a version and the default on the labelled pairs of `gate`.

    Raises:
        ServiceError: the new version is not accurate enough, or a pair can't be evaluated.
    """
    before = evaluate_url(url, pairs, f"{management.model}/{default}", management.token)
    # A number in the file means the same label for both versions, whatever the order of their outputs.
    after = evaluate_url(url, pairs, f"{management.model}/{new}", management.token, before.labels)
    theirs, ours = before.accuracy, after.accuracy
    skipped = f" ({before.skipped} without a gold label skipped)" if before.skipped else ""
    say(f"accuracy on {before.pairs} pairs{skipped}: {ours:.4f}; the default has {theirs:.4f}")
    if before.label_numbers:
        say(f"labels are numbers, read as {name_numbers(before.label_numbers)}")
    if ours < gate.min_accuracy:
        raise OperationError(f"version {new} is refused: accuracy {ours:.4f} is below {gate.min_accuracy}")
    if theirs - ours > gate.max_drop:
        raise OperationError(
            f"version {new} is refused: accuracy {ours:.4f} is {theirs - ours:.4f} below the default's, "
            f"at most {gate.max_drop} is allowed"
        )
