"""Train the small model that ships with the project, from random weights and public Korean data.

It learns from the pairs of KLUE-NLI that aren't held out, from translated pairs of XNLI, and from made-up
pairs of everyday sentences. What is left is the running average of its weights, which does better than the
last of them.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import platform
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor
from tqdm import tqdm
from transformers import BertForSequenceClassification

from handler.encoding import EncodedPair, PairEncoder
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.command_line.arguments import argument_parser, run
from scripts.demo.demo_data import (
    LABELS,
    SOURCES,
    Corpora,
    build_vocabulary,
    make_tokenizer,
    neighbour_embeddings,
    read_corpora,
)
from scripts.demo.demo_model import (
    MAX_SEQ_LENGTH,
    Recipe,
    Score,
    batches,
    collate,
    model_config,
    new_model,
    predict,
)
from scripts.demo.demo_pairs import Pair, edited_pairs, everyday_pairs

EVERYDAY_TEST = Path(__file__).parents[1] / "tests" / "everyday_pairs.jsonl"
"""Pairs that test the model that ships; no sentence of theirs is trained on."""


@dataclass(frozen=True, slots=True)
class Material:
    """All that the training needs, the same in every run."""

    recipe: Recipe
    vocabulary: list[str]
    embeddings: Tensor
    pairs: list[EncodedPair]
    labels: Tensor
    held_out: list[EncodedPair]
    held_out_labels: Tensor


def prepare(data: Path, recipe: Recipe, quick: bool) -> Material:
    """Read the data, make up pairs, and build the vocabulary and its first embeddings."""
    print("reading the data and building the vocabulary (half a minute)", flush=True)
    corpora = read_corpora(data, recipe.held_out)
    if quick:
        corpora = corpora.shortened(160)
    if not corpora.train or not corpora.held_out or not corpora.everyday:
        raise ConfigurationError(f"{data} holds too little to train on")
    texts = corpora.sentences()
    vocabulary = build_vocabulary(texts, recipe.vocabulary)
    tokenizer = make_tokenizer(vocabulary)
    embeddings = neighbour_embeddings(tokenizer, texts, recipe.width)
    encoder = PairEncoder(tokenizer, MAX_SEQ_LENGTH)

    def encode(pairs: Sequence[Pair]) -> list[EncodedPair]:
        return encoder.encode([SentencePair(premise, hypothesis) for premise, hypothesis, _ in pairs])

    pairs = corpora.train + corpora.translated + make_up(corpora, recipe)
    return Material(
        recipe,
        vocabulary,
        embeddings,
        encode(pairs),
        torch.tensor([label for _, _, label in pairs]),
        encode(corpora.held_out),
        torch.tensor([label for _, _, label in corpora.held_out]),
    )


def make_up(corpora: Corpora, recipe: Recipe) -> list[Pair]:
    """Everyday pairs from the grammar and edits of real sentences, none of them in the everyday test."""
    rng = random.Random(7)
    sentences = corpora.everyday + [text for pair in corpora.train for text in pair[:2]]
    sentences = [text for text in sentences if 8 < len(text) < 60]
    pairs = everyday_pairs(rng, recipe.everyday) + edited_pairs(rng, sentences, recipe.edited)
    with EVERYDAY_TEST.open(encoding="utf-8") as lines:
        tested = {row[key].rstrip(".") for row in map(json.loads, lines) for key in ("premise", "hypothesis")}
    return [pair for pair in pairs if tested.isdisjoint(text.rstrip(".") for text in pair[:2])]


def train(material: Material, folder: Path) -> dict[str, Any]:
    """Train the model; return the average of its weights, and how long it took.

    After each epoch all state is saved, so that a run that was killed goes on from there.
    """
    recipe, pairs = material.recipe, material.pairs
    model = new_model(recipe, material.embeddings)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    state: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "average": copy.deepcopy(model.state_dict())}
    saved = folder / "state.pt"
    if saved.is_file():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        print(f"going on after epoch {state['epoch']} of {recipe.epochs}", flush=True)
    average = state["average"]
    certain = functional.one_hot(material.labels, len(LABELS)).float()
    targets = certain * (1 - recipe.smoothing) + recipe.smoothing / len(LABELS)
    per_epoch = math.ceil(len(pairs) / recipe.batch)
    total = recipe.epochs * per_epoch
    for epoch in range(state["epoch"], recipe.epochs):
        began = time.perf_counter()
        torch.manual_seed(1000 * recipe.seed + epoch)
        order = batches(pairs, recipe.batch, random.Random(1000 * recipe.seed + epoch))
        model.train()
        losses = 0.0
        bar = tqdm(order, f"epoch {epoch + 1} of {recipe.epochs}", per_epoch, leave=False, disable=None)
        for step, batch in enumerate(bar, epoch * per_epoch):
            warm, cool = (step + 1) / (0.06 * total), (total - step) / (0.94 * total)
            optimizer.param_groups[0]["lr"] = recipe.rate * min(warm, max(0.02, cool))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(**collate([pairs[index] for index in batch])).logits
            loss = functional.cross_entropy(logits.float(), targets[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses += loss.item()
            keep = recipe.average if step > 0.2 * total else 0.0
            for key, value in model.state_dict().items():
                average[key].lerp_(value, 1 - keep)
        state = {
            "epoch": epoch + 1,
            "seconds": state["seconds"] + time.perf_counter() - began,
            "average": average,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        write(saved, state)
        score = measure(average, material)
        print(
            f"epoch {epoch + 1} of {recipe.epochs}: training loss {losses / per_epoch:.3f}, held out "
            f"{score.accuracy:.2%}, val_loss {score.loss:.3f}, {state['seconds']:.0f} s",
            flush=True,
        )
    return state


def measure(weights: dict[str, Tensor], material: Material) -> Score:
    """How a model with these weights does on the held-out pairs."""
    model = BertForSequenceClassification(model_config(material.recipe, len(material.vocabulary)))
    model.load_state_dict(weights)
    return Score.of(predict(model, material.held_out, "held out"), material.held_out_labels)


def write(path: Path, content: dict[str, Any]) -> None:
    """Save all or nothing, so that a killed run leaves no half file."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)


def finish(trained: dict[str, Any], material: Material, folder: Path) -> None:
    """Write a Lightning checkpoint, the pretrained folder it belongs to, and how the model does."""
    recipe = material.recipe
    config = model_config(recipe, len(material.vocabulary))
    score = measure(trained["average"], material)
    pretrained = folder / "pretrained"
    pretrained.mkdir(exist_ok=True)
    (pretrained / "config.json").write_text(config.to_json_string(), encoding="utf-8")
    (pretrained / "vocab.txt").write_text("\n".join(material.vocabulary) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": False}
    settings["model_max_length"] = MAX_SEQ_LENGTH
    (pretrained / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    file = folder / f"epoch={recipe.epochs - 1}-val_loss={score.loss:.2f}.ckpt"
    steps = recipe.epochs * math.ceil(len(material.pairs) / recipe.batch)
    weights = {f"model.{key}": value for key, value in trained["average"].items()}
    write(file, {"epoch": recipe.epochs - 1, "global_step": steps, "state_dict": weights})
    recall = {
        label: score.confusion[index][index] / max(1, sum(score.confusion[index]))
        for label, index in LABELS.items()
    }
    report = {
        "held_out": asdict(score),
        "recall": recall,
        "seconds": round(trained["seconds"]),
        "machine": machine(),
        "recipe": asdict(recipe),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"held out: {score.accuracy:.2%} of {len(material.held_out)} pairs")
    for label, share in recall.items():
        print(f"  {label:13} {share:.1%}")
    print(f"trained for {trained['seconds'] / 60:.1f} minutes on {machine()}")
    print(f"wrote {file}\nnext: python scripts/convert_checkpoint.py --checkpoint '{file}' "
          f"--pretrained {pretrained} --output checkpoints/demo --force")  # fmt: skip


def machine() -> str:
    """What this ran on, in words."""
    model = platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        named = [line for line in cpu_info.read_text(encoding="utf-8").splitlines() if "model name" in line]
        model = named[0].split(":")[1].strip() if named else model
    return f"{torch.get_num_threads()} of {os.cpu_count()} cores, {model}, torch {torch.__version__}"


def train_demo(data: Path, output: Path, quick: bool) -> None:
    """Train, or go on with what a killed run left in `output`, and write the checkpoint there.

    Raises:
        ConfigurationError: the data isn't there, or `output` can't be written or holds a run of another
            recipe.
    """
    recipe = Recipe.quick() if quick else Recipe()
    stated = json.dumps(asdict(recipe), indent=2)
    recipe_file = output / "recipe.json"
    if recipe_file.is_file() and recipe_file.read_text(encoding="utf-8") != stated:
        raise ConfigurationError(f"{output} holds a run of another recipe; choose another folder or empty it")
    material = prepare(data, recipe, quick)
    try:
        output.mkdir(parents=True, exist_ok=True)
        recipe_file.write_text(stated, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{output} can't be written: {error.strerror}") from None
    finish(train(material, output), material, output)


def main() -> int:
    """Read the arguments and train."""
    parser = argument_parser(
        f"{__doc__}\n{SOURCES}\n\nA run that was stopped goes on from its last epoch when started anew.",
        "python scripts/train_demo.py --data ../shared/data --output build/demo",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the files named above")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for the checkpoint and what a killed run leaves"
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny model, slice of the data: a test in seconds"
    )
    parser.add_argument("--threads", type=_positive, default=1, help="of the processor (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train_demo(arguments.data, arguments.output, arguments.quick)
    return 0


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(run(main))
