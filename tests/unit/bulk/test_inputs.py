"""The input becomes fragments that hold each row once, in order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.bulk.inputs import InputFile, cut, refuse_mixture
from scripts.pairs.text_file import DataError


def parquet(name: str, *sizes: int) -> InputFile:
    return InputFile(name, "0", sum(sizes), ("a: string",), "a", "b", ".parquet", sizes)


def test_row_groups_are_joined_up_to_the_largest_size_and_never_cut() -> None:
    files = [parquet("1", 4, 4, 4, 30, 1, 0), parquet("2"), parquet("3", 10)]
    found = [(each.source, each.row_groups, each.rows) for each in cut(files, largest=10)]
    assert found == [
        ("1", (0, 2), 8),
        ("1", (2, 3), 4),
        ("1", (3, 4), 30),
        ("1", (4, 6), 1),
        ("3", (0, 1), 10),
    ]


def test_the_names_of_parts_sort_as_their_rows_follow_each_other() -> None:
    fragments = cut([parquet("many", *[1] * 100_001)], largest=1)
    parts = [each.part for each in fragments]
    assert parts == sorted(parts)
    assert len(set(parts)) == 100_001
    assert parts[0] == "parts/part-000000.parquet"


def test_a_file_of_text_is_one_fragment_whatever_its_size() -> None:
    text = InputFile("a.csv", "0", 1_000_000, ("a", "b"), "a", "b", ".csv")
    assert [(each.row_groups, each.rows) for each in cut([text], largest=10)] == [(None, 1_000_000)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": ".csv"}, "kinds"),
        ({"columns": ("a: string", "c: int64")}, "columns"),
        ({"premise": "c"}, "--premise-column"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(changes: dict[str, object], said: str) -> None:
    one = parquet("1", 4)
    refuse_mixture([one, replace(one, name="2")])
    with pytest.raises(DataError, match=said):
        refuse_mixture([one, replace(one, **changes)])  # type: ignore[arg-type]
