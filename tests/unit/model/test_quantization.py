"""Graphs in int8: what each weight keeps, and what calibration needs."""

from __future__ import annotations

import sys

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from openvino import opset13 as operators

from handler.errors import ConfigurationError
from scripts.model.quantization import check_calibration_is_possible, compress_weights


@pytest.mark.parametrize("transposed", [True, False])
def test_each_output_of_a_matrix_and_each_row_of_a_table_keeps_its_own_scale(transposed: bool) -> None:
    generator = np.random.default_rng(0)
    # Outputs of very different size, and one that is always zero.
    sizes = np.array([1e-4, 1, 1e3, 0], dtype=np.float32)[:, None]
    table = generator.normal(size=(4, 160)).astype(np.float32) * sizes
    matrix = generator.normal(size=(4, 160)).astype(np.float32) * sizes
    ids, left = operators.parameter([-1], np.int64), operators.parameter([-1, 160], np.float32)
    rows = operators.gather(operators.constant(table), ids, operators.constant(0))
    right = operators.constant(matrix if transposed else np.ascontiguousarray(matrix.T))
    graph = openvino.Model([rows, operators.matmul(left, right, False, transposed)], [ids, left])

    def answers() -> list[NDArray[np.float32]]:
        compiled = openvino.compile_model(graph, "CPU", {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0})
        inputs = [np.arange(4), np.eye(160, dtype=np.float32)]
        return [np.array(value) for value in compiled(inputs).values()]

    before = answers()
    compress_weights(graph)
    for exact, found, spread in zip(before, answers(), (sizes, sizes.T), strict=True):
        difference = np.abs(found - exact).max(axis=1 if spread is sizes else 0)
        assert (difference <= 0.02 * spread.ravel()).all()
        assert difference[1] > 1e-4
    kinds = [each.get_element_type() for each in graph.get_ops() if each.get_type_name() == "Constant"]
    assert kinds.count(openvino.Type.i8) == 2


def test_a_graph_without_a_matrix_of_weights_is_refused() -> None:
    left, right = operators.parameter([-1, 4], np.float32), operators.parameter([4, 4], np.float32)
    with pytest.raises(ConfigurationError, match="no matrix of weights"):
        compress_weights(openvino.Model([operators.matmul(left, right, False, True)], [left, right]))


def test_calibration_says_first_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    check_calibration_is_possible()
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ConfigurationError, match="scripts/setup build"):
        check_calibration_is_possible()
