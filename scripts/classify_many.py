"""Classify folders of Parquet, CSV or JSON files on every core of this machine or of a Ray cluster.

Each file of the output is one fragment of the input, with the columns that classify.py writes, and appears
when it is complete. A run goes on where lost actors or machines leave it. One that was stopped goes on when
the same command is given again: no row is written twice or lost. A changed input or another archive is
refused.
"""

from __future__ import annotations

import sys

from handler.errors import ConfigurationError
from scripts.command_line.arguments import argument_parser, positive_integer, run


def main() -> int:
    """Read the arguments, classify or check, and print what the output holds."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/classify_many.py --archive model_store/nli-1.0.mar --input pairs --output out",
    )
    where = "a folder, or a URL that fsspec opens, such as s3://bucket/pairs"
    parser.add_argument("--archive", required=True, help="as build_archive.py makes it; a path or a URL")
    parser.add_argument("--input", required=True, metavar="PREFIX", help=where)
    parser.add_argument(
        "--output", required=True, metavar="PREFIX", help="the same; gets manifest.json and parts/"
    )
    parser.add_argument(
        "--address",
        metavar="HOST",
        help="head of a Ray cluster, HOST[:PORT], or auto inside it (default: this machine alone)",
    )
    parser.add_argument(
        "--workers", type=positive_integer, help="actors, of one core each (default: one on every core)"
    )
    parser.add_argument("--premise-column", metavar="NAME", help="default: premise, sentence1 or 전제")
    parser.add_argument("--hypothesis-column", metavar="NAME", help="default: hypothesis, sentence2 or 가설")
    parser.add_argument("--check", action="store_true", help="hold a finished output against its input")
    arguments = parser.parse_args()
    try:
        from scripts.bulk.place import folder_at
        from scripts.bulk.run import classify_many
    except ImportError as error:
        raise ConfigurationError(f"{error.name} isn't installed; scripts/setup bulk installs it") from None
    summary = classify_many(
        arguments.archive,
        folder_at(arguments.input),
        folder_at(arguments.output),
        arguments.address,
        arguments.workers,
        (arguments.premise_column, arguments.hypothesis_column),
        arguments.check,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(f"{'checked' if arguments.check else 'wrote'} {arguments.output}: {summary.to_text()}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
