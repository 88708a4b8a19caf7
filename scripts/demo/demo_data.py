"""What the demo model learns from: public sentences, the pairs held out, and a vocabulary."""

from __future__ import annotations

import csv
import gzip
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from tqdm import tqdm

from handler.errors import ConfigurationError
from scripts.demo.demo_pairs import CONTRADICTION, ENTAILMENT, NEUTRAL, WORDS, Pair

LABELS = {"entailment": ENTAILMENT, "contradiction": CONTRADICTION, "neutral": NEUTRAL}
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

SOURCES = """\
files of the data folder, and where each can be had:
  klue-nli-v1.1_train.json.gz  github.com/KLUE-benchmark/KLUE, klue_benchmark/klue-nli-v1.1 (gzipped)
  xnli.dev.ko.tsv              github.com/kakaobrain/KorNLUDatasets, KorNLI
  korsts-train.tsv             github.com/kakaobrain/KorNLUDatasets, KorSTS/sts-train.tsv
  paraKQC_v1.txt               github.com/warnikchow/paraKQC
  3i4k-fci.txt                 github.com/warnikchow/3i4k, data/fci.txt
  question-pair-train.csv      github.com/songys/Question_pair, kor_pair_train.csv
  chatbot-data.csv             github.com/songys/Chatbot_data, ChatbotData.csv"""


@dataclass(frozen=True, slots=True)
class Corpora:
    """All that is read from the data folder."""

    train: list[Pair]
    held_out: list[Pair]
    """KLUE-NLI pairs that choose the model: none of their premises is used in any other way."""
    translated: list[Pair]
    """XNLI dev in Korean, from KorNLI; trained on too."""
    everyday: list[str]
    """Spoken and typed sentences: Chatbot_data and 3i4k."""
    other: list[str]
    """Sentences of KorSTS, paraKQC and Question_pair, for the vocabulary and its embeddings."""

    def sentences(self) -> list[str]:
        """Every sentence that may be learnt from."""
        premises = sorted({premise for premise, _, _ in self.train})
        hypotheses = [hypothesis for _, hypothesis, _ in self.train]
        translated = [text for pair in self.translated for text in pair[:2]]
        return premises + hypotheses + translated + self.other + self.everyday

    def shortened(self, pairs: int) -> Corpora:
        """A slice of everything, for a quick run."""
        return Corpora(
            self.train[:pairs],
            self.held_out[: pairs // 4],
            self.translated[: pairs // 8],
            self.everyday[:pairs],
            self.other[:pairs],
        )


def read_corpora(folder: Path, held_out: int, seed: int = 20) -> Corpora:
    """Read the data folder and hold out `held_out` pairs of KLUE-NLI by premise.

    Raises:
        ConfigurationError: a file is missing or isn't what its name says.
    """
    try:
        rows = json.loads(gzip.decompress((folder / "klue-nli-v1.1_train.json.gz").read_bytes()))
        klue = [(tidy(row["premise"]), tidy(row["hypothesis"]), LABELS[row["gold_label"]]) for row in rows]
        xnli = _table(folder / "xnli.dev.ko.tsv", "\t")
        translated = [(tidy(row[0]), tidy(row[1]), LABELS[row[2]]) for row in xnli if row[2] in LABELS]
        other = [tidy(text) for row in _table(folder / "korsts-train.tsv", "\t") for text in row[5:7]]
        other += [tidy(line.split("\t")[2]) for line in _lines(folder / "paraKQC_v1.txt")]
        questions = _table(folder / "question-pair-train.csv", ",")
        other += [tidy(text) for row in questions for text in row[3:5]]
        everyday = [tidy(text) for row in _table(folder / "chatbot-data.csv", ",") for text in row[:2]]
        everyday += [tidy(line.split("\t")[1]) for line in _lines(folder / "3i4k-fci.txt") if "\t" in line]
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        raise ConfigurationError(f"{folder} isn't the data folder that --help describes: {error}") from None
    kept = _held_out_premises(klue, held_out, seed)
    return Corpora(
        [pair for pair in klue if pair[0] not in kept],
        [pair for pair in klue if pair[0] in kept],
        translated,
        everyday,
        other,
    )


def tidy(text: str) -> str:
    """Compose `text` as the service does, and join its words with single spaces."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _table(path: Path, delimiter: str) -> list[list[str]]:
    """The rows below the heading; quotes are only quotes in a .csv."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        if delimiter == ",":
            return list(csv.reader(stream))[1:]
        return list(csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE))[1:]


def _held_out_premises(pairs: Sequence[Pair], count: int, seed: int) -> set[str]:
    hypotheses = Counter(premise for premise, _, _ in pairs)
    premises = sorted(hypotheses)
    random.Random(seed).shuffle(premises)
    held_out: set[str] = set()
    total = 0
    for premise in premises:
        if total + hypotheses[premise] <= count:
            held_out.add(premise)
            total += hypotheses[premise]
    return held_out


def build_vocabulary(texts: Sequence[str], size: int) -> list[str]:
    """Train a cased WordPiece vocabulary in which stems stand apart from their endings.

    Of three times as many pieces as are wanted, those that are another piece with an ending are left out;
    then the most used remain.
    """
    characters = sorted({character for text in texts for character in text if not character.isspace()})
    # Stated first, these have the same ids in every run, and by ids the trainer breaks ties.
    inside = [f"##{character}" for character in characters]
    trainer = trainers.WordPieceTrainer(
        vocab_size=3 * size, special_tokens=[*SPECIAL_TOKENS, *inside], min_frequency=2, show_progress=False
    )
    tokenizer = make_tokenizer(SPECIAL_TOKENS)
    tokenizer.train_from_iterator(texts, trainer)
    found = [piece for piece, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    known = frozenset(found)
    endings = {name: frozenset(words.split()) for name, words in WORDS["endings"].items()}
    after_long = (endings["particles"] | endings["of_verbs"] | endings["of_hada"]) - endings["ambiguous"]
    after_short = endings["of_verbs"] - endings["only_after_long"] - endings["ambiguous"]
    after_short |= endings["after_short"]

    def is_stem_with_ending(piece: str) -> bool:
        inside = piece.startswith("##")
        body = piece.removeprefix("##")
        if piece in SPECIAL_TOKENS or (inside and body in after_long):
            return False
        return any(
            piece[: len(piece) - len(body) + cut] in known
            and (body[cut:] in after_long if cut > 1 else not inside and body[cut:] in after_short)
            for cut in range(1, len(body))
        )

    pieces = [piece for piece in found if not is_stem_with_ending(piece)]
    present = frozenset(pieces)
    pieces += [f"##{ending}" for ending in sorted(after_long | after_short) if f"##{ending}" not in present]
    uses = np.zeros(len(pieces), dtype=np.int64)
    for encoding in make_tokenizer(pieces).encode_batch(list(texts), add_special_tokens=False):
        np.add.at(uses, encoding.ids, 1)

    def rank(index: int) -> tuple[bool, int]:
        # Single characters first: with them hardly anything is unknown.
        return len(pieces[index].removeprefix("##")) > 1 or not uses[index], -int(uses[index])

    rest = sorted(range(len(SPECIAL_TOKENS), len(pieces)), key=rank)
    return [*SPECIAL_TOKENS, *(pieces[index] for index in rest)][:size]


def make_tokenizer(vocabulary: Sequence[str]) -> Tokenizer:
    """A BERT tokenizer that keeps case and accents, with `vocabulary` in the order of its ids."""
    ids = {piece: index for index, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def neighbour_embeddings(tokenizer: Tokenizer, texts: Sequence[str], width: int) -> Tensor:
    """Rows of length 1 for each piece, in which pieces that keep the same company are alike.

    Positive pointwise mutual information of pieces within four places, factorised. It takes seconds, and
    with it attention by likeness finds a similar word where the very word is missing.
    """
    size, reach = tokenizer.get_vocab_size(), 4
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    stream = np.concatenate(
        [np.array([*encoding.ids, *[0] * reach], dtype=np.int64) for encoding in encodings]
    )
    counts = np.zeros(size * size, dtype=np.float32)
    for distance in tqdm(range(1, reach + 1), desc="neighbours", leave=False, disable=None):
        left, right = stream[:-distance], stream[distance:]
        words = (left >= len(SPECIAL_TOKENS)) & (right >= len(SPECIAL_TOKENS))
        cells, times = np.unique(left[words] * size + right[words], return_counts=True)
        counts[cells] += times / distance
    square = counts.reshape(size, size)
    square = square + square.T
    total = square.sum(1) + 1e-9
    context = total**0.75 / (total**0.75).sum()
    information = np.log(np.maximum(square, 1e-12) / (total[:, None] * context[None, :]))
    information[square == 0] = 0
    torch.manual_seed(0)
    rank = min(width, size - 1)
    vectors, strengths, _ = torch.svd_lowrank(
        torch.from_numpy(np.maximum(information, 0)), q=min(rank + 20, size), niter=4
    )
    company = torch.zeros(size, width)
    company[:, :rank] = vectors[:, :rank] * strengths[:rank].sqrt()
    company = company @ torch.linalg.qr(torch.randn(width, width))[0]  # spread over the attention heads
    return functional.normalize(company - company.mean(0), dim=1)
