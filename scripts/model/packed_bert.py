"""A BERT classifier for packed rows, made to be exported; computes nothing that no answer needs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

HIDDEN = -1e4
"""Added to the score of a token of another pair; its share is then exactly 0 in every precision."""


class PackedBert(nn.Module):
    """Computes what a `BertForSequenceClassification` does, from what `handler.batcher.PackedBatcher` forms.

    The classifier reads the last layer at the first token of each pair only, so that layer computes nothing
    else: a twelfth of the work of a BERT-base less, and about a quarter of the demo model's.
    """

    def __init__(self, model: BertForSequenceClassification) -> None:
        """Take over the weights of `model`."""
        super().__init__()
        self.embeddings = model.bert.embeddings
        self.layers = model.bert.encoder.layer
        self.pooler: Any = model.bert.pooler
        self.classifier = model.classifier
        self.heads = model.config.num_attention_heads

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor,
        position_ids: Tensor,
        segments: Tensor,
        cls_positions: Tensor,
    ) -> Tensor:
        """Logits of shape [rows, pairs, labels]; where a row has fewer pairs, those of its first token."""
        table = self.embeddings
        hidden = table.word_embeddings(input_ids) + table.token_type_embeddings(token_type_ids)
        hidden = table.LayerNorm(hidden + table.position_embeddings(position_ids))
        layers: list[Any] = list(self.layers)
        last = layers.pop()
        mask = _mask(segments, segments)
        for layer in layers:
            hidden = self._layer(layer, hidden, hidden, mask)
        cls = hidden.gather(1, cls_positions[:, :, None].expand(-1, -1, hidden.shape[2]))
        cls = self._layer(last, cls, hidden, _mask(segments.gather(1, cls_positions), segments))
        logits: Tensor = self.classifier(self.pooler.activation(self.pooler.dense(cls)))
        return logits

    def _layer(self, layer: Any, asking: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
        """One layer at the positions `asking`, which attend to `hidden`."""
        attention = layer.attention
        query, key, value = (
            each.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for each in (
                attention.self.query(asking),
                attention.self.key(hidden),
                attention.self.value(hidden),
            )
        )
        scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5 + mask
        context = (scores.softmax(3) @ value).transpose(1, 2).flatten(2)
        attended = attention.output(context, asking)
        output: Tensor = layer.output(layer.intermediate(attended), attended)
        return output


def _mask(asking: Tensor, segments: Tensor) -> Tensor:
    """What is added to scores of shape [rows, heads, asking, tokens]: tokens see their own pair."""
    return torch.where(asking[:, None, :, None] == segments[:, None, None, :], 0.0, HIDDEN)
