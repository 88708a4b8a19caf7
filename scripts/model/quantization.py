"""Post-training int8: the pairs that it learns from and is measured on, and the quantized graph."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Sequence

import openvino

from handler.batcher import ModelBatch
from handler.errors import ConfigurationError
from scripts.model.export import set_ci_against_usage_statistics
from scripts.pairs.labelled import LabelledPair
from scripts.pairs.text_file import DataError

CALIBRATION_PAIRS = 300
"""Largest number of pairs from which int8 learns its ranges; more make it slower and not better."""

HELD_OUT_PAIRS = 2000
"""Largest number of pairs on which int8 is compared with float32."""

FEWEST_PAIRS = 100
"""Smallest number of different pairs in a calibration file; fewer say little about ranges or agreement."""


def quantize(graph: openvino.Model, batches: Iterable[ModelBatch]) -> openvino.Model:
    """Post-training int8 of weights and activations, whose ranges are those that `batches` show.

    Raises:
        ConfigurationError: NNCF isn't installed.
    """
    set_ci_against_usage_statistics()
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
        DataError: there are too few different pairs.
    """
    chosen = list({row.pair: row for row in pairs}.values())
    if len(chosen) < FEWEST_PAIRS:
        raise DataError(
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
            raise DataError(
                f"the validation file has {len(held_out)} different pairs that int8 wasn't calibrated on; "
                f"at least {FEWEST_PAIRS} are needed"
            )
    return calibration, held_out[:HELD_OUT_PAIRS]
