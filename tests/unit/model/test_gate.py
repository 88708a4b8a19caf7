"""The gate for int8 judges what was measured."""

from __future__ import annotations

from scripts.model.gate import Comparison, Gate


def test_the_gate_judges_agreement_and_accuracy() -> None:
    assert Comparison(500, 98.0, 0, None).fault(Gate()) is None
    assert Comparison(500, 99.0, 500, (90.0, 89.5)).fault(Gate()) is None
    assert "98 %" in str(Comparison(500, 97.9, 0, None).fault(Gate()))
    fault = str(Comparison(500, 97.0, 500, (90.0, 89.0)).fault(Gate()))
    assert "97.00 %" in fault
    assert "1.00 points" in fault
