"""Pack a converted checkpoint into a model archive (.mar) that any TorchServe can serve, offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

from handler.checkpoint import Precision
from scripts import PROJECT
from scripts.command_line.arguments import argument_parser, run
from scripts.model.archive import MODEL_CONFIG, build_archive
from scripts.model.gate import Gate


def main() -> int:
    """Read the arguments, build, and say what was built."""
    parser = argument_parser(
        __doc__ or "", "python scripts/build_archive.py --checkpoint checkpoints/kcbert-nli --version 1.0"
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder from convert_checkpoint.py")
    parser.add_argument("--version", required=True, help="version under which it is served, such as 1.0")
    parser.add_argument("--model-name", default="nli", help="name in the URL (default: nli)")
    parser.add_argument("--output", type=Path, help="default: model_store/MODEL_NAME-VERSION.mar")
    parser.add_argument(
        "--model-config", type=Path, default=MODEL_CONFIG, help="default: config/model-config.yaml"
    )
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="fp32",
        help="fp32 answers as the checkpoint does (default); bf16 and int8 are faster; fp16 is for a GPU",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="your own pairs, with or without labels, for a faster int8 (needs scripts/setup build)",
    )
    parser.add_argument(
        "--validation",
        type=Path,
        metavar="FILE",
        help="pairs to measure int8 on (default: part of --calibration, or none)",
    )
    parser.add_argument(
        "--max-accuracy-drop",
        type=float,
        default=Gate.max_accuracy_drop,
        metavar="POINTS",
        help="int8 that loses more is refused (0.5)",
    )
    parser.add_argument(
        "--min-agreement",
        type=float,
        default=Gate.min_agreement,
        metavar="PERCENT",
        help="int8 that agrees with fp32 on fewer pairs is refused (98)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the archive")
    arguments = parser.parse_args()
    if arguments.precision != "int8" and (arguments.calibration or arguments.validation):
        parser.error("--calibration and --validation are for --precision int8")
    if arguments.precision == "int8" and not (arguments.calibration or arguments.validation):
        print("int8 without pairs: it is not compared with fp32 (--validation FILE does)")
    gate = Gate(
        arguments.calibration, arguments.validation, arguments.max_accuracy_drop, arguments.min_agreement
    )
    output = arguments.output or PROJECT / "model_store" / f"{arguments.model_name}-{arguments.version}.mar"
    build_archive(
        arguments.checkpoint,
        arguments.version,
        output,
        arguments.model_name,
        arguments.model_config,
        arguments.force,
        arguments.precision,
        gate,
        print,
    )
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
