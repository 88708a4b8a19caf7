"""Tables: columns that stand below each other, Hangul included."""

from __future__ import annotations

import unicodedata

from scripts.command_line.tables import markdown_table, text_table


def test_columns_are_aligned_as_asked() -> None:
    table = text_table([("label", "count"), ("neutral", "7"), ("", "120")], "<>")
    assert table.splitlines() == ["label    count", "neutral      7", "           120"]


def test_hangul_takes_two_columns_composed_or_not() -> None:
    rows = [("참", "1"), ("중립", "2"), (unicodedata.normalize("NFD", "중립"), "3"), ("abcd", "4")]
    lines = text_table(rows).splitlines()
    assert lines[0] == "참    1"
    assert lines[1] == "중립  2"
    assert unicodedata.normalize("NFC", lines[2]) == "중립  3"
    assert lines[3] == "abcd  4"


def test_markdown_has_a_rule_below_its_header() -> None:
    assert markdown_table(["", "a", "b"], [["x", "1", "2"]]) == "|  | a | b |\n|---|--:|--:|\n| x | 1 | 2 |"
