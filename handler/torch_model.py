"""A checkpoint in PyTorch: float32 on the CPU, the reference for every other precision, or on one GPU."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from handler.errors import ConfigurationError, one_line

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""The inputs that `handler.batcher.PaddedBatcher` fills."""


def load_weights(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load a checkpoint's classifier, ready to infer.

    Raises:
        ConfigurationError: weights are missing or don't fit `config.json`.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]  # a worker's stderr is a log
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
        )
    except Exception as error:  # each architecture checks its config and its weights in its own way
        raise ConfigurationError(f"the model in {folder} can't be loaded: {one_line(error)}") from None
    # transformers would go on with random numbers in place of what is missing.
    faults = [f"{kind.replace('_', ' ')} {', '.join(sorted(keys))}" for kind, keys in report.items() if keys]
    if faults:
        raise ConfigurationError(f"the weights in {folder} don't fit its config: {'; '.join(faults)}")
    loaded: PreTrainedModel = model.eval()
    return loaded


def input_names(model: PreTrainedModel) -> list[str]:
    """The inputs of a batch that a model takes.

    RoBERTa and others have a table of one type, which no id but 0 may look up, so they get no types.
    """
    names = [name for name in INPUTS if name in inspect.signature(model.forward).parameters]
    typed = (getattr(model.config, "type_vocab_size", 0) or 0) > 1
    return [name for name in names if typed or name != "token_type_ids"]


class TorchModel:
    """The weights as they were converted; see `handler.engine.Model`."""

    packed = False

    def __init__(self, folder: Path, device: torch.device, threads: int, half: bool = False) -> None:
        """Load the weights; `half` asks for float16 on a GPU, which on the CPU would be slower and worse.

        Raises:
            ConfigurationError: see `load_weights`.
        """
        torch.set_num_threads(threads)
        dtype = torch.float16 if half and device.type == "cuda" else torch.float32
        self._model = load_weights(folder, dtype).to(device)  # type: ignore[arg-type]
        self._device = device
        self._names = input_names(self._model)
        self.padded = "attention_mask" in self._names

    @torch.inference_mode()
    def logits(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """One forward pass; see `handler.engine.Model.logits`."""
        tensors = {name: torch.from_numpy(inputs[name]).to(self._device) for name in self._names}
        output: NDArray[np.float32] = self._model(**tensors).logits.float().cpu().numpy()
        return output
