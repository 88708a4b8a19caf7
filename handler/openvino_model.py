"""An archive's graph in OpenVINO, on the CPU; imported only where an archive holds one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from handler.checkpoint import Precision
from handler.errors import ConfigurationError

GRAPH = "model.xml"
"""OpenVINO's graph in an archive; its weights lie beside it in `model.bin`."""


def reads_packed(graph: openvino.Model | openvino.CompiledModel) -> bool:
    """Whether a graph reads packed rows; see `handler.batcher.PackedBatcher`."""
    return any(port.any_name == "segments" for port in graph.inputs)


class OpenVinoModel:
    """A compiled graph; see `handler.engine.Model`."""

    def __init__(self, folder: Path, precision: Precision, threads: int) -> None:
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
        }
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(folder / GRAPH), "CPU", settings)
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[-1]
            raise ConfigurationError(f"the model in {folder} can't be loaded: {reason}") from None
        self._request = compiled.create_infer_request()
        self._inputs = [port.any_name for port in compiled.inputs]
        self.packed = reads_packed(compiled)

    def logits(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """One forward pass; see `handler.engine.Model.logits`."""
        self._request.infer({name: inputs[name] for name in self._inputs}, share_inputs=True)
        # The next call writes to the same memory.
        output: NDArray[np.float32] = self._request.get_output_tensor(0).data.copy()
        return output
