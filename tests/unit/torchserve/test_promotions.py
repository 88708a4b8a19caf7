"""What is remembered of promotions."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.torchserve.management import Management, OperationError
from scripts.torchserve.promotions import Promotion, Promotions

FIRST = Promotion("1.0", "2.0")


def promotions(file: Path, model: str = "nli") -> Promotions:
    return Promotions(file, Management("http://127.0.0.1:1", model))


def test_the_last_promotion_of_each_model_is_remembered(tmp_path: Path) -> None:
    file = tmp_path / "new" / "promotions.json"
    assert promotions(file).last() is None
    promotions(file).remember(FIRST)
    promotions(file, "other").remember(Promotion("7.0", "8.0"))
    assert promotions(file).last() == FIRST
    promotions(file).remember(None)
    assert promotions(file).last() is None
    assert promotions(file, "other").last() == Promotion("7.0", "8.0")


@pytest.mark.parametrize("content", ["", "[]", "no json", '{"http://127.0.0.1:1/models/nli": {"x": 1}}'])
def test_a_damaged_file_holds_nothing(tmp_path: Path, content: str) -> None:
    file = tmp_path / "promotions.json"
    file.write_text(content, encoding="utf-8")
    assert promotions(file).last() is None
    promotions(file).remember(FIRST)
    assert promotions(file).last() == FIRST


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperationError, match=r"can't be remembered in .* with --folder"):
        promotions(tmp_path / "file" / "promotions.json").remember(FIRST)
