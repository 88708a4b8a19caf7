"""Ask a running service about one sentence pair, or about every pair of a file.

A file's rows come out in their order, with prediction, probabilities, truncated, model and error behind
their own columns. A run that was stopped, by Ctrl-C, by a lost service or by kill -9, goes on where it was
when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from handler.answer import KOREAN
from handler.request import SentencePair
from scripts.command_line.arguments import (
    add_topic_arguments,
    argument_parser,
    has_topics,
    positive_integer,
    run,
)
from scripts.pairs.classification import RETRIES, classify_file
from scripts.pairs.client import DEFAULT_URL, TOKEN, Client
from scripts.pairs.reader import PairFile
from scripts.pairs.topics import TEMPLATE, Topics

BAR = 40
"""Characters of a bar that stands for certainty."""


def format_answer(answer: dict[str, Any]) -> str:
    """An answer for the terminal: prediction, a bar for each label, what was cut, and who answered."""
    lines = [f"전제  {answer['premise']}", f"가설  {answer['hypothesis']}", f"→ {answer['prediction']}", ""]
    for label, probability in answer["probabilities"].items():
        # A Hangul syllable takes two columns, so padding counts the Latin name alone.
        name = f"{KOREAN[label]}{' ' * (4 - 2 * len(KOREAN[label]))} " if label in KOREAN else ""
        bar = "█" * round(probability * BAR)
        lines.append(f"  {name}{label:<14} {bar:<{BAR}} {probability:6.1%}")
    if answer["truncated"]:
        lines.append("  (the pair is longer than the model reads; its end was cut)")
    lines += _format_explanation(answer) if "explanation" in answer else []
    model = answer["model"]
    return "\n".join([*lines, "", f"  model {model['name']}, version {model['version']}"])


def _format_explanation(answer: dict[str, Any]) -> list[str]:
    """A line for each word: how much probability the prediction loses without it, or gains."""
    lines = ["", f"  what '{answer['label']}' loses without a word (a minus is a gain)"]
    explanation = answer["explanation"]
    for name, title in (("premise", "전제"), ("hypothesis", "가설")):
        for word in explanation[name]:
            bar = "█" * round(abs(word["weight"]) * BAR / 2)
            lines.append(f"  {title} {word['weight']:+6.1%} {bar:<{BAR // 2}} {word['text']}")
        if unread := explanation["unread_words"][name]:
            lines.append(f"  {title}        ({unread} more words, which the model doesn't read)")
    return lines


def main() -> int:
    """Read the arguments, ask, and print the answer or what a file's run has done."""
    parser = argument_parser(
        __doc__ or "",
        'python scripts/classify.py "아이가 공원에서 자전거를 탄다." "아이가 자전거를 타지 않는다."\n'
        "  python scripts/classify.py --input pairs.csv --output predictions.csv\n"
        "  python scripts/classify.py --input texts.csv --output topics.csv --labels 정치,경제,스포츠",
    )
    parser.add_argument("premise", nargs="?", help="전제")
    parser.add_argument("hypothesis", nargs="?", help="가설")
    parser.add_argument(
        "--url",
        default=DEFAULT_URL,
        help=f"default: {DEFAULT_URL}; ${TOKEN} holds its key, where it asks for one",
    )
    parser.add_argument(
        "--model", default="nli", help="name in the URL, NAME/VERSION to pin one (default: nli)"
    )
    parser.add_argument(
        "--explain", action="store_true", help="show how much each word speaks for the answer"
    )
    parser.add_argument("--json", action="store_true", help="print the answer as the service gave it")
    files = parser.add_argument_group("a whole file")
    files.add_argument(
        "--input",
        type=Path,
        help=".csv, .tsv, .txt, .jsonl or .json, also .gz; UTF-8 or as Korean Excel writes it",
    )
    files.add_argument("--output", type=Path, help=".csv or .jsonl")
    files.add_argument("--premise-column", metavar="NAME", help="default: premise, sentence1 or 전제")
    files.add_argument("--hypothesis-column", metavar="NAME", help="default: hypothesis, sentence2 or 가설")
    files.add_argument(
        "--concurrency", type=positive_integer, default=4, help="requests in flight (default: 4)"
    )
    files.add_argument("--force", action="store_true", help="start over, and replace the output")
    add_topic_arguments(parser, TEMPLATE)
    arguments = parser.parse_args()
    topics = None
    if has_topics(parser, arguments):
        topics = Topics.of(arguments.labels, arguments.template, arguments.multi)
    if arguments.input:
        if arguments.premise or not arguments.output or arguments.explain:
            parser.error("--input needs --output, no texts, and no --explain")
        return _classify_file(arguments, topics)
    if topics:
        parser.error("--labels needs --input and --output")
    if not arguments.hypothesis or arguments.output:
        parser.error("give a premise and a hypothesis, or --input and --output")
    with Client(arguments.url, arguments.model, os.environ.get(TOKEN)) as client:
        pair = SentencePair(arguments.premise, arguments.hypothesis)
        (answer,) = client.classify([pair], explain=arguments.explain)
    print(json.dumps(answer, ensure_ascii=False) if arguments.json else format_answer(answer))
    return 0


def _classify_file(arguments: argparse.Namespace, topics: Topics | None) -> int:
    if topics:
        source = PairFile.survey_texts(arguments.input, arguments.text_column)
    else:
        source = PairFile.survey(arguments.input, arguments.premise_column, arguments.hypothesis_column)
    with Client(
        arguments.url, arguments.model, os.environ.get(TOKEN), RETRIES, connections=arguments.concurrency
    ) as client:
        summary = classify_file(
            source, arguments.output, client, arguments.concurrency, arguments.force, topics
        )
    print(f"wrote {arguments.output}: {summary.to_text()}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
