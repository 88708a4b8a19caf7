"""An archive's graph in OpenVINO, on the CPU; imported only where an archive holds one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from handler.batcher import LENGTH_STEP
from handler.checkpoint import Precision
from handler.errors import ConfigurationError, one_line

GRAPH = "model.xml"
"""OpenVINO's graph in an archive; its weights lie beside it in `model.bin`."""


logger = logging.getLogger(__name__)

QUANTIZATION = "DYNAMIC_QUANTIZATION_GROUP_SIZE"

QUANTIZATION_GROUP = 128
"""Activations of a token that share a scale where int8 archives hold 8-bit weights without the activations'
ranges. Of 32, 64, 128 and a whole token, 128 takes least time; OpenVINO itself would take 32."""


def reads_packed(graph: openvino.Model | openvino.CompiledModel) -> bool:
    """Whether a graph reads packed rows; see `handler.batcher.PackedBatcher`."""
    return any(port.any_name == "segments" for port in graph.inputs)


def reads_padded(graph: openvino.Model | openvino.CompiledModel) -> bool:
    """Whether a graph tells padding from tokens; see `handler.batcher.PaddedBatcher`."""
    return any(port.any_name == "attention_mask" for port in graph.inputs)


class OpenVinoModel:
    """A compiled graph; see `handler.engine.Model`."""

    def __init__(self, source: Path | openvino.Model, precision: Precision, threads: int) -> None:
        """Compile the graph for `threads` threads.

        Raises:
            ConfigurationError: the graph or its weights are missing or damaged.
        """
        settings = {
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            # Two workers would be pinned to the same cores, each unaware of the other.
            "ENABLE_CPU_PINNING": False,
            # Left to itself, OpenVINO computes in bf16 wherever the processor can.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            # Without effect on other precisions, and on int8 whose graph holds ranges.
            QUANTIZATION: QUANTIZATION_GROUP,
        }
        try:
            core = openvino.Core()
            graph = core.read_model(source / GRAPH) if isinstance(source, Path) else source
            compiled = core.compile_model(graph, "CPU", settings)
            if precision == "int8" and not _runs(compiled):
                logger.warning("this processor can't quantize activations: 8-bit weights compute in float32")
                compiled = core.compile_model(graph, "CPU", settings | {QUANTIZATION: 0})
        except RuntimeError as error:
            raise ConfigurationError(f"the model in {source} can't be loaded: {one_line(error)}") from None
        self._request = compiled.create_infer_request()
        self._inputs = [port.any_name for port in compiled.inputs]
        self.packed = reads_packed(compiled)
        self.padded = reads_padded(compiled)

    def logits(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """One forward pass; see `handler.engine.Model.logits`."""
        self._request.infer({name: inputs[name] for name in self._inputs}, share_inputs=True)
        # The next call writes to the same memory.
        output: NDArray[np.float32] = self._request.get_output_tensor(0).data.copy()
        return output


def _runs(compiled: openvino.CompiledModel) -> bool:
    """Whether a forward pass gives an answer.

    Where a processor has AVX2 and neither AVX-512 nor VNNI, OpenVINO 2026.4 compiles quantization of
    activations that then fails or gives nothing.
    """
    # One row of equal tokens, whose classification token is the first, suits every graph's inputs.
    inputs = {port.any_name: np.zeros((1, LENGTH_STEP), dtype=np.int64) for port in compiled.inputs}
    request = compiled.create_infer_request()
    try:
        request.infer(inputs)
    except RuntimeError:
        return False
    return bool(request.get_output_tensor(0).size)
