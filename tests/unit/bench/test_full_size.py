"""The model to measure with: an archive can be built of it, and its answers differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from handler.encoding import PairEncoder
from handler.engine import load_engine
from handler.errors import ConfigurationError
from scripts.bench.comparison import generated_pairs
from scripts.bench.full_size import SHAPE, make_full_size
from scripts.model.archive import check_checkpoint

SMALL = {**SHAPE, "vocab_size": 300, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 48}


def test_it_can_be_served_and_knows_the_words_it_is_measured_with(tmp_path: Path) -> None:
    pairs = generated_pairs(200)
    texts = [text for pair in pairs for text in (pair.premise, pair.hypothesis)]
    checkpoint = check_checkpoint(make_full_size(texts, tmp_path / "small", SMALL))
    encoded = PairEncoder.from_folder(checkpoint.folder, checkpoint.max_seq_length).encode(pairs)
    unknown = 1
    assert all(unknown not in pair.input_ids for pair in encoded)
    answers = np.array(load_engine(checkpoint, torch.device("cpu"), 1).probabilities(encoded))
    assert answers.std(axis=0).min() > 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="exists already"):
        make_full_size(["비가 온다."], tmp_path, SMALL)
