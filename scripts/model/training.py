"""Fine-tuning an encoder on labelled pairs, or distilling a classifier into fewer layers, on transformers' Trainer."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EarlyStoppingCallback,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from handler.encoding import PairEncoder
from handler.errors import ConfigurationError
from handler.request import SentencePair
from handler.torch_model import has_token_types
from scripts.model.training_data import (
    Collator,
    Examples,
    LengthGrouped,
    Split,
    labels_of,
    read_split,
    write_pairs,
)
from scripts.pairs.evaluation import Evaluation, evaluate


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a training ends with."""

    data: tuple[str, ...]
    """Files of pairs; held-out and test pairs come from the first."""
    pretrained: str | None = None
    """Folder or Hugging Face name of the encoder that is fine-tuned; None where there is a teacher."""
    teacher: str | None = None
    """Folder of a classifier whose probabilities are learnt, by a student that starts from its layers."""
    layers: int | None = None
    """Layers of the student; None for as many as the teacher's."""
    max_seq_length: int = 128
    epochs: float = 3
    learning_rate: float = 8e-5
    batch: int = 32
    smoothing: float = 0.05
    held_out: int = 1500
    test: int = 0
    evaluations: int = 4
    """How often an epoch is interrupted to measure on held-out pairs and to save a state to resume from."""
    patience: int = 6
    """Measurements without a better one after which training ends early."""
    seed: int = 0
    quick: bool = False
    """Whether to learn from a few hundred pairs only, as a test."""


def train(recipe: Recipe, output: Path) -> dict[str, Any] | None:
    """Train, or go on with what a killed run left in `output`; write the best model and its figures there.

    Raises:
        ConfigurationError: data or model can't be read, `output` can't be written, or holds another run.
    """
    split = read_split([Path(file) for file in recipe.data], recipe.held_out, recipe.test)
    if recipe.quick:
        split = Split(split.training[:400], split.held_out[:100], split.test[:100])
    if not split.held_out:
        raise ConfigurationError("no pair is held out: there must be some to choose the best model on")
    first = int(os.environ.get("RANK", 0)) == 0
    if first:
        _claim(recipe, split, output)
    _quiet()
    set_seed(recipe.seed)
    source = recipe.teacher or recipe.pretrained or ""
    model, tokenizer = load_classifier(source, None if recipe.teacher else labels_of(split.training))
    labels = tuple(model.config.id2label.values())
    encoder = PairEncoder(tokenizer.backend_tokenizer, recipe.max_seq_length)
    training = Examples(split.training, encoder, labels, recipe.smoothing)
    held_out = Examples(split.held_out, encoder, labels, recipe.smoothing)
    if recipe.teacher:
        _teach(model, training, output / "teacher.npy", recipe)
        held_out.set_targets(predict(model, held_out), only_unlabelled=True)
        keep_layers(model, recipe.layers or model.config.num_hidden_layers)
    began = time.monotonic()
    trainer = _trainer(model, training, held_out, recipe, output)
    trainer.train(resume_from_checkpoint=_last_state(output))
    if not first:
        return None
    figures = {
        "held_out": asdict(_evaluation(model, held_out, output.name)) if split.held_out[0].label else None,
        "training_pairs": len(training),
        "held_out_pairs": len(held_out),
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "curve": [entry for entry in trainer.state.log_history if "eval_accuracy" in entry],
        "seconds_since_start_or_resumption": round(time.monotonic() - began),
        "machine": machine(),
        "recipe": asdict(recipe),
    }
    model.to(torch.float32).save_pretrained(output)
    tokenizer.save_pretrained(output)
    _write_json(output / "figures.json", figures)
    shutil.rmtree(output / "states", ignore_errors=True)
    return figures


def load_classifier(source: str, labels: Sequence[str] | None) -> tuple[PreTrainedModel, Any]:
    """A model with its tokenizer, without dropout: an encoder with a new head for `labels`, or a classifier.

    Raises:
        ConfigurationError: there is no model, or no fast tokenizer.
    """
    stated: dict[str, Any] = {}
    if labels:
        stated["id2label"] = dict(enumerate(labels))
        stated["label2id"] = {label: index for index, label in enumerate(labels)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            source, dtype=torch.float32, **stated
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigurationError(f"no model to train at {source!r}: {reason}") from None
    if not tokenizer.is_fast:
        raise ConfigurationError(f"the tokenizer at {source!r} has no fast form, which serving needs")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            # Its random numbers take as long on a CPU as a good part of a layer.
            module.p = 0.0
    for name, value in model.config.to_dict().items():
        if "dropout" in name and isinstance(value, float):
            setattr(model.config, name, 0.0)
    return model, tokenizer


def keep_layers(model: PreTrainedModel, count: int) -> None:
    """Leave `count` of a model's layers, spread evenly from the first to the last.

    Raises:
        ConfigurationError: the model has fewer, or keeps its layers where BERT doesn't.
    """
    encoder = getattr(model.base_model, "encoder", None)
    layers = getattr(encoder, "layer", None)
    if encoder is None or not isinstance(layers, nn.ModuleList):
        raise ConfigurationError(f"{type(model).__name__} has no encoder.layer to take layers from")
    if not 1 <= count <= len(layers):
        raise ConfigurationError(f"the teacher has {len(layers)} layers; a student can't have {count}")
    chosen = np.linspace(0, len(layers) - 1, count).round().astype(int) if count > 1 else [0]
    encoder.layer = nn.ModuleList(layers[int(index)] for index in chosen)
    model.config.num_hidden_layers = count


@torch.inference_mode()
def predict(model: PreTrainedModel, examples: Examples, batch: int = 64) -> NDArray[np.float64]:
    """The model's probabilities for each example, in the precision that it is trained in."""
    model.eval()
    collate = _collator(model)
    found = []
    device = model.device
    for start in range(0, len(examples), batch):
        rows = [examples[index] for index in range(start, min(start + batch, len(examples)))]
        inputs = {name: value.to(device) for name, value in collate(rows).items() if name != "labels"}
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_faster()):
            logits = model(**inputs).logits
        found.append(logits.double().softmax(-1).cpu().numpy())
    return np.concatenate(found)


def bfloat16_is_faster() -> bool:
    """Whether this machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def machine() -> str:
    """What this ran on, in words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return f"{torch.get_num_threads()} of {os.cpu_count()} cores, {name}, torch {torch.__version__}"


class PairTrainer(Trainer):
    """transformers' Trainer, with batches that come back in the same order after a resumption."""

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGrouped:
        lengths = (train_dataset or self.train_dataset).lengths
        return LengthGrouped(lengths, self.args.train_batch_size, self.args.seed)


class Progress(TrainerCallback):
    """Prints a line with loss and time left, in a terminal and in a log alike."""

    def __init__(self) -> None:
        self._began = 0.0
        self._first = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note where this process begins."""
        self._began, self._first = time.monotonic(), state.global_step
        if self._first and state.is_world_process_zero:
            print(f"going on after step {self._first} of {state.max_steps}", flush=True)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Print what the Trainer logs."""
        logs = kwargs.get("logs") or {}
        place = f"step {state.global_step} of {state.max_steps}, epoch {state.epoch or 0:.2f}"
        done = max(1, state.global_step - self._first)
        left = (time.monotonic() - self._began) / done * (state.max_steps - state.global_step)
        if not state.is_world_process_zero:
            return
        if "loss" in logs:
            print(f"{place}: loss {logs['loss']:.3f}, {left / 60:.1f} minutes left", flush=True)
        elif "eval_accuracy" in logs:
            print(f"{place}: held out {logs['eval_accuracy']:.2%}, loss {logs['eval_loss']:.3f}", flush=True)


def _trainer(
    model: PreTrainedModel, training: Examples, held_out: Examples, recipe: Recipe, output: Path
) -> PairTrainer:
    per_epoch = -(-len(training) // recipe.batch)
    interval = max(1, per_epoch // recipe.evaluations)
    arguments = TrainingArguments(
        output_dir=str(output / "states"),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        warmup_steps=0.06,
        lr_scheduler_type="linear",
        weight_decay=0.01,
        per_device_train_batch_size=max(1, recipe.batch // int(os.environ.get("WORLD_SIZE", 1))),
        ddp_backend=None if torch.cuda.is_available() else "gloo",
        ddp_find_unused_parameters=False,
        average_tokens_across_devices=False,
        per_device_eval_batch_size=64,
        eval_strategy="steps",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        greater_is_better=True,
        logging_steps=max(1, interval // 10),
        bf16=bfloat16_is_faster(),
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
    )
    trainer = PairTrainer(
        model,
        arguments,
        data_collator=_collator(model),
        train_dataset=training,
        eval_dataset=held_out,
        compute_loss_func=_loss,
        compute_metrics=_metrics,
        callbacks=[EarlyStoppingCallback(recipe.patience), Progress()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _collator(model: PreTrainedModel) -> Collator:
    return Collator(int(model.config.pad_token_id or 0), has_token_types(model))


def _loss(outputs: Any, targets: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """Cross-entropy with the target probabilities."""
    return nn.functional.cross_entropy(outputs.logits.float(), targets)


def _metrics(prediction: Any) -> dict[str, float]:
    predicted, wanted = prediction.predictions.argmax(-1), prediction.label_ids.argmax(-1)
    return {"accuracy": float((predicted == wanted).mean())}


def _teach(teacher: PreTrainedModel, training: Examples, file: Path, recipe: Recipe) -> None:
    """Give each training pair the teacher's probabilities, computed once."""
    if not file.is_file():
        print(f"asking the teacher about {len(training)} pairs", flush=True)
        part = file.with_suffix(".part.npy")
        np.save(part, predict(teacher, training))
        part.replace(file)
    training.set_targets(np.load(file).tolist())


def _evaluation(model: PreTrainedModel, held_out: Examples, name: str) -> Evaluation:
    labels = tuple(model.config.id2label.values())
    answers = [dict(zip(labels, row, strict=True)) for row in predict(model, held_out).tolist()]
    given = iter(answers)

    def ask(pairs: Sequence[SentencePair]) -> list[dict[str, float]]:
        return [next(given) for _ in pairs]

    return evaluate(name, ask, held_out.rows)


def _claim(recipe: Recipe, split: Split, output: Path) -> None:
    """Write the recipe and the pairs set aside, or check that they are those of the run to go on with."""
    stated = json.loads(json.dumps(asdict(recipe)))
    file = output / "recipe.json"
    if (output / "figures.json").exists():
        raise ConfigurationError(f"{output} holds a finished model; choose another folder")
    if file.is_file() and json.loads(file.read_text(encoding="utf-8")) != stated:
        raise ConfigurationError(f"{output} holds a run of another recipe; choose another folder or empty it")
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_pairs(split.held_out, output / "held_out.jsonl")
        if split.test:
            write_pairs(split.test, output / "test.jsonl")
        _write_json(file, stated)
    except OSError as error:
        raise ConfigurationError(f"{output} can't be written: {error.strerror}") from None


def _last_state(output: Path) -> str | None:
    """The newest state that was written to its end: `trainer_state.json` is the last file of one."""
    found = [file.parent for file in output.glob("states/checkpoint-*/trainer_state.json")]
    return str(max(found, key=lambda folder: int(folder.name.split("-")[1]))) if found else None


def _quiet() -> None:
    """Leave out what transformers says of each load: that the head is new, and of weights by the hundred."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    set_verbosity_error()  # type: ignore[no-untyped-call]


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
