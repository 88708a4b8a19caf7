"""Encoded pairs → model batches: padded to one length, or packed into rows without gaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from handler.encoding import EncodedPair

MAX_BATCH_TOKENS = 4096
"""Largest number of positions in a model batch, padding included; more pairs make more model batches."""

LENGTH_STEP = 4
"""Tokens of which the length of a padded batch is a multiple. A runtime prepares itself for each new shape,
which takes longer than these few positions, and with steps and powers of two there are few shapes."""

BATCH_OVERHEAD = 32
"""Cost of a padded batch beside that of its positions, in tokens; less padding than that is no reason for
another batch."""

ROW_TOKENS = 128
"""Tokens in a packed row, unless one pair is longer. In longer rows each token is compared with more tokens
of other pairs, which the mask hides (rows of 512 take a quarter longer), and shorter ones leave more gaps."""

ROW_STEP = 8
"""Tokens of which the length of packed rows that hold several pairs is a multiple."""

ROW_PAIRS = 8
"""Largest number of pairs in a packed row, so that the outputs of a row have one shape."""

BATCH_ROWS = 8
"""Largest number of packed rows in a model batch; more are not faster, and make more shapes."""


@dataclass(frozen=True, slots=True)
class ModelBatch:
    """The inputs of one forward pass, by name, and which of its outputs belongs to which pair."""

    pairs: list[EncodedPair]
    inputs: dict[str, NDArray[np.int64]]
    places: NDArray[np.int64]
    """For each pair, the index of its logits, counted over all leading axes."""

    @property
    def tokens(self) -> int:
        """Number of tokens of the pairs, without padding."""
        return sum(len(pair.input_ids) for pair in self.pairs)

    @property
    def size(self) -> int:
        """Number of positions that the model computes."""
        return self.inputs["input_ids"].size


class Batcher(Protocol):
    """A way to form model batches from pairs."""

    def batches(self, pairs: Sequence[EncodedPair]) -> Iterator[ModelBatch]:
        """Model batches that hold each pair once, in any order."""
        ...

    def examples(self) -> Iterator[ModelBatch]:
        """A model batch of each shape that `batches` usually makes, small ones first."""
        ...


class PaddedBatcher:
    """Forms batches of pairs of similar length, all padded to the longest; every classifier reads them.

    Inputs `input_ids`, `attention_mask` and `token_type_ids` have the shape [pairs, tokens].
    """

    def __init__(self, pad_token_id: int, max_batch_tokens: int, max_seq_length: int) -> None:
        """Set the limits of a batch.

        Args:
            pad_token_id: the id that fills up shorter pairs.
            max_batch_tokens: positions in a batch, padding included, unless one pair alone is longer.
            max_seq_length: tokens of a pair; the model may have no positions beyond.
        """
        self._pad_token_id = pad_token_id
        self._max_batch_tokens = max_batch_tokens
        self._max_seq_length = max_seq_length

    def batches(self, pairs: Sequence[EncodedPair]) -> Iterator[ModelBatch]:
        """Cut pairs, longest first, into batches of 1, 2, 4, … pairs.

        A batch grows while its padded size stays within the token limit, and while the padding that growing
        adds costs less than another batch.
        """
        ordered = sorted(pairs, key=lambda pair: len(pair.input_ids), reverse=True)
        lengths = [self._padded(len(pair.input_ids)) for pair in ordered]
        start = 0
        while start < len(ordered):
            longest, size = lengths[start], 1
            while (
                start + 2 * size <= len(ordered)
                and 2 * size * longest <= self._max_batch_tokens
                and size * longest - sum(lengths[start + size : start + 2 * size]) <= BATCH_OVERHEAD
            ):
                size *= 2
            yield self._batch(ordered[start : start + size])
            start += size

    def examples(self) -> Iterator[ModelBatch]:
        """A model batch of every shape."""
        lengths = sorted({self._padded(length) for length in range(1, self._max_seq_length + 1)})
        size = 1
        while size == 1 or size * lengths[0] <= self._max_batch_tokens:
            for length in lengths:
                if size == 1 or size * length <= self._max_batch_tokens:
                    yield self._batch([_example(length)] * size)
            size *= 2

    def _padded(self, length: int) -> int:
        """Length of a batch whose longest pair has `length` tokens."""
        return max(length, min(_round_up(length, LENGTH_STEP), self._max_seq_length))

    def _batch(self, pairs: list[EncodedPair]) -> ModelBatch:
        shape = len(pairs), self._padded(max(len(pair.input_ids) for pair in pairs))
        input_ids = np.full(shape, self._pad_token_id, dtype=np.int64)
        attention_mask = np.zeros(shape, dtype=np.int64)
        token_type_ids = np.zeros(shape, dtype=np.int64)
        for row, pair in enumerate(pairs):
            length = len(pair.input_ids)
            input_ids[row, :length] = pair.input_ids
            attention_mask[row, :length] = 1
            token_type_ids[row, :length] = pair.token_type_ids
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
        }
        return ModelBatch(pairs, inputs, np.arange(len(pairs)))


class EvenBatcher(PaddedBatcher):
    """Forms batches of pairs of one length, for a model whose answers padding would change."""

    def batches(self, pairs: Sequence[EncodedPair]) -> Iterator[ModelBatch]:
        """Cut the pairs of each length into batches of 1, 2, 4, … pairs."""
        by_length: dict[int, list[EncodedPair]] = {}
        for pair in pairs:
            by_length.setdefault(len(pair.input_ids), []).append(pair)
        for same in by_length.values():
            yield from super().batches(same)

    def _padded(self, length: int) -> int:
        return length


class PackedBatcher:
    """Packs several pairs into a row, where none attends to the others; for graphs exported for it.

    The method of Krell et al. 2021, "Efficient sequence packing without cross-contamination"
    (arXiv:2107.02027), at inference. `input_ids`, `token_type_ids`, `position_ids` and `segments` have the
    shape [rows, tokens]; `cls_positions`, with shape [rows, pairs], has the position of each pair's first
    token, which is the classification token. A token attends to those of its own segment.
    """

    def __init__(self, pad_token_id: int, max_batch_tokens: int, max_seq_length: int) -> None:
        """Set the limits of a batch; the arguments are those of `PaddedBatcher`."""
        self._pad_token_id = pad_token_id
        self._row_tokens = max(ROW_TOKENS, _round_up(max_seq_length, ROW_STEP))
        self._batch_rows = max(1, min(BATCH_ROWS, max_batch_tokens // self._row_tokens))
        self._max_seq_length = max_seq_length

    def batches(self, pairs: Sequence[EncodedPair]) -> Iterator[ModelBatch]:
        """Fill as few rows as hold the pairs, all about equally long, and cut them into equal batches."""
        if not pairs:
            return
        rows = self._rows(pairs)
        count = -(-len(rows) // self._batch_rows)
        for index in range(count):
            yield self._batch(rows[index * len(rows) // count : (index + 1) * len(rows) // count])

    def examples(self) -> Iterator[ModelBatch]:
        """A model batch of each shape that full rows have, and of each for one row or one pair."""
        for length in range(LENGTH_STEP, _round_up(self._max_seq_length, LENGTH_STEP) + 1, LENGTH_STEP):
            yield self._batch([[_example(length)]])
        for rows in range(1, self._batch_rows + 1):
            # Fewer tokens would have filled fewer rows.
            shortest = _round_up((rows - 1) * self._row_tokens // rows + 1, ROW_STEP)
            for length in range(shortest, self._row_tokens + 1, ROW_STEP):
                yield self._batch([[_example(length // 2), _example(length - length // 2)]] * rows)

    def _rows(self, pairs: Sequence[EncodedPair]) -> list[list[EncodedPair]]:
        """Longest first, each pair into the emptiest row; with one more row while one doesn't fit."""
        ordered = sorted(pairs, key=lambda pair: len(pair.input_ids), reverse=True)
        total = sum(len(pair.input_ids) for pair in pairs)
        count = max(-(-total // self._row_tokens), -(-len(pairs) // ROW_PAIRS))
        while True:
            rows: list[list[EncodedPair]] = [[] for _ in range(count)]
            loads = [0] * count
            for pair in ordered:
                open_rows = [row for row in range(count) if len(rows[row]) < ROW_PAIRS]
                row = min(open_rows, key=loads.__getitem__)
                if rows[row] and loads[row] + len(pair.input_ids) > self._row_tokens:
                    break
                rows[row].append(pair)
                loads[row] += len(pair.input_ids)
            else:
                return rows
            count += 1

    def _batch(self, rows: list[list[EncodedPair]]) -> ModelBatch:
        alone = all(len(row) == 1 for row in rows)
        longest = max(sum(len(pair.input_ids) for pair in row) for row in rows)
        shape = len(rows), _round_up(longest, LENGTH_STEP if alone else ROW_STEP)
        width = 1 if alone else ROW_PAIRS
        input_ids = np.full(shape, self._pad_token_id, dtype=np.int64)
        token_type_ids = np.zeros(shape, dtype=np.int64)
        position_ids = np.zeros(shape, dtype=np.int64)
        segments = np.full(shape, -1, dtype=np.int64)
        cls_positions = np.zeros((len(rows), width), dtype=np.int64)
        places = []
        for index, row in enumerate(rows):
            start = 0
            for number, pair in enumerate(row):
                here = slice(start, start + len(pair.input_ids))
                input_ids[index, here] = pair.input_ids
                token_type_ids[index, here] = pair.token_type_ids
                position_ids[index, here] = np.arange(len(pair.input_ids))
                segments[index, here] = number
                cls_positions[index, number] = start
                places.append(index * width + number)
                start = here.stop
        inputs = {
            "input_ids": input_ids,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "segments": segments,
            "cls_positions": cls_positions,
        }
        return ModelBatch([pair for row in rows for pair in row], inputs, np.array(places))


def _example(length: int) -> EncodedPair:
    return EncodedPair((0,) * length, (0,) * length, False)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
