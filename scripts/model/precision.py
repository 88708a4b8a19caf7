"""Writing a checkpoint in the precision that a worker loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from handler.checkpoint import SECTION, Checkpoint, Precision
from handler.encoding import PairEncoder
from handler.engine import make_batcher
from handler.errors import ConfigurationError
from handler.openvino_model import reads_packed, reads_padded
from scripts.model.export import check_torch, export_graph, save_graph
from scripts.model.gate import Comparison, Gate, compare
from scripts.model.quantization import quantize, split_pairs
from scripts.pairs.labelled import class_numbers, name_numbers, read_labelled_pairs


@dataclass(frozen=True, slots=True)
class Calibration:
    """The pairs that int8 learns from, and the gate that it must pass."""

    pairs: Path
    """A file that `scripts/pairs/reader.py` reads; part of it is kept back to measure on."""
    validation: Path | None = None
    """Such a file to measure on instead."""
    gate: Gate = field(default_factory=Gate)


def write_model(
    checkpoint: Checkpoint,
    precision: Precision,
    folder: Path,
    calibration: Calibration | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> None:
    """Write what a worker loads: `config.json`, which records the precision, the tokenizer and the weights.

    Args:
        checkpoint: a converted checkpoint.
        precision: fp32, bf16 and int8 become a graph for OpenVINO; fp16 stays PyTorch's, for a GPU.
        folder: an empty folder.
        calibration: the pairs and the gate for int8, which needs them.
        report: told how int8 compares with float32.

    Raises:
        DataError: the pairs can't be read, or have other labels than the model.
        ConfigurationError: int8 doesn't pass its gate, or can't be made.
    """
    config = json.loads((checkpoint.folder / "config.json").read_text(encoding="utf-8"))
    config[SECTION]["precision"] = precision
    shutil.copy(checkpoint.folder / "tokenizer.json", folder)
    if precision == "fp16":
        check_torch(checkpoint)
        shutil.copy(checkpoint.folder / "model.safetensors", folder)
    elif precision == "int8":
        if calibration is None:
            raise ConfigurationError(
                "int8 learns from your own pairs: name a file of them with --calibration"
            )
        config[SECTION]["comparison"] = asdict(_write_int8(checkpoint, folder, calibration, report))
    else:
        save_graph(export_graph(checkpoint, report), folder)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def _write_int8(
    checkpoint: Checkpoint, folder: Path, calibration: Calibration, report: Callable[[str], object]
) -> Comparison:
    """Write the quantized graph, and hold it against the checkpoint.

    Raises:
        DataError, ConfigurationError: as `write_model`.
    """
    pairs = read_labelled_pairs(calibration.pairs)
    validation = read_labelled_pairs(calibration.validation) if calibration.validation else []
    # Faults in the labels are found before the work.
    order = class_numbers([*pairs, *validation], checkpoint.labels, optional=True).order
    if order:
        report(f"labels are numbers, read as {name_numbers(order)}")
    learnt, held_out = split_pairs(pairs, validation)
    encoder = PairEncoder.from_folder(checkpoint.folder, checkpoint.max_seq_length)
    graph = export_graph(checkpoint, report)
    batcher = make_batcher(checkpoint, reads_packed(graph), reads_padded(graph))
    # Each pair alone, with next to no padding, which would widen the ranges.
    encoded = encoder.encode([row.pair for row in learnt])
    graph = quantize(graph, (each for pair in encoded for each in batcher.batches([pair])))
    save_graph(graph, folder)
    comparison = compare(checkpoint, replace(checkpoint, folder=folder, precision="int8"), held_out)
    report(comparison.to_text())
    if fault := comparison.fault(calibration.gate):
        raise ConfigurationError(
            f"int8 is refused: it {fault}; use more of your own pairs, or set other limits with "
            "--min-agreement and --max-accuracy-drop"
        )
    return comparison
