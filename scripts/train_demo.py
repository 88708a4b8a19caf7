"""Train the small model that ships with the project, from random weights and public Korean data.

Several teachers are trained on KLUE-NLI and on made-up everyday pairs, then one student on their agreement.
All have the same form, a BERT of three layers that serves fast on a CPU; what one has learnt better than
another the student learns from both.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
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
from scripts.command_line import argument_parser, run
from scripts.demo_data import (
    LABELS,
    SOURCES,
    Corpora,
    build_vocabulary,
    make_tokenizer,
    neighbour_embeddings,
    read_corpora,
    siblings,
)
from scripts.demo_model import (
    MAX_SEQ_LENGTH,
    Recipe,
    Score,
    batches,
    collate,
    model_config,
    new_model,
    one_hot,
    predict,
)
from scripts.demo_pairs import Pair, edited_pairs, everyday_pairs

EVERYDAY_TEST = Path(__file__).parents[1] / "tests" / "everyday_pairs.jsonl"
"""Pairs that test the model that ships; no sentence of theirs is trained on."""


@dataclass(slots=True)
class Material:
    """What every training shares."""

    recipe: Recipe
    vocabulary: list[str]
    embeddings: Tensor
    real: list[EncodedPair]
    made_up: list[EncodedPair]
    unlabelled: list[EncodedPair]
    held_out: list[EncodedPair]
    labels: dict[str, Tensor] = field(default_factory=dict)


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

    def encode(pairs: Sequence[Pair] | Sequence[tuple[str, str]]) -> list[EncodedPair]:
        return encoder.encode([SentencePair(pair[0], pair[1]) for pair in pairs])

    real, made_up = corpora.train + corpora.translated, make_up(corpora, recipe)
    unlabelled = siblings(corpora.train)
    random.Random(3).shuffle(unlabelled)
    groups = {"real": real, "made_up": made_up, "held_out": corpora.held_out}
    return Material(
        recipe,
        vocabulary,
        embeddings,
        encode(real),
        encode(made_up),
        encode(unlabelled[: recipe.siblings]),
        encode(corpora.held_out),
        {name: torch.tensor([label for _, _, label in pairs]) for name, pairs in groups.items()},
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


def train(
    name: str,
    model: BertForSequenceClassification,
    pairs: Sequence[EncodedPair],
    targets: Tensor,
    epochs: int,
    seed: int,
    material: Material,
    folder: Path,
) -> BertForSequenceClassification:
    """Train `model` towards `targets`, one row of probabilities a pair; return the average of its weights.

    After each epoch all state is saved, so that a run that was killed goes on from there.
    """
    recipe = material.recipe
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    average = {key: value.clone() for key, value in model.state_dict().items()}
    saved = folder / f"{name}.state.pt"
    first = 0
    seconds = 0.0
    if saved.is_file():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, first, seconds = state["average"], state["epoch"], state["seconds"]
    per_epoch = math.ceil(len(pairs) / recipe.batch)
    total = epochs * per_epoch
    for epoch in range(first, epochs):
        began = time.perf_counter()
        torch.manual_seed(1000 * seed + epoch)
        order = batches(pairs, recipe.batch, random.Random(1000 * seed + epoch))
        model.train()
        losses = 0.0
        bar = tqdm(order, f"{name}, epoch {epoch + 1} of {epochs}", per_epoch, leave=False, disable=None)
        for step, batch in enumerate(bar, epoch * per_epoch):
            warm, cool = (step + 1) / (0.06 * total), (total - step) / (0.94 * total)
            optimizer.param_groups[0]["lr"] = recipe.rate * min(warm, max(0.02, cool))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(**collate([pairs[index] for index in batch])).logits
            wanted = targets[batch] * (1 - recipe.smoothing) + recipe.smoothing / len(LABELS)
            loss = functional.cross_entropy(logits.float(), wanted)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses += loss.item()
            keep = recipe.average if step > 0.2 * total else 0.0
            for key, value in model.state_dict().items():
                average[key].lerp_(value, 1 - keep)
        seconds += time.perf_counter() - began
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
        write(saved, state | {"epoch": epoch + 1, "seconds": seconds})
        averaged = BertForSequenceClassification(model.config)
        averaged.load_state_dict(average)
        score = Score.of(predict(averaged, material.held_out, "held out"), material.labels["held_out"])
        print(
            f"{name}, epoch {epoch + 1} of {epochs}: training loss {losses / per_epoch:.3f}, held out "
            f"{score.accuracy:.2%}, val_loss {score.loss:.3f}, {seconds:.0f} s",
            flush=True,
        )
    model.load_state_dict(average)
    write(folder / f"{name}.pt", {"weights": average, "seconds": seconds})
    saved.unlink(missing_ok=True)
    return model


def write(path: Path, content: dict[str, Any]) -> None:
    """Save all or nothing, so that a killed run leaves no half file."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)


def train_teacher(number: int, material: Material, folder: Path) -> None:
    """Train one teacher on all labelled pairs."""
    recipe = material.recipe
    targets = one_hot(torch.cat((material.labels["real"], material.labels["made_up"])))
    model = new_model(recipe, material.embeddings, number, recipe.teachers[number - 1])
    pairs = material.real + material.made_up
    train(f"teacher-{number}", model, pairs, targets, recipe.teacher_epochs, number, material, folder)


def train_student(material: Material, folder: Path) -> None:
    """Train the student: it begins as the first teacher and learns from all of them."""
    recipe = material.recipe
    judged = material.real + material.unlabelled
    opinions = torch.zeros(len(judged), len(LABELS))
    held_out = torch.zeros(len(material.held_out), len(LABELS))
    model = BertForSequenceClassification(model_config(recipe, len(material.vocabulary)))
    for stage in recipe.stages()[-2::-1]:
        path = folder / f"{stage}.pt"
        if not path.is_file():
            raise ConfigurationError(f"the student needs {path}, which isn't there yet")
        model.load_state_dict(torch.load(path, weights_only=True)["weights"])
        opinions += predict(model, judged, f"{stage} labels pairs", short_floats=True).log_softmax(1)
        held_out += predict(model, material.held_out, "held out").log_softmax(1)
    agreement = Score.of(held_out, material.labels["held_out"])
    print(f"the teachers together: held out {agreement.accuracy:.2%}", flush=True)
    opinions = (opinions / len(recipe.teachers)).softmax(1)
    real = len(material.real)
    by_people = one_hot(material.labels["real"])
    targets = torch.cat(
        (
            recipe.trust * opinions[:real] + (1 - recipe.trust) * by_people,
            opinions[real:],
            one_hot(material.labels["made_up"]),
        )
    )
    pairs = judged + material.made_up
    train("student", model, pairs, targets, recipe.student_epochs, 100, material, folder)


def finish(material: Material, folder: Path) -> None:
    """Write the student as a Lightning checkpoint, the folder it belongs to, and how it does."""
    recipe = material.recipe
    trained = {stage: torch.load(folder / f"{stage}.pt", weights_only=True) for stage in recipe.stages()}
    weights = trained["student"]["weights"]
    config = model_config(recipe, len(material.vocabulary))
    model = BertForSequenceClassification(config)
    model.load_state_dict(weights)
    score = Score.of(predict(model, material.held_out, "held out"), material.labels["held_out"])
    pretrained = folder / "pretrained"
    pretrained.mkdir(exist_ok=True)
    (pretrained / "config.json").write_text(config.to_json_string(), encoding="utf-8")
    (pretrained / "vocab.txt").write_text("\n".join(material.vocabulary) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": False}
    settings["model_max_length"] = MAX_SEQ_LENGTH
    (pretrained / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    epoch = recipe.student_epochs - 1
    file = folder / f"epoch={epoch}-val_loss={score.loss:.2f}.ckpt"
    pairs = len(material.real) + len(material.made_up) + len(material.unlabelled)
    steps = recipe.student_epochs * math.ceil(pairs / recipe.batch)
    state = {f"model.{key}": value for key, value in weights.items()}
    write(file, {"epoch": epoch, "global_step": steps, "state_dict": state})
    recall = {
        label: score.confusion[index][index] / max(1, sum(score.confusion[index]))
        for label, index in LABELS.items()
    }
    minutes = {stage: round(content["seconds"] / 60, 1) for stage, content in trained.items()}
    report = {
        "held_out": asdict(score),
        "recall": recall,
        "minutes": minutes,
        "machine": machine(),
        "recipe": asdict(recipe),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"held out: {score.accuracy:.2%} of {len(material.held_out)} pairs")
    for label, share in recall.items():
        print(f"  {label:13} {share:.1%}")
    print(f"trained for {sum(minutes.values()):.1f} minutes on {machine()}")
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


def train_demo(data: Path, output: Path, quick: bool, only: str | None) -> None:
    """Go through the stages that aren't finished yet; with `only`, through that one alone.

    Raises:
        ConfigurationError: the data isn't there, or `output` holds a run of another recipe.
    """
    recipe = Recipe.quick() if quick else Recipe()
    stated = json.dumps(asdict(recipe), indent=2)
    output.mkdir(parents=True, exist_ok=True)
    recipe_file = output / "recipe.json"
    if recipe_file.is_file() and recipe_file.read_text(encoding="utf-8") != stated:
        raise ConfigurationError(f"{output} holds a run of another recipe; choose another folder or empty it")
    material = prepare(data, recipe, quick)
    recipe_file.write_text(stated, encoding="utf-8")
    for number, stage in enumerate(recipe.stages(), 1):
        if only not in (None, stage):
            continue
        if (output / f"{stage}.pt").is_file():
            print(f"{stage} is trained already")
        elif stage == "student":
            train_student(material, output)
        else:
            train_teacher(number, material, output)
    if all((output / f"{stage}.pt").is_file() for stage in recipe.stages()):
        finish(material, output)


def main() -> int:
    """Read the arguments and train."""
    parser = argument_parser(
        f"{__doc__}\n{SOURCES}\n\nA run that was stopped goes on from its last epoch when started anew.",
        "python scripts/train_demo.py --data ../shared/data --output build/demo",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the files named above")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint and all stages")
    parser.add_argument(
        "--quick", action="store_true", help="tiny model, slice of the data: a test in seconds"
    )
    parser.add_argument(
        "--only",
        choices=Recipe().stages(),
        metavar="STAGE",
        help=f"this stage alone ({', '.join(Recipe().stages())}), to train teachers side by side",
    )
    parser.add_argument("--threads", type=_positive, default=1, help="of one process (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train_demo(arguments.data, arguments.output, arguments.quick, arguments.only)
    return 0


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(run(main))
