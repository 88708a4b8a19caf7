"""Measure topics on labelled sets that lie beside the project: `python -m tests.measure_topics CHECKPOINT`.

Prints rows of the table in docs/topics.md. 600 rows of each set are drawn with a fixed seed.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from handler.request import SentencePair
from scripts import PROJECT
from scripts.command_line.tables import markdown_table
from scripts.pairs.evaluation import evaluate_checkpoint
from scripts.pairs.labelled import LabelledPair
from scripts.pairs.topics import TEMPLATE, Topics

DATA = PROJECT.parent / "shared" / "data"
ROWS = 600
HEADER = ("set", "labels", "template", "accuracy", "chance", "always the most frequent")


@dataclass(frozen=True)
class LabelledSet:
    """A file whose rows have a number for each label, and the words for those numbers."""

    file: str
    text: int
    label: int
    labels: str
    template: str = TEMPLATE

    def rows(self) -> Iterator[list[str]]:
        with (DATA / self.file).open(encoding="utf-8-sig", newline="") as file:
            if self.file.endswith(".csv"):
                yield from list(csv.reader(file))[1:]
            else:
                yield from (line.rstrip("\n").split("\t") for line in file)

    def sample(self) -> list[LabelledPair]:
        rows = [row for row in self.rows() if row[self.text].strip()]
        drawn = Random(0).sample(rows, min(ROWS, len(rows)))
        return [
            LabelledPair(SentencePair(row[self.text], row[self.text]), row[self.label], self.file)
            for row in drawn
        ]


SETS = [
    LabelledSet("chatbot-data.csv", 0, 2, "일상,이별,사랑"),
    LabelledSet("paraKQC_v1.txt", 2, 0, "메일,일정,집안 기기,날씨"),
    LabelledSet(
        "3i4k-fci.txt",
        1,
        0,
        "단어 조각,설명,질문,명령,수사적 질문,수사적 명령,억양에 따라 뜻이 다른 말",
        "이 말은 {}이다.",
    ),
]


def main() -> None:
    rows = []
    for each in SETS:
        topics = Topics.of(each.labels, each.template)
        found = evaluate_checkpoint(Path(sys.argv[1]), each.sample(), topics=topics)
        figures = (found.accuracy, 1 / len(topics.labels), found.most_frequent)
        rows.append((each.file, each.labels, each.template, *(f"{figure:.1%}" for figure in figures)))
        print(found.to_text(), file=sys.stderr)
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    main()
