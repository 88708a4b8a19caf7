"""Which label each output of a classifier stands for, and who says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.errors import ConfigurationError
from scripts.model.unpickling import Inert

TUTORIAL_LABELS = ("entailment", "contradiction", "neutral")
"""The order in which ratsnlp numbers its labels; its checkpoints don't record it."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Label names in the order of the classifier's outputs."""

    names: tuple[str, ...]
    origin: str
    """Where the order is taken from."""


def choose_labels(
    count: int,
    named: Sequence[str] | None,
    own: Mapping[str, Any] | None,
    surroundings: Mapping[Any, Any],
    lightning: bool,
    pretrained: Mapping[str, Any],
) -> Labels:
    """Decide which labels `count` outputs stand for.

    What the user names comes first, then what the checkpoint states, then the tutorial's order for a
    checkpoint that ratsnlp's trainer wrote, and last what the model that was fine-tuned states.

    Args:
        count: outputs of the classifier.
        named: by the user.
        own: `config.json` beside the weights.
        surroundings: what else a checkpoint's file holds, such as hyper-parameters.
        lightning: whether PyTorch Lightning wrote the file.
        pretrained: the config of what was fine-tuned.

    Raises:
        ConfigurationError: nobody states the order, or what is stated contradicts itself or the classifier.
    """
    if named is not None:
        return _checked([name.strip() for name in named], "--labels", count)
    statements = [(own or {}, "config.json")]
    statements += [(section, "the checkpoint's hyper-parameters") for section in _sections(surroundings)]
    for config, where in statements:
        if stated := stated_labels(config, where, count):
            return _checked(stated.names, stated.origin, count)
    inherited = stated_labels(pretrained, "the config of --pretrained", count) if own is None else None
    if inherited and len(inherited.names) != count:
        inherited = None  # of another head, which fine-tuning replaced
    if lightning and count == len(TUTORIAL_LABELS):
        if inherited and inherited.names != TUTORIAL_LABELS:
            raise ConfigurationError(
                f"ratsnlp's label order is {','.join(TUTORIAL_LABELS)}, but {inherited.origin} states "
                f"{','.join(inherited.names)}: name the right one with --labels"
            )
        return Labels(TUTORIAL_LABELS, "the tutorial's order, as ratsnlp numbers them")
    if inherited:
        return _checked(inherited.names, inherited.origin, count)
    raise ConfigurationError(
        f"the checkpoint doesn't state what its {count} outputs stand for: name the labels in the "
        "order of training, such as --labels entailment,neutral,contradiction"
    )


def stated_labels(config: Mapping[str, Any], where: str, count: int) -> Labels | None:
    """The labels that a config states in `id2label` or `label2id`, as transformers would understand them.

    Where only one of the two is for `count` outputs, the other was left over by what was fine-tuned.

    Raises:
        ConfigurationError: they can't be understood, or contradict each other.
    """
    by_id = _by_id(config.get("id2label"), f"id2label in {where}", inverted=False)
    by_label = _by_id(config.get("label2id"), f"label2id in {where}", inverted=True)
    if by_id and by_label and (len(by_id) == count) != (len(by_label) == count):
        by_id, by_label = (by_id, None) if len(by_id) == count else (None, by_label)
    if by_id and by_label and by_id != by_label:
        raise ConfigurationError(
            f"id2label and label2id in {where} contradict each other ({','.join(by_id)} and "
            f"{','.join(by_label)}): name the right order with --labels"
        )
    if by_id:
        return Labels(by_id, f"id2label in {where}")
    return Labels(by_label, f"label2id in {where}") if by_label else None


def _by_id(stated: Any, where: str, inverted: bool) -> tuple[str, ...] | None:
    """Names in the order of their ids; None where nothing is stated, or transformers' placeholders are."""
    if isinstance(stated, list) and not inverted:
        stated = dict(enumerate(stated))
    if not isinstance(stated, Mapping) or not stated:
        return None
    pairs = [(key, name) for name, key in stated.items()] if inverted else list(stated.items())
    numbers = [int(key) if re.fullmatch(r"\d+", str(key)) else -1 for key, _ in pairs]
    named = all(isinstance(name, str | int) for _, name in pairs)
    if sorted(numbers) != list(range(len(pairs))) or not named:
        raise ConfigurationError(
            f"{where} doesn't number labels from 0, each once: name them in order with --labels"
        )
    found = tuple(str(name).strip() for _, (_, name) in sorted(zip(numbers, pairs, strict=True)))
    placeholders = [name == f"LABEL_{index}" for index, name in enumerate(found)]
    if all(placeholders):
        return None
    if any(placeholders):
        raise ConfigurationError(f"{where} states only some labels: name all of them in order with --labels")
    return found


def _checked(names: Sequence[str], origin: str, count: int) -> Labels:
    if len(names) != count:
        raise ConfigurationError(
            f"the classifier has {count} outputs, but {len(names)} labels are named by {origin}: "
            f"{','.join(names)[:80]}; state all of them in order with --labels"
        )
    if len(set(names)) < count or not all(names):
        raise ConfigurationError(f"labels must be different and not empty: {','.join(names)[:80]} ({origin})")
    return Labels(tuple(names), origin)


def _sections(content: Any, depth: int = 4) -> Iterator[Mapping[str, Any]]:
    """Every mapping in a checkpoint's file that may state labels, but for the weights."""
    if not isinstance(content, Mapping) or depth < 0:
        return
    if "id2label" in content or "label2id" in content:
        yield content
    for key, value in content.items():
        if key not in {"state_dict", "optimizer_states"}:
            yield from _sections(value, depth - 1)
    if isinstance(content, Inert):
        yield from _sections(content.state, depth - 1)
