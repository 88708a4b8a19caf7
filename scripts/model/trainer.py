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
    EarlyStoppingCallback,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from scripts.model.classifier import bfloat16_is_faster, collator
from scripts.model.training_data import Examples, LengthGrouped

PROCESSES = int(os.environ.get("WORLD_SIZE", 1))
"""Processes that train together; more than one where `torchrun` started them."""

FIRST = int(os.environ.get("RANK", 0)) == 0
"""Whether this is the one of them that writes and prints."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a model learns."""

    epochs: float = 3
    learning_rate: float = 8e-5
    """The highest rate, reached after 6 % of the steps; from there it falls to 0 in a straight line."""
    batch: int = 32
    evaluations: int = 4
    """How often an epoch is interrupted to measure on held-out pairs and to save a state to resume from."""
    patience: int = 6
    """Measurements without a better one after which training ends early."""
    seed: int = 0


class PairTrainer(Trainer):
    """transformers' Trainer, with batches that come back in the same order after a resumption."""

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGrouped:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        return LengthGrouped(dataset.lengths, self.args.train_batch_size, self.args.seed)


class Progress(TrainerCallback):
    """Prints a line with loss and time left, in a terminal and in a log alike."""

    def __init__(self) -> None:
        self._began = 0.0
        self._first = 0

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002  # the Trainer passes all of them by name
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Note where this process begins."""
        self._began, self._first = time.monotonic(), state.global_step
        if self._first and FIRST:
            print(f"going on after step {self._first} of {state.max_steps}", flush=True)

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        """Print what the Trainer logs."""
        logs = kwargs.get("logs") or {}
        place = f"step {state.global_step} of {state.max_steps}, epoch {state.epoch or 0:.2f}"
        done = max(1, state.global_step - self._first)
        left = (time.monotonic() - self._began) / done * (state.max_steps - state.global_step)
        if not FIRST:
            return
        if "loss" in logs:
            print(f"{place}: loss {logs['loss']:.3f}, {left / 60:.1f} minutes left", flush=True)
        elif "eval_accuracy" in logs:
            print(f"{place}: held out {logs['eval_accuracy']:.2%}, loss {logs['eval_loss']:.3f}", flush=True)


def make_trainer(
    model: PreTrainedModel, training: Examples, held_out: Examples, schedule: Schedule, states: Path
) -> PairTrainer:
    """A Trainer that saves what it can resume from in `states`, and leaves the best weights in `model`."""
    per_epoch = -(-len(training) // schedule.batch)
    interval = max(1, per_epoch // schedule.evaluations)
    arguments = TrainingArguments(
        output_dir=str(states),
        num_train_epochs=schedule.epochs,
        learning_rate=schedule.learning_rate,
        warmup_steps=0.06,
        lr_scheduler_type="linear",
        weight_decay=0.01,
        per_device_train_batch_size=max(1, schedule.batch // PROCESSES),
        ddp_backend="gloo" if PROCESSES > 1 and not torch.cuda.is_available() else None,
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
        seed=schedule.seed,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
    )
    trainer = PairTrainer(
        model,
        arguments,
        data_collator=collator(model),
        train_dataset=training,
        eval_dataset=held_out,
        compute_loss_func=_loss,
        compute_metrics=_metrics,
        callbacks=[EarlyStoppingCallback(schedule.patience), Progress()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _loss(outputs: Any, targets: Tensor, num_items_in_batch: Any = None) -> Tensor:  # noqa: ARG001
    """Cross-entropy with the target probabilities."""
    return nn.functional.cross_entropy(outputs.logits.float(), targets)


def _metrics(prediction: Any) -> dict[str, float]:
    predicted, wanted = prediction.predictions.argmax(-1), prediction.label_ids.argmax(-1)
    return {"accuracy": float((predicted == wanted).mean())}
