"""A checkpoint as an OpenVINO graph in fp32, bf16 or int8, and the proof that int8 answers alike."""

from __future__ import annotations

import json
import os
import random
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import BertForSequenceClassification
from transformers.utils.logging import set_verbosity_error

from handler.batcher import ModelBatch
from handler.checkpoint import SECTION, Checkpoint, Precision
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import Engine, available_cores, load_engine, make_batcher
from handler.errors import ConfigurationError
from handler.openvino_model import GRAPH, reads_packed
from handler.torch_model import has_token_types, load_weights
from scripts.model.packed_bert import PackedBert
from scripts.pairs.labelled import LabelledPair, class_numbers, read_labelled_pairs

CALIBRATION_PAIRS = 300
"""Pairs at most from which int8 learns its ranges; more make it slower and not better."""

HELD_OUT_PAIRS = 2000
"""Pairs at most on which int8 is held against float32."""

FEWEST_PAIRS = 100
"""Different pairs that a calibration file must have at least; fewer say little about ranges or agreement."""

BATCH = 32
"""Pairs in one call of an engine."""


@dataclass(frozen=True)
class Gate:
    """How far int8 may be from float32."""

    max_accuracy_drop: float = 0.5
    """In percentage points."""
    min_agreement: float = 98.0
    """Percent of pairs with the same prediction."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What int8 is made and judged with."""

    pairs: Path
    """A file for `scripts/pairs/labelled.py`; part of it is kept back to measure on."""
    validation: Path | None = None
    """Such a file to measure on instead."""
    gate: Gate = Gate()
    forced: bool = False
    """Whether int8 is built even where it doesn't pass."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Float32 and int8 on the same pairs, which int8 wasn't calibrated on."""

    pairs: int
    agreement: float
    """Percent of pairs with the same prediction."""
    labelled: int
    """Pairs with a label that the model knows."""
    accuracy: tuple[float, float] | None
    """Percent that float32 and int8 get right of these; None without labels."""

    def to_text(self) -> str:
        """Two lines for people."""
        lines = [f"int8 agrees with fp32 on {self.agreement:.2f} % of {self.pairs} pairs"]
        if self.accuracy:
            before, after = self.accuracy
            lines.append(
                f"accuracy on {self.labelled} labelled pairs: fp32 {before:.2f} %, int8 {after:.2f} %"
                f" ({after - before:+.2f} points)"
            )
        else:
            lines.append("accuracy not measured: no pair has a label that the model knows")
        return "\n".join(lines)

    def fault(self, gate: Gate) -> str | None:
        """Why int8 doesn't pass, or None where it does."""
        faults = []
        if self.agreement < gate.min_agreement:
            faults.append(f"agrees with fp32 on {self.agreement:.2f} % (at least {gate.min_agreement:g} %)")
        if self.accuracy and self.accuracy[0] - self.accuracy[1] > gate.max_accuracy_drop:
            drop = self.accuracy[0] - self.accuracy[1]
            faults.append(f"loses {drop:.2f} points of accuracy (at most {gate.max_accuracy_drop:g})")
        return " and ".join(faults) or None


def write_model(
    checkpoint: Checkpoint,
    precision: Precision,
    folder: Path,
    calibration: Calibration | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> None:
    """Write what a worker loads: `config.json`, which records the precision, and the weights in it.

    Args:
        checkpoint: a converted one.
        precision: fp32, bf16 and int8 become a graph for OpenVINO; fp16 stays PyTorch's, for a GPU.
        folder: exists, and is empty.
        calibration: for int8, which needs it.
        report: is told how int8 compares with float32.

    Raises:
        ConfigurationError: int8 doesn't pass its gate, or can't be made.
    """
    config = json.loads((checkpoint.folder / "config.json").read_text(encoding="utf-8"))
    config[SECTION]["precision"] = precision
    shutil.copy(checkpoint.folder / "tokenizer.json", folder)
    if precision == "fp16":
        shutil.copy(checkpoint.folder / "model.safetensors", folder)
    elif precision == "int8":
        if calibration is None:
            raise ConfigurationError(
                "int8 learns from your own pairs: name a file of them with --calibration"
            )
        validation = read_labelled_pairs(calibration.validation) if calibration.validation else []
        learnt, held_out = split_pairs(read_labelled_pairs(calibration.pairs), validation)
        encoder = PairEncoder.from_folder(checkpoint.folder, checkpoint.max_seq_length)
        graph = export_graph(checkpoint)
        batcher = make_batcher(checkpoint, reads_packed(graph))
        # Each pair alone, with next to no padding, which would widen the ranges.
        encoded = encoder.encode([row.pair for row in learnt])
        graph = quantize(graph, (each for pair in encoded for each in batcher.batches([pair])))
        save_graph(graph, folder)
        comparison = compare(checkpoint, replace(checkpoint, folder=folder, precision=precision), held_out)
        report(comparison.to_text())
        fault = comparison.fault(calibration.gate)
        if fault and not calibration.forced:
            raise ConfigurationError(f"int8 is refused: it {fault}; --force-precision builds it all the same")
        config[SECTION]["comparison"] = asdict(comparison)
    else:
        save_graph(export_graph(checkpoint), folder)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def export_graph(checkpoint: Checkpoint) -> openvino.Model:
    """Trace a converted checkpoint into a graph for any number of pairs of any length, in float32.

    A BERT that tells premise and hypothesis apart becomes a graph for packed rows; other encoders read
    padded batches.

    Raises:
        ConfigurationError: the weights can't be loaded.
    """
    _keep_statistics_at_home()
    model = load_weights(checkpoint.folder)
    module: torch.nn.Module = model
    if isinstance(model, BertForSequenceClassification) and has_token_types(model):
        module = PackedBert(model).eval()
    packed = module is not model
    (example,) = make_batcher(checkpoint, packed).batches([EncodedPair((1,) * 16, (0,) * 16, False)])
    names = [name for name in example.inputs if name != "token_type_ids" or has_token_types(model)]
    set_verbosity_error()  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of each branch in transformers' code
        graph: openvino.Model = openvino.convert_model(
            module,
            example_input={name: torch.from_numpy(example.inputs[name]) for name in names},
        )
    for name, port in zip(names, graph.inputs, strict=True):
        port.get_tensor().set_names({name})
    return graph


def save_graph(graph: openvino.Model, folder: Path) -> None:
    """Write the graph and its weights as `model.xml` and `model.bin`, the same bytes for the same graph."""
    graph.set_friendly_name("classifier")
    for index, node in enumerate(graph.get_ordered_ops()):
        # Names left open are written with numbers that grow for as long as the process lives.
        node.set_friendly_name(f"{node.get_type_name()}_{index}")
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)


def quantize(graph: openvino.Model, batches: Iterable[ModelBatch]) -> openvino.Model:
    """Post-training int8 of weights and activations, whose ranges are those that `batches` show.

    Raises:
        ConfigurationError: NNCF isn't installed.
    """
    _keep_statistics_at_home()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nncf
    except ImportError:
        raise ConfigurationError("int8 needs NNCF: scripts/setup build") from None
    names = [port.any_name for port in graph.inputs]
    inputs = [{name: each.inputs[name] for name in names} for each in batches]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized: openvino.Model = nncf.quantize(
            graph,
            nncf.Dataset(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(inputs),
        )
    return quantized


def split_pairs(
    pairs: Sequence[LabelledPair], validation: Sequence[LabelledPair] = ()
) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """Choose what to calibrate on and, apart from it, what to measure on; the same each time.

    Raises:
        ConfigurationError: there are too few different pairs.
    """
    chosen = list({row.pair: row for row in pairs}.values())
    if len(chosen) < FEWEST_PAIRS:
        raise ConfigurationError(
            f"the calibration file has {len(chosen)} different pairs; at least {FEWEST_PAIRS} are needed"
        )
    random.Random(0).shuffle(chosen)
    cut = min(CALIBRATION_PAIRS, len(chosen) // 2)
    calibration, held_out = chosen[:cut], chosen[cut:]
    if validation:
        seen = {row.pair for row in calibration}
        held_out = [row for row in {row.pair: row for row in validation}.values() if row.pair not in seen]
        random.Random(0).shuffle(held_out)
        if len(held_out) < FEWEST_PAIRS:
            raise ConfigurationError(
                f"the validation file has {len(held_out)} different pairs that int8 wasn't calibrated on; "
                f"at least {FEWEST_PAIRS} are needed"
            )
    return calibration, held_out[:HELD_OUT_PAIRS]


def compare(reference: Checkpoint, candidate: Checkpoint, rows: Sequence[LabelledPair]) -> Comparison:
    """Hold the predictions of a built precision against those of the checkpoint it was made from.

    Raises:
        ConfigurationError: one of them can't be loaded, or fails on a pair.
    """
    encoder = PairEncoder.from_folder(reference.folder, reference.max_seq_length)
    encoded = encoder.encode([row.pair for row in rows])
    predictions = [
        _predictions(load_engine(each, torch.device("cpu"), available_cores()), encoded, name)
        for name, each in (("fp32", reference), (candidate.precision or "fp32", candidate))
    ]
    numbers = class_numbers(rows, reference.labels, optional=True).numbers
    truth = np.array([-1 if number is None else number for number in numbers])
    labelled = truth >= 0
    accuracy = None
    if labelled.any():
        before, after = (100 * float((each == truth)[labelled].mean()) for each in predictions)
        accuracy = before, after
    agreement = 100 * float((predictions[0] == predictions[1]).mean())
    return Comparison(len(rows), agreement, int(labelled.sum()), accuracy)


def _predictions(engine: Engine, pairs: Sequence[EncodedPair], name: str) -> NDArray[np.int64]:
    found = []
    for start in tqdm(range(0, len(pairs), BATCH), desc=f"measuring {name}", unit="batch", disable=None):
        for result in engine.probabilities(pairs[start : start + BATCH]):
            if isinstance(result, Exception):
                raise ConfigurationError(f"{name}: {result}")
            found.append(int(result.argmax()))
    return np.array(found)


def _keep_statistics_at_home() -> None:
    """OpenVINO and NNCF tell Google Analytics of each use, except where they believe to be in CI."""
    os.environ["CI"] = "true"
