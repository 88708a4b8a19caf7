"""The columns of an output: the input's, the prediction's, and none twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from scripts.pairs.output_layout import ADDED, OutputLayout, refuse_taken
from scripts.pairs.reader import PairFile


@pytest.mark.parametrize("label", ADDED)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_label_named_like_a_column_of_every_output_is_refused_by_name(
    tmp_path: Path, label: str, kind: str
) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("text\n비가 온다.\n", encoding="utf-8")
    source = PairFile.survey_texts(file, None)
    assert OutputLayout.of(tmp_path / f"o.{kind}", source, ("가", "나")).labels == ("가", "나")
    with pytest.raises(ConfigurationError, match=f"no label may be named '{label}'"):
        OutputLayout.of(tmp_path / f"o.{kind}", source, ("가", label))


@pytest.mark.parametrize("column", ["가", "error"])
def test_an_input_with_a_column_of_the_predictions_is_refused_by_name(column: str) -> None:
    with pytest.raises(ConfigurationError, match=f"already has a column {column}; rename it"):
        refuse_taken(Path("texts.csv"), ["text", column], ["가", "나"])
