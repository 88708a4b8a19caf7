"""Java's properties format, read and written."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.torchserve.properties import read_settings, to_properties, unescape


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("/plain/path", "/plain/path"),
        ("/한글", "/\\ud55c\\uae00"),
        ("C:\\a", "C:\\\\a"),
        ("😀", "\\ud83d\\ude00"),
        ("é", "\\u00e9"),
        ("a b$%'\"", "a b$%'\""),
        ("two\nlines", "two\\nlines"),
    ],
)
def test_a_value_is_written_in_ascii_and_read_back(value: str, written: str) -> None:
    assert to_properties({"key": value}) == f"key={written}\n"
    pairs = unescape(written).encode("utf-16", "surrogatepass").decode("utf-16")
    assert pairs == value


def test_settings_are_read_without_comments(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text("# a=1\n\nb=2\nvmargs=-Da=b -Dc\n", encoding="utf-8")
    assert read_settings(file) == {"b": "2", "vmargs": "-Da=b -Dc"}
