"""Ask a running service about one sentence pair, and show its verdict with bars."""

from __future__ import annotations

import json
import sys
from typing import Any

from handler.answer import KOREAN
from handler.request import SentencePair
from scripts.client import DEFAULT_URL, Client
from scripts.command_line import argument_parser, run

BAR = 40
"""Characters of a bar that stands for certainty."""


def format_answer(answer: dict[str, Any]) -> str:
    """An answer for the terminal: verdict, a bar for each label, what was cut, and who answered."""
    lines = [f"전제  {answer['premise']}", f"가설  {answer['hypothesis']}", f"→ {answer['prediction']}", ""]
    for label, probability in answer["probabilities"].items():
        # A Hangul syllable takes two columns, so padding counts the Latin name alone.
        name = f"{KOREAN[label]}{' ' * (4 - 2 * len(KOREAN[label]))} " if label in KOREAN else ""
        bar = "█" * round(probability * BAR)
        lines.append(f"  {name}{label:<14} {bar:<{BAR}} {probability:6.1%}")
    if answer["truncated"]:
        lines.append("  (the pair is longer than the model reads; its end was cut)")
    model = answer["model"]
    return "\n".join([*lines, "", f"  model {model['name']}, version {model['version']}"])


def main() -> int:
    """Read the arguments, ask, and print the answer."""
    parser = argument_parser(
        __doc__ or "", 'python scripts/classify.py "한 남자가 기타를 치고 있다." "남자가 악기를 연주한다."'
    )
    parser.add_argument("premise", help="전제")
    parser.add_argument("hypothesis", help="가설")
    parser.add_argument("--url", default=DEFAULT_URL, help=f"default: {DEFAULT_URL}")
    parser.add_argument(
        "--model", default="nli", help="name in the URL, NAME/VERSION to pin one (default: nli)"
    )
    parser.add_argument("--token", help="TorchServe's inference key, where the service asks for one")
    parser.add_argument("--json", action="store_true", help="print the answer as the service gave it")
    arguments = parser.parse_args()
    with Client(arguments.url, arguments.model, arguments.token) as client:
        (answer,) = client.classify([SentencePair(arguments.premise, arguments.hypothesis)])
    print(json.dumps(answer, ensure_ascii=False) if arguments.json else format_answer(answer))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
