"""Fine-tuning an encoder on labelled pairs, or distilling a classifier into one with fewer layers."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, set_seed

from handler.encoding import PairEncoder
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.model.classifier import (
    best_temperature,
    divide_logits,
    keep_layers,
    label_names,
    load_classifier,
    predict,
)
from scripts.model.trainer import FIRST, Schedule, make_trainer
from scripts.model.training_data import Examples, Split, labels_of, read_split, write_pairs
from scripts.pairs.evaluation import Evaluation, evaluate
from scripts.pairs.text_file import DataError

SMOOTHING = 0.05
"""Share of a label's probability that is spread over all labels, which keeps a model from overconfidence."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a training ends with."""

    data: tuple[str, ...]
    """Files of pairs; held-out and test pairs come from the first. One named twice counts twice."""
    pretrained: str | None = None
    """Folder or Hugging Face name of the encoder that is fine-tuned; None where there is a teacher."""
    teacher: str | None = None
    """Folder of a classifier whose probabilities are learnt, by a student that starts from its layers."""
    layers: int | None = None
    """Layers of the student; None for as many as the teacher's."""
    max_seq_length: int = 128
    held_out: int | None = None
    """Pairs to choose the best model on; None for a tenth of the first file, 1,500 at most."""
    test: int = 0
    """Pairs set aside for a measurement that comes later."""
    quick: bool = False
    """Whether to learn from a few hundred pairs only, as a test."""
    schedule: Schedule = field(default_factory=Schedule)


def train(recipe: Recipe, output: Path) -> dict[str, Any] | None:
    """Train, or go on with what a killed run left in `output`; write the best model and its figures there.

    Returns:
        The figures; None in every process but the first where several train together.

    Raises:
        DataError: the data can't be read, or holds too little.
        ConfigurationError: the model can't be read, or `output` holds another run.
    """
    split = read_split([Path(file) for file in recipe.data], recipe.held_out, recipe.test)
    if recipe.quick:
        split = Split(split.training[:400], split.held_out[:100], split.test[:100])
    if not split.held_out:
        raise DataError("no pair is held out: there must be some to choose the best model on")
    if FIRST:
        _claim(recipe, split, output)
    set_seed(recipe.schedule.seed)
    given = None if recipe.teacher else labels_of(split.training)
    model, tokenizer = load_classifier(recipe.teacher or recipe.pretrained or "", given)
    labels = label_names(model)
    encoder = PairEncoder(tokenizer.backend_tokenizer, recipe.max_seq_length)
    taught = recipe.teacher is not None
    training = Examples(split.training, encoder, labels, SMOOTHING, taught)
    held_out = Examples(split.held_out, encoder, labels, SMOOTHING, taught)
    if taught:
        _teach(model, training, held_out, output / "teacher.npz")
        keep_layers(model, recipe.layers or model.config.num_hidden_layers)
    began = time.monotonic()
    trainer = make_trainer(model, training, held_out, recipe.schedule, output / "states")
    trainer.train(resume_from_checkpoint=_last_state(output))
    if not FIRST:
        return None
    temperature = best_temperature(predict(model, held_out), held_out.targets)
    divide_logits(model, temperature)
    figures = {
        "held_out": asdict(_evaluation(model, held_out, output.name)),
        "temperature": temperature,
        "training_pairs": len(training),
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "seconds_since_start_or_resumption": round(time.monotonic() - began),
        "machine": machine(),
        "recipe": asdict(recipe),
    }
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    _write_json(output / "figures.json", figures)
    shutil.rmtree(output / "states", ignore_errors=True)
    return figures


def machine() -> str:
    """What this ran on, in words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return f"{os.cpu_count()} cores, {name}, torch {torch.__version__}"


def _claim(recipe: Recipe, split: Split, output: Path) -> None:
    """Write the recipe and the pairs set aside, or check that they are those of the run to go on with."""
    stated = json.loads(json.dumps(asdict(recipe)))
    file = output / "recipe.json"
    if (output / "figures.json").exists():
        raise ConfigurationError(f"{output} holds a finished model; choose another folder")
    if file.is_file() and json.loads(file.read_text(encoding="utf-8")) != stated:
        raise ConfigurationError(f"{output} holds a run of another recipe; choose another folder or empty it")
    output.mkdir(parents=True, exist_ok=True)
    write_pairs(split.held_out, output / "held_out.jsonl")
    if split.test:
        write_pairs(split.test, output / "test.jsonl")
    _write_json(file, stated)


def _teach(teacher: PreTrainedModel, training: Examples, held_out: Examples, file: Path) -> None:
    """Give pairs the teacher's probabilities, computed once; held-out pairs keep the labels they have."""
    if not file.is_file():
        print(f"asking the teacher about {len(training) + len(held_out)} pairs", flush=True)
        part = file.with_suffix(f".{os.getpid()}.npz")  # several processes may be here
        np.savez(part, training=predict(teacher, training), held_out=predict(teacher, held_out))
        part.replace(file)
    answers = np.load(file)
    training.set_targets(answers["training"].tolist())
    held_out.set_targets(answers["held_out"].tolist(), only_unlabelled=True)


def _last_state(output: Path) -> str | None:
    """The newest state that was written to its end: `trainer_state.json` is the last file of one."""
    found = [file.parent for file in output.glob("states/checkpoint-*/trainer_state.json")]
    return str(max(found, key=lambda folder: int(folder.name.split("-")[1]))) if found else None


def _evaluation(model: PreTrainedModel, held_out: Examples, name: str) -> Evaluation:
    """How the model does on held-out pairs; one without a label counts as the teacher judged it."""
    labels = label_names(model)
    answers = iter(predict(model, held_out))

    def ask(pairs: Sequence[SentencePair]) -> NDArray[np.float64]:
        return np.array([next(answers) for _ in pairs])

    return evaluate(name, labels, ask, held_out.labelled_by_target(labels))


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
