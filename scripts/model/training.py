"""Fine-tuning an encoder on labelled pairs, or distilling a classifier into one with fewer layers."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import set_seed

from handler.checkpoint import SECTION
from handler.errors import ConfigurationError
from handler.torch_model import input_names
from scripts.model.classifier import (
    best_temperature,
    divide_logits,
    keep_layers,
    last_matrix,
    load_classifier,
    spread_layers,
)
from scripts.model.trainer import FIRST, PairTrainer, Recipe, make_trainer
from scripts.model.training_data import Examples, Split, read_split, write_pairs
from scripts.model.training_labels import count_labels, labels_of
from scripts.pairs.evaluation import measure
from scripts.pairs.text_file import DataError

SMOOTHING = 0.05
"""Share of a label's probability that is spread over all labels, which keeps a model from overconfidence."""


def train(recipe: Recipe, output: Path) -> dict[str, Any] | None:
    """Train, or go on with what a killed run left in `output`; write the best model and its figures there.

    Returns:
        The figures; None in every process but the first where several train together.

    Raises:
        DataError: the data can't be read, or holds too little.
        ConfigurationError: the model can't be read or trained so, or `output` holds something else.
    """
    if FIRST:
        _check_output(recipe, output)
    split = read_split([Path(file) for file in recipe.data], recipe.held_out, recipe.test)
    if recipe.quick:
        split = Split(split.training[:400], split.held_out[:100], split.test[:100])
    if not any(row.gold or recipe.teacher for row in split.held_out):
        raise DataError("no pair is held out: there must be some to choose the best model on")
    set_seed(recipe.seed)
    given = None if recipe.teacher else labels_of(split.training)
    source = recipe.teacher or recipe.pretrained or ""
    model, tokenizer, encoder = load_classifier(source, given, recipe.max_seq_length)
    last_matrix(model)
    layers = spread_layers(model, recipe.layers) if recipe.layers else None
    labels = tuple(map(str, (model.config.id2label or {}).values()))
    counts = count_labels(split.training, labels)
    if FIRST:
        print(f"labels of {len(split.training):,} pairs to learn from: {counts}", flush=True)
    typed = "token_type_ids" in input_names(model)
    training, held_out = (
        Examples(rows, encoder, labels, SMOOTHING, typed, recipe.teacher is not None)
        for rows in (split.training, split.held_out)
    )
    states = output / "states"
    if FIRST:
        _claim(recipe, split, output)
    if recipe.teacher:
        teacher = make_trainer(model, tokenizer, training, held_out, recipe, states)
        _teach(teacher, training, held_out, output / "teacher.npz")
    if layers:
        keep_layers(model, layers)
    began = time.monotonic()
    trainer = make_trainer(model, tokenizer, training, held_out, recipe, states)
    trainer.train(resume_from_checkpoint=_last_state(states))
    logits = trainer.logits(held_out)
    if not FIRST:
        return None
    measured, temperature = _measure(output.name, labels, logits, held_out)
    divide_logits(model, temperature)
    figures = {
        **measured,
        "temperature": temperature,
        "training_pairs": len(training),
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "seconds_since_start_or_resumption": round(time.monotonic() - began),
        "machine": machine(),
        "recipe": asdict(recipe),
    }
    files = dict.fromkeys(Path(file).name for file in recipe.data)
    setattr(model.config, SECTION, {"training_data": ", ".join(files)})
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    _write_json(output / "figures.json", figures)
    shutil.rmtree(states, ignore_errors=True)
    return figures


def machine() -> str:
    """What this ran on, in words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return f"{os.cpu_count()} cores, {name}, torch {torch.__version__}"


def _check_output(recipe: Recipe, output: Path) -> None:
    """Refuse a folder that holds anything but a run of this recipe to go on with."""
    file = output / "recipe.json"
    if (output / "figures.json").exists():
        raise ConfigurationError(f"{output} holds a finished model; choose another folder")
    if file.is_file():
        if json.loads(file.read_text(encoding="utf-8")) != json.loads(json.dumps(asdict(recipe))):
            raise ConfigurationError(
                f"{output} holds a run of another recipe; choose another folder or empty it"
            )
    elif output.exists() and any(output.iterdir()):
        raise ConfigurationError(f"{output} holds other files and no recipe.json; choose another folder")


def _claim(recipe: Recipe, split: Split, output: Path) -> None:
    """Write the recipe, by which the folder is known again, and the pairs set aside."""
    output.mkdir(parents=True, exist_ok=True)
    _write_json(output / "recipe.json", asdict(recipe))
    write_pairs(split.held_out, output / "held_out.jsonl")
    if split.test:
        write_pairs(split.test, output / "test.jsonl")


def _measure(
    name: str, labels: tuple[str, ...], logits: Tensor, held_out: Examples
) -> tuple[dict[str, Any], float]:
    """The figures of held-out pairs with gold labels and the temperature that fits them.

    Where none has one, the teacher's probabilities are all there is. Its most probable labels would do for
    the figure but not for the temperature: a student agrees with them more often than either is right.
    """
    gold = held_out.labelled
    truth = held_out.targets.argmax(axis=1)
    if not gold.any():
        temperature = best_temperature(logits, torch.from_numpy(held_out.targets))
        agreement = {"pairs": len(held_out), "share": float((logits.argmax(1).numpy() == truth).mean())}
        return {"agreement_with_teacher": agreement}, temperature
    logits, truth = logits[torch.from_numpy(gold)], truth[gold]
    temperature = best_temperature(logits, torch.from_numpy(truth))
    probabilities = (logits / temperature).softmax(1).numpy()
    return {"held_out": asdict(measure(name, labels, probabilities, truth, int((~gold).sum())))}, temperature


def _teach(teacher: PairTrainer, training: Examples, held_out: Examples, file: Path) -> None:
    """Give pairs the teacher's probabilities, computed once; held-out pairs keep the labels they have."""
    if not file.is_file():
        print(f"asking the teacher about {len(training) + len(held_out)} pairs", flush=True)
        part = file.with_suffix(f".{os.getpid()}.npz")  # several processes may be here
        found = [teacher.logits(examples).softmax(1).numpy() for examples in (training, held_out)]
        np.savez(part, training=found[0], held_out=found[1])
        part.replace(file)
    answers = np.load(file)
    training.set_targets(answers["training"])
    held_out.set_targets(answers["held_out"], only_unlabelled=True)


def _last_state(states: Path) -> str | None:
    """The newest state that was written to its end: `trainer_state.json` is the last file of one."""
    found = [file.parent for file in states.glob("checkpoint-*/trainer_state.json")]
    return str(max(found, key=lambda folder: int(folder.name.split("-")[1]))) if found else None


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
