"""Tokenizers: each folder that people bring is read as its model was trained, or refused in one line."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import (
    AlbertConfig,
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    RobertaConfig,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)

from handler.encoding import PairEncoder
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.model.served_tokenizer import check_tokenizer, served_tokenizer
from scripts.model.tokenizer import load_tokenizer, tokenizer_folder
from tests.making import LETTERS, SYLLABLES, TINY_SHAPE, VOCABULARY, write_pretrained

PAIR = SentencePair("남자가 책을 Read!", "비가 온다")
CONFIG = BertConfig(**TINY_SHAPE)
SPECIAL = VOCABULARY[:5]


def served(folder: Path, config: Any = CONFIG, rows: int = 10_000) -> Tokenizer:
    loaded = load_tokenizer(folder, config)
    made = served_tokenizer(loaded)
    lines = check_tokenizer(loaded, made, rows, folder.name)
    assert all("\n" not in line for line in lines)
    return made


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    tokenizer.encode_special_tokens = True
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


def write_vocabulary(folder: Path, words: list[str], **settings: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words]) + "\n", encoding="utf-8")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_a_vocabulary_alone_is_read_as_it_was_made(tmp_path: Path) -> None:
    stated = write_pretrained(tmp_path / "stated")
    expected = PairEncoder(served(stated), 64).encode([PAIR])
    assert 1 not in expected[0].input_ids  # nothing is unknown
    alone = write_pretrained(tmp_path / "alone")
    (alone / "tokenizer_config.json").unlink()
    assert PairEncoder(served(alone), 64).encode([PAIR]) == expected
    roberta = RobertaConfig(vocab_size=len(VOCABULARY))
    assert PairEncoder(served(alone, roberta), 64).encode([PAIR]) == expected
    # transformers itself would take each syllable apart.
    assert 1 in AutoTokenizer.from_pretrained(alone)(PAIR.premise)["input_ids"]


def test_a_vocabulary_without_capitals_is_of_lower_cased_text_with_whole_syllables(tmp_path: Path) -> None:
    tokenizer = served(write_vocabulary(tmp_path / "x", [*SYLLABLES, *"abcd", "##b"]))
    assert ids(tokenizer, "가 A") == ids(tokenizer, "가 a")
    assert 1 not in ids(tokenizer, "가 나 A")


def test_a_vocabulary_of_jamo_is_of_decomposed_text(tmp_path: Path) -> None:
    jamo = sorted({sign for each in SYLLABLES for sign in unicodedata.normalize("NFD", each)})
    words = [prefix + sign for prefix in ("", "##") for sign in (*jamo, *"abc")]
    tokenizer = served(write_vocabulary(tmp_path / "x", words))
    assert len(ids(tokenizer, "가")) == 2
    assert 1 not in ids(tokenizer, "가나 다")


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        ([*SYLLABLES, *LETTERS], {"do_lower_case": True}, "takes Hangul apart"),
        ([*SYLLABLES, *LETTERS], {"do_lower_case": False, "strip_accents": True}, "takes Hangul apart"),
        ([*"abcdefg"], {}, "has no Hangul"),
        ([], {}, "empty vocabulary"),
    ],
)
def test_what_cannot_be_right_is_refused(
    tmp_path: Path, words: list[str], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        served(write_vocabulary(tmp_path / "x", words, **settings))
    assert len(str(caught.value)) < 300


def test_more_tokens_than_the_model_knows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="has 215 tokens, the model 100" if len(VOCABULARY) == 215 else "tokens"
    ):
        served(write_pretrained(tmp_path / "x"), rows=100)


@pytest.mark.parametrize("how", ["special", "plain", "both"])
def test_added_tokens_are_tokens_and_control_tokens_are_text(tmp_path: Path, how: str) -> None:
    folder = write_pretrained(tmp_path / "x")
    tokenizer = BertTokenizer.from_pretrained(folder)
    names = ["[이름]", "[URL]", "<num>"]
    if how != "plain":
        tokenizer.add_special_tokens({"additional_special_tokens": names[:2]})
    if how != "special":
        tokenizer.add_tokens(names)
    tokenizer.save_pretrained(folder)
    made = served(folder)
    for name in names if how != "special" else names[:2]:
        (token_id,) = ids(made, name)
        assert token_id == tokenizer.convert_tokens_to_ids(name)
        assert ids(made, f"가{name}나").count(token_id) == 1
    for control in SPECIAL[2:] + SPECIAL[:1]:
        assert VOCABULARY.index(control) not in ids(made, f"가 {control} 나{control}")
    # As transformers encodes it, where no control token is typed.
    pair = SentencePair("[이름] 가 [URL] 나", "다[이름]")
    if how != "plain":
        (encoded,) = PairEncoder(made, 64).encode([pair])
        assert list(encoded.input_ids) == tokenizer(pair.premise, pair.hypothesis)["input_ids"]


@pytest.mark.parametrize("types", [True, False])
def test_the_inputs_that_a_tokenizer_names_are_honoured(tmp_path: Path, types: bool) -> None:
    names = ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"]
    folder = write_pretrained(tmp_path / "x")
    settings = {"do_lower_case": False, "model_input_names": names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (encoded,) = PairEncoder(served(folder), 64).encode([PAIR])
    assert set(encoded.token_type_ids) == ({0, 1} if types else {0})


def test_a_tokenizer_file_speaks_where_its_settings_are_missing(tmp_path: Path) -> None:
    folder = write_pretrained(tmp_path / "x")
    expected = PairEncoder(served(folder), 64).encode([PAIR])
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    (folder / "tokenizer_config.json").unlink()
    assert PairEncoder(served(folder), 64).encode([PAIR]) == expected


def test_a_vocabulary_without_a_separator_between_texts_is_refused(tmp_path: Path) -> None:
    folder = write_pretrained(tmp_path / "x")
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8"
    )
    with pytest.raises(ConfigurationError, match="puts no separator"):
        served(folder)


def test_settings_beside_the_weights_count_before_those_of_pretrained(tmp_path: Path) -> None:
    base, own = write_pretrained(tmp_path / "base"), write_pretrained(tmp_path / "own")
    assert tokenizer_folder(own, base) == own
    (own / "tokenizer_config.json").unlink()
    assert tokenizer_folder(own, base) == base
    (own / "tokenizer.json").touch()
    assert tokenizer_folder(own, base) == own


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model with KoBERT's control tokens, trained on a few sentences."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("pieces")
    text = [
        "남자가 책을 읽는다",
        "여자가 비를 맞지 않았다",
        "오늘은 날씨가 맑다",
        "나는 1,000 원이 있다",
        "A man reads",
    ] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_prefix=str(folder / "spiece"),
        vocab_size=90,
        pad_id=1,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        unk_piece="[UNK]",
        pad_piece="[PAD]",
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder / "spiece.model"


@pytest.mark.parametrize("maker", ["monologg", "SKT"])
@pytest.mark.parametrize("config", [CONFIG, DistilBertConfig()], ids=["bert", "distilbert"])
def test_kobert_is_read_as_its_own_tokenizer_reads_it(
    tmp_path: Path, pieces: Path, maker: str, config: Any
) -> None:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    names = [model.id_to_piece(index) for index in range(model.get_piece_size())]
    shutil.copy(pieces, tmp_path / ("tokenizer_78b3253a26.model" if maker == "monologg" else "spiece.model"))
    settings: dict[str, Any] = {"do_lower_case": False}
    if maker == "monologg":
        names = [*SPECIAL, *(name for name in names if name not in SPECIAL)]
        (tmp_path / "vocab.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    else:
        settings |= {"tokenizer_class": "XLNetTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        settings |= {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]", "keep_accents": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    encoder = PairEncoder(served(tmp_path, config), 64)
    for premise, hypothesis in (
        ("남자가  비를 읽는다", "날씨가 않았다 뷁"),
        ("A man 책을!", "1,000 원 나"),
    ):
        (encoded,) = encoder.encode([SentencePair(premise, hypothesis)])
        cls, sep = names.index("[CLS]"), names.index("[SEP]")
        texts = [
            [
                names.index(piece) if piece in names else names.index("[UNK]")
                for piece in model.encode(text, out_type=str)
            ]
            for text in (premise, hypothesis)
        ]
        assert list(encoded.input_ids) == [cls, *texts[0], sep, *texts[1], sep]
        assert encoded.token_type_ids[0] == 0
        assert encoded.token_type_ids[-1] == 1


def test_a_unigram_vocabulary_does_not_take_typed_control_tokens_for_its_own(tmp_path: Path) -> None:
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocabulary += [(sign, -3.0) for sign in dict.fromkeys([*SYLLABLES, *LETTERS])] + [("<mask>", 0.0)]
    XLMRobertaTokenizer(vocab=vocabulary).save_pretrained(tmp_path)
    made = served(tmp_path, RobertaConfig())
    for index, name in ((0, "<s>"), (2, "</s>"), (1, "<pad>"), (len(vocabulary) - 1, "<mask>")):
        assert index not in ids(made, f"가 {name} 나{name}다")
    assert ids(made, "가 나") == AutoTokenizer.from_pretrained(tmp_path)("가 나")["input_ids"][1:-1]


@pytest.mark.parametrize(
    ("config", "name", "controls"),
    [
        (XLMRobertaConfig(), "sentencepiece.bpe.model", {}),
        (CamembertConfig(), "sentencepiece.bpe.model", {}),
        (AlbertConfig(), "spiece.model", {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}),
        (DebertaV2Config(), "spm.model", {"pad_id": 0, "unk_id": 3, "bos_id": 1, "eos_id": 2}),
    ],
    ids=["xlm-roberta", "camembert", "albert", "deberta-v2"],
)
def test_a_sentencepiece_model_alone_is_read_as_sentencepiece_does(
    tmp_path: Path, config: Any, name: str, controls: dict[str, Any]
) -> None:
    import sentencepiece

    names: dict[str, Any] = {} if not controls else {"control_symbols": ["[CLS]", "[SEP]", "[MASK]"]}
    if controls.get("bos_id") == 1:
        names = {"bos_piece": "[CLS]", "eos_piece": "[SEP]", "pad_piece": "[PAD]", "unk_piece": "[UNK]"}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["남자가 책을 읽는다", "오늘은 날씨가 맑다", "a man reads 1,000"] * 20),
        model_prefix=str(tmp_path / "m"),
        vocab_size=80,
        hard_vocab_limit=False,
        minloglevel=2,
        **controls,
        **names,
    )
    (tmp_path / "m.model").rename(tmp_path / name)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / name))
    made = served(tmp_path, config)
    made.encode_special_tokens = True
    for text in ("남자가 책을 읽는다 뷁", "a man 1,000"):
        assert made.encode(text, add_special_tokens=False).tokens == model.encode(text, out_type=str)
