"""Exporting a checkpoint as an OpenVINO graph, which is held against the same model in PyTorch."""

from __future__ import annotations

import inspect
import os
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from transformers import BertForSequenceClassification, PreTrainedModel
from transformers.utils.logging import set_verbosity_error

from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import Engine, Model, available_cores, make_batcher
from handler.errors import ConfigurationError, one_line
from handler.openvino_model import GRAPH, OpenVinoModel
from handler.torch_model import TorchModel, input_names, load_weights
from scripts.model.packed_bert import PackedBert

TOLERANCE = 1e-5
"""How far a probability may be from PyTorch's, of the pair alone and without padding."""

LENGTHS = (2, 3, 5, 8, 9, 13, 20, 21, 34, 47)
"""Tokens of both texts in the pairs that are compared, beside the most that fit."""

Form = Literal["packed", "padded", "even"]
"""What a graph reads: packed rows, padded batches, or batches of one length; see `handler.batcher`."""


def export_graph(checkpoint: Checkpoint, report: Callable[[str], object] = lambda _: None) -> openvino.Model:
    """Trace a converted checkpoint into a graph for any number of pairs of any length, in float32.

    A BERT that tells premise and hypothesis apart becomes a graph for packed rows; other encoders read
    padded batches, and those whose answers padding changes read pairs of one length at a time. Each graph is
    held against PyTorch, and the first that agrees is taken.

    Raises:
        ConfigurationError: the weights can't be loaded, or no graph of them agrees with PyTorch.
    """
    set_ci_against_usage_statistics()
    set_verbosity_error()  # type: ignore[no-untyped-call]
    model = load_weights(checkpoint.folder)
    pairs = sample_pairs(checkpoint, model)
    expected = reference(model, pairs)
    fault = ""
    for form, attention in _ways(model):
        model.set_attn_implementation(attention)
        try:
            graph = _trace(checkpoint, model, form)
            worst = difference(checkpoint, OpenVinoModel(graph, "fp32", available_cores()), pairs, expected)
        except Exception as error:  # tracing fails in many ways, each with its own kind of error
            fault = fault or f"it can't be traced ({one_line(error, 100)})"
            continue
        if worst <= TOLERANCE:
            if form == "even":
                report("padding would change answers: only pairs of one length share a batch")
            return graph
        fault = f"it answers otherwise than in PyTorch, by up to {worst:.0e}"
    raise ConfigurationError(
        f"{checkpoint.folder}: {type(model).__name__} can't be served: {fault}; see docs/checkpoints.md for "
        "encoders that can"
    )


def check_torch(checkpoint: Checkpoint) -> None:
    """Hold PyTorch on padded batches, as a GPU computes them, against PyTorch on each pair alone.

    Raises:
        ConfigurationError: padding changes the answers.
    """
    model = load_weights(checkpoint.folder)
    pairs = sample_pairs(checkpoint, model)
    served = TorchModel(checkpoint.folder, torch.device("cpu"), available_cores())
    worst = difference(checkpoint, served, pairs, reference(model, pairs))
    if worst > TOLERANCE:
        raise ConfigurationError(
            f"{checkpoint.folder}: padding changes the answers of {type(model).__name__}, by up to "
            f"{worst:.0e}: build fp32, where only pairs of one length share a batch"
        )


def _ways(model: PreTrainedModel) -> Iterator[tuple[Form, str]]:
    """The forms of a batch and kinds of attention to make a graph with, the fastest first.

    Written out, as `eager`, attention has no NaN where all is masked.
    """
    own = str(model.config._attn_implementation)
    if isinstance(model, BertForSequenceClassification) and "token_type_ids" in input_names(model):
        yield "packed", own
    forms: list[Form] = ["padded", "even"] if "attention_mask" in input_names(model) else ["even"]
    for form in forms:
        for attention in dict.fromkeys((own, "eager")):
            yield form, attention


def _trace(checkpoint: Checkpoint, model: PreTrainedModel, form: Form) -> openvino.Model:
    packed = form == "packed"
    module = PackedBert(cast(BertForSequenceClassification, model)).eval() if packed else model
    (example,) = make_batcher(checkpoint, packed).batches([EncodedPair((1,) * 16, (0,) * 16, False)])
    names = list(example.inputs) if packed else input_names(model)
    if form == "even":
        names = [name for name in names if name != "attention_mask"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of each branch in transformers' code
        graph: openvino.Model = openvino.convert_model(
            module,
            example_input={name: torch.from_numpy(example.inputs[name]) for name in names},
        )
    for name, port in zip(names, graph.inputs, strict=True):
        port.get_tensor().set_names({name})
    return graph


def save_graph(graph: openvino.Model, folder: Path) -> None:
    """Write the graph and its weights as `model.xml` and `model.bin`, the same bytes for the same graph."""
    graph.set_friendly_name("classifier")
    for index, node in enumerate(graph.get_ordered_ops()):
        # Names left open are written with numbers that grow for as long as the process lives.
        node.set_friendly_name(f"{node.get_type_name()}_{index}")
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)


def sample_pairs(checkpoint: Checkpoint, model: PreTrainedModel) -> list[EncodedPair]:
    """Pairs of random tokens, of many lengths, laid out as the checkpoint's tokenizer does."""
    encoder = PairEncoder.from_folder(checkpoint.folder, checkpoint.max_seq_length)
    words = [number for number in range(model.config.vocab_size) if number != checkpoint.pad_token_id]
    chance = random.Random(0)
    lengths = [length for length in LENGTHS if length < encoder.budget] + [encoder.budget, encoder.budget]
    return [
        encoder.join(chance.choices(words, k=length // 2), chance.choices(words, k=length - length // 2))
        for length in lengths
    ]


@torch.inference_mode()
def reference(model: PreTrainedModel, pairs: Sequence[EncodedPair]) -> NDArray[np.float64]:
    """Probabilities of each pair alone, as transformers computes them from what its tokenizer gives."""
    typed = "token_type_ids" in inspect.signature(model.forward).parameters
    types = getattr(model.config, "type_vocab_size", None)
    rows = []
    for pair in pairs:
        inputs = {"input_ids": torch.tensor([pair.input_ids])}
        if typed and (types is None or max(pair.token_type_ids) < max(types, 1)):
            inputs["token_type_ids"] = torch.tensor([pair.token_type_ids])
        rows.append(model(**inputs).logits[0].double().softmax(0).numpy())
    return np.array(rows)


def difference(
    checkpoint: Checkpoint, model: Model, pairs: Sequence[EncodedPair], expected: NDArray[np.float64]
) -> float:
    """The largest difference of a probability, over each pair alone and all of them together.

    Raises:
        ConfigurationError: a pair has no answer.
    """
    engine = Engine(model, make_batcher(checkpoint, model.packed, model.padded))
    worst = 0.0
    for batch in (*([pair] for pair in pairs), list(pairs), list(reversed(pairs[: len(pairs) // 2]))):
        for pair, found in zip(batch, engine.probabilities(batch), strict=True):
            if isinstance(found, Exception):
                raise ConfigurationError(f"of a pair of {len(pair.input_ids)} tokens, {found}")
            worst = max(worst, float(np.abs(found - expected[pairs.index(pair)]).max()))
    return worst


def set_ci_against_usage_statistics() -> None:
    """Set `CI` for this process: OpenVINO and NNCF report each use to Google Analytics unless it is set."""
    os.environ["CI"] = "true"
