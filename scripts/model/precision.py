"""Writing a checkpoint in the precision that a worker loads; int8 with 8-bit weights, or calibrated."""

from __future__ import annotations

import importlib.util
import json
import shutil
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as operators

from handler.batcher import ModelBatch
from handler.checkpoint import SECTION, Checkpoint, Precision
from handler.encoding import PairEncoder
from handler.engine import make_batcher
from handler.errors import ConfigurationError
from handler.openvino_model import reads_packed, reads_padded
from scripts.model.export import check_torch, export_graph, save_graph, set_ci_against_usage_statistics
from scripts.model.gate import Comparison, Gate, choose_pairs, compare
from scripts.pairs.labelled import class_numbers, name_numbers, read_labelled_pairs


def write_model(
    checkpoint: Checkpoint,
    precision: Precision,
    folder: Path,
    gate: Gate | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> None:
    """Write what a worker loads: `config.json`, which records the precision, the tokenizer and the weights.

    Args:
        checkpoint: a converted checkpoint.
        precision: fp32, bf16 and int8 become a graph for OpenVINO; fp16 stays PyTorch's, for a GPU.
        folder: an empty folder.
        gate: the pairs and limits for int8; without pairs it is not measured, and the archive keeps
            the comparison that the checkpoint records, if any.
        report: told how int8 compares with float32.

    Raises:
        DataError: the pairs can't be read, or have other labels than the model.
        ConfigurationError: int8 doesn't pass its gate, or can't be made.
    """
    config = json.loads((checkpoint.folder / "config.json").read_text(encoding="utf-8"))
    config[SECTION]["precision"] = precision
    if precision != "int8":
        config[SECTION].pop("comparison", None)
    shutil.copy(checkpoint.folder / "tokenizer.json", folder)
    if precision == "fp16":
        check_torch(checkpoint)
        shutil.copy(checkpoint.folder / "model.safetensors", folder)
    elif precision == "int8":
        if comparison := _write_int8(checkpoint, folder, gate or Gate(), report):
            config[SECTION]["comparison"] = asdict(comparison)
    else:
        save_graph(export_graph(checkpoint, report), folder)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def _write_int8(
    checkpoint: Checkpoint, folder: Path, gate: Gate, report: Callable[[str], object]
) -> Comparison | None:
    """Write the quantized graph, and hold it against the checkpoint where there are pairs for that.

    Raises:
        DataError, ConfigurationError: as `write_model`.
    """
    if gate.calibration:
        check_calibration_is_possible()
    pairs = read_labelled_pairs(gate.calibration) if gate.calibration else []
    validation = read_labelled_pairs(gate.validation) if gate.validation else []
    # Faults in the labels are found before the work.
    order = class_numbers([*pairs, *validation], checkpoint.labels, optional=True).order
    if order:
        report(f"labels are numbers, read as {name_numbers(order)}")
    learnt, held_out = choose_pairs(pairs, validation)
    graph = export_graph(checkpoint, report)
    if learnt:
        encoder = PairEncoder.from_folder(checkpoint.folder, checkpoint.max_seq_length)
        batcher = make_batcher(checkpoint, reads_packed(graph), reads_padded(graph))
        # Each pair alone, with next to no padding, which would widen the ranges.
        encoded = encoder.encode([row.pair for row in learnt])
        graph = quantize(graph, (each for pair in encoded for each in batcher.batches([pair])))
    else:
        compress_weights(graph)
    save_graph(graph, folder)
    if not held_out:
        return None
    comparison = compare(checkpoint, replace(checkpoint, folder=folder, precision="int8"), held_out)
    report(comparison.to_text())
    if fault := comparison.fault(gate):
        remedy = "use more of your own pairs" if learnt else "calibrate on your own pairs with --calibration"
        raise ConfigurationError(
            f"int8 is refused: it {fault}; {remedy}, or set other limits with --min-agreement and "
            "--max-accuracy-drop"
        )
    return comparison


def compress_weights(graph: openvino.Model) -> None:
    """Replace each matrix that activations are multiplied by, and each table, by 8-bit weights, in place.

    Each output of a matrix and each row of a table has a scale of its own. OpenVINO then quantizes the
    activations as they come (`handler.openvino_model.QUANTIZATION_GROUP`), so no pairs are needed.

    Raises:
        ConfigurationError: the graph has no such matrix.
    """
    found = 0
    for node in graph.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in {"MatMul", "Gather"}:
            continue
        port = node.input(1 if kind == "MatMul" else 0)
        constant = port.get_source_output().get_node()
        if constant.get_type_name() != "Constant" or constant.get_element_type() != openvino.Type.f32:
            continue
        weights = constant.data
        if weights.ndim != 2:
            continue
        axis = 0 if kind == "MatMul" and not node.get_attributes()["transpose_b"] else 1
        largest = np.abs(weights).max(axis=axis, keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        whole = operators.constant(np.rint(weights / scale).astype(np.int8))
        restored = operators.multiply(operators.convert(whole, "f32"), operators.constant(scale))
        port.replace_source_output(restored.output(0))
        found += kind == "MatMul"
    if not found:
        raise ConfigurationError("int8 can't be made: the model's graph has no matrix of weights")


def check_calibration_is_possible() -> None:
    """Check, before any work, that the package that calibrates is installed.

    Raises:
        ConfigurationError: it isn't.
    """
    if importlib.util.find_spec("nncf") is None:
        raise ConfigurationError(
            "--calibration needs NNCF: run scripts/setup build, or leave --calibration out"
        )


def quantize(graph: openvino.Model, batches: Iterable[ModelBatch]) -> openvino.Model:
    """Post-training int8 of weights and activations, whose ranges are those that `batches` show."""
    set_ci_against_usage_statistics()
    names = [port.any_name for port in graph.inputs]
    inputs = [{name: each.inputs[name] for name in names} for each in batches]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nncf

        kind = nncf.ModelType.TRANSFORMER
        quantized: openvino.Model = nncf.quantize(
            graph, nncf.Dataset(inputs), model_type=kind, subset_size=len(inputs)
        )
    return quantized
