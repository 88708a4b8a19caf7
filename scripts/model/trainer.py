"""transformers' Trainer as pairs need it: batches of one length, target probabilities, progress in lines."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from scripts.model.classifier import bfloat16_is_faster
from scripts.model.training_data import Examples, LengthGrouped

PROCESSES = int(os.environ.get("WORLD_SIZE", 1))
"""Processes that train together; more than one where `torchrun` started them."""

FIRST = int(os.environ.get("RANK", 0)) == 0
"""Whether this is the one of them that writes and prints."""

BATCH = 32
"""Pairs that a model learns from in one step."""

EVALUATIONS = 4
"""How often an epoch is interrupted to measure on held-out pairs and to save a state to resume from."""

PATIENCE = 6
"""Measurements without a better one after which training ends early."""


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
    epochs: float = 3
    learning_rate: float = 8e-5
    """The highest rate, reached after 6 % of the steps; from there it falls to 0 in a straight line."""
    seed: int = 0
    held_out: int | None = None
    """Pairs to choose the best model on; None for a tenth of the first file, 1,500 at most."""
    test: int = 0
    """Pairs set aside for a measurement that comes later."""
    quick: bool = False
    """Whether to learn from a few hundred pairs only, as a test."""


class PairTrainer(Trainer):
    """transformers' Trainer, which after a resumption takes the steps that it would have taken without."""

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGrouped:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        return LengthGrouped(dataset.lengths, self.args.train_batch_size, self.args.seed)

    def _run_epoch(self, *given: Any, **named: Any) -> None:
        # Resumed from the state of an early end, it ends at once; transformers would take a step first.
        if not self.control.should_training_stop:
            super()._run_epoch(*given, **named)  # type: ignore[no-untyped-call]

    def logits(self, examples: Examples) -> Tensor:
        """What the model answers to each example, in the precision that it is trained in."""
        return torch.from_numpy(self.predict(examples).predictions).double()


class Patience(EarlyStoppingCallback):
    """Ends a training that no longer gets better, at the same step whether or not it was killed before."""

    def on_train_begin(self, *given: Any, **named: Any) -> None:
        """Count the measurements since the best one: transformers' own callback starts from 0 each time."""
        super().on_train_begin(*given, **named)  # type: ignore[no-untyped-call]
        state: TrainerState = given[1]
        control: TrainerControl = given[2]
        best = state.best_global_step or 0
        self.early_stopping_patience_counter = sum(
            "eval_accuracy" in entry and entry["step"] > best for entry in state.log_history
        )
        control.should_training_stop = self.early_stopping_patience_counter >= self.early_stopping_patience


class Progress(TrainerCallback):
    """Prints a line with loss and time left, in a terminal and in a log alike."""

    def __init__(self, measured: str) -> None:
        """Take what the measurements on held-out pairs are called."""
        self._measured = measured
        self._began = 0.0
        self._first = 0

    def on_train_begin(self, *given: Any, **_: Any) -> None:
        """Note where this process begins."""
        state: TrainerState = given[1]
        self._began, self._first = time.monotonic(), state.global_step
        if self._first and FIRST:
            print(f"going on after step {self._first} of {state.max_steps}", flush=True)

    def on_log(self, *given: Any, **named: Any) -> None:
        """Print what the Trainer logs."""
        state: TrainerState = given[1]
        logs = named["logs"] if FIRST else {}
        place = f"step {state.global_step} of {state.max_steps}, epoch {state.epoch or 0:.2f}"
        if "loss" in logs:
            per_step = (time.monotonic() - self._began) / max(1, state.global_step - self._first)
            minutes = per_step * (state.max_steps - state.global_step) / 60
            print(f"{place}: loss {logs['loss']:.3f}, {minutes:.1f} minutes left", flush=True)
        elif "eval_accuracy" in logs:
            figure = f"{self._measured} {logs['eval_accuracy']:.2%}, loss {logs['eval_loss']:.3f}"
            print(f"{place}: {figure}", flush=True)


def make_trainer(
    model: PreTrainedModel,
    tokenizer: Any,
    training: Examples,
    held_out: Examples,
    recipe: Recipe,
    states: Path,
) -> PairTrainer:
    """A Trainer that saves what it can resume from in `states`, and leaves the best weights in `model`."""
    interval = max(1, -(-len(training) // BATCH) // EVALUATIONS)
    arguments = TrainingArguments(
        output_dir=str(states),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        warmup_steps=0.06,
        weight_decay=0.01,
        per_device_train_batch_size=max(1, BATCH // PROCESSES),
        per_device_eval_batch_size=64,
        ddp_backend="gloo" if PROCESSES > 1 and not torch.cuda.is_available() else None,
        ddp_find_unused_parameters=False,
        average_tokens_across_devices=False,
        eval_strategy="steps",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
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
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=training,
        eval_dataset=held_out,
        compute_loss_func=_loss,
        compute_metrics=_metrics,
        callbacks=[
            Patience(PATIENCE),
            Progress("held out" if held_out.labelled.any() else "agreement with the teacher"),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _loss(outputs: Any, targets: Tensor, num_items_in_batch: Any = None) -> Tensor:  # noqa: ARG001
    """Cross-entropy with the target probabilities."""
    return nn.functional.cross_entropy(outputs.logits.float(), targets)


def _metrics(prediction: Any) -> dict[str, float]:
    predicted, wanted = prediction.predictions.argmax(-1), prediction.label_ids.argmax(-1)
    return {"accuracy": float((predicted == wanted).mean())}
