"""Post-training int8: the graph with 8-bit weights, and the calibrated graph."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterable

import numpy as np
import openvino
from openvino import opset13 as operators

from handler.batcher import ModelBatch
from handler.errors import ConfigurationError
from scripts.model.export import set_ci_against_usage_statistics


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
