"""Exporting a checkpoint as an OpenVINO graph."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import openvino
import torch
from transformers import BertForSequenceClassification
from transformers.utils.logging import set_verbosity_error

from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair
from handler.engine import make_batcher
from handler.openvino_model import GRAPH
from handler.torch_model import has_token_types, load_weights
from scripts.model.packed_bert import PackedBert


def export_graph(checkpoint: Checkpoint) -> openvino.Model:
    """Trace a converted checkpoint into a graph for any number of pairs of any length, in float32.

    A BERT that tells premise and hypothesis apart becomes a graph for packed rows; other encoders read
    padded batches.

    Raises:
        ConfigurationError: the weights can't be loaded.
    """
    set_ci_against_usage_statistics()
    model = load_weights(checkpoint.folder)
    module: torch.nn.Module = model
    if isinstance(model, BertForSequenceClassification) and has_token_types(model):
        module = PackedBert(model).eval()
    packed = module is not model
    (example,) = make_batcher(checkpoint, packed).batches([EncodedPair((1,) * 16, (0,) * 16, False)])
    names = [name for name in example.inputs if name != "token_type_ids" or has_token_types(model)]
    set_verbosity_error()  # type: ignore[no-untyped-call]
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


def set_ci_against_usage_statistics() -> None:
    """Set `CI` for this process: OpenVINO and NNCF report each use to Google Analytics unless it is set."""
    os.environ["CI"] = "true"
