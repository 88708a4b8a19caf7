"""Writing a checkpoint in the precision that a worker loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from handler.checkpoint import SECTION, Checkpoint, Precision
from handler.encoding import PairEncoder
from handler.engine import make_batcher
from handler.errors import ConfigurationError
from handler.openvino_model import reads_packed, reads_padded
from scripts.model.export import check_torch, export_graph, save_graph
from scripts.model.gate import Comparison, Gate, choose_pairs, compare
from scripts.model.quantization import check_calibration_is_possible, compress_weights, quantize
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
