"""Pack a converted checkpoint into a model archive (.mar) that any TorchServe can serve, offline."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch
import yaml

from handler.checkpoint import Checkpoint, Precision
from handler.encoding import PairEncoder
from handler.engine import load_engine
from handler.errors import ConfigurationError, InferenceFailed
from handler.request import SentencePair
from handler.settings import HandlerSettings
from scripts.command_line import argument_parser, run
from scripts.precision import Calibration, Gate, write_model

PROJECT = Path(__file__).resolve().parent.parent
MODEL_CONFIG = PROJECT / "config" / "model-config.yaml"

TORCHSERVE_KEYS = {"minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout"}
TORCHSERVE_KEYS |= {"startupTimeout", "maxRetryTimeoutInSec", "jobQueueSize", "deviceType", "deviceIds"}
"""The keys of TorchServe's own that `model-config.yaml` may hold; TorchServe ignores a misspelt one."""


def check_checkpoint(folder: Path) -> Checkpoint:
    """Load everything that a worker would load, and let it judge one pair.

    Raises:
        ConfigurationError: a file is missing, or the parts don't fit together.
    """
    checkpoint = Checkpoint.read(folder)
    encoder = PairEncoder.from_folder(folder, checkpoint.max_seq_length)
    engine = load_engine(checkpoint, torch.device("cpu"), threads=1)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if encoder.vocabulary_size > config["vocab_size"]:
        raise ConfigurationError(
            f"{folder}: the tokenizer has {encoder.vocabulary_size} tokens, the model {config['vocab_size']}"
        )
    (result,) = engine.probabilities(encoder.encode([SentencePair("비가 온다.", "날씨가 맑다.")]))
    if isinstance(result, InferenceFailed):
        raise ConfigurationError(f"{folder}: {result}")
    if len(result) != len(checkpoint.labels):
        raise ConfigurationError(f"{folder}: {len(checkpoint.labels)} labels, but {len(result)} outputs")
    return checkpoint


def check_model_config(file: Path) -> None:
    """Check `model-config.yaml`, of which TorchServe itself would only ignore what it doesn't know.

    Raises:
        ConfigurationError: it isn't YAML, or has an unknown key or a value out of range.
    """
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{file} can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ConfigurationError(f"{file} holds no settings")
    unknown = sorted(map(str, set(config) - TORCHSERVE_KEYS - {"handler"}))
    if unknown:
        raise ConfigurationError(f"{file}: unknown key {', '.join(unknown)}")
    for key in TORCHSERVE_KEYS & set(config) - {"deviceType", "deviceIds"}:
        if type(config[key]) is not int or config[key] < 1:
            raise ConfigurationError(f"{file}: {key} must be a whole number from 1")
    HandlerSettings.from_model_config(config)


def build_archive(
    checkpoint: Path,
    version: str,
    output: Path,
    model_name: str = "nli",
    model_config: Path = MODEL_CONFIG,
    force: bool = False,
    precision: Precision = "fp32",
    calibration: Calibration | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> Path:
    """Check the checkpoint and pack it with the handler.

    torch-model-archiver lays out the archive; the zip is then written here, with sorted entries, fixed times
    and without the manifest's creation time, so that the same input gives the same bytes.

    Raises:
        ConfigurationError: the checkpoint or the settings are unfit, or `output` exists and `force` is
            not set; no archive is left then.
    """
    if output.exists() and not force:
        raise ConfigurationError(f"{output} exists already; --force overwrites it")
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        raise ConfigurationError(f"version must be numbers and dots, such as 1.0, not {version!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", model_name):
        raise ConfigurationError(f"model name must be letters, digits, '_', '.' and '-', not {model_name!r}")
    check_model_config(model_config)
    checked = check_checkpoint(checkpoint)
    output.parent.mkdir(parents=True, exist_ok=True)
    # The archiver stages in $TMPDIR/<model name>, which two builds must not share.
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".archive-") as name:
        staging = Path(name)
        code = staging / "code" / "handler"
        code.mkdir(parents=True)
        for module in sorted((PROJECT / "handler").iterdir()):
            if module.is_file() and module.name != "service.py":
                shutil.copy(module, code)
        served = staging / "served"
        served.mkdir()
        write_model(checked, precision, served, calibration, report)
        files = [str(code.parent), *(str(file) for file in sorted(served.iterdir()))]
        command = [sys.executable, "-m", "model_archiver.model_packaging", "--archive-format", "no-archive"]
        command += ["--model-name", model_name, "--version", version, "--export-path", str(staging)]
        command += ["--handler", str(PROJECT / "handler" / "service.py"), "--config-file", str(model_config)]
        command += ["--extra-files", ",".join(files)]
        scratch = staging / "tmp"
        scratch.mkdir()
        archiver = subprocess.run(
            command, env=os.environ | {"TMPDIR": str(scratch)}, capture_output=True, text=True, check=False
        )
        if archiver.returncode:
            reason = archiver.stderr.strip().splitlines()[-1:] or ["no message"]
            raise ConfigurationError(f"torch-model-archiver failed: {reason[0]}")
        packed = staging / output.name
        _write_archive(staging / model_name, packed)
        packed.replace(output)
    return output


def _write_archive(folder: Path, output: Path) -> None:
    """Zip a laid-out archive reproducibly; weights, which hardly compress, are stored as they are."""
    manifest = folder / "MAR-INF" / "MANIFEST.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content.pop("createdOn")
    manifest.write_text(json.dumps(content, indent=2), encoding="utf-8")
    with zipfile.ZipFile(output, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())
            entry.external_attr = 0o644 << 16
            weights = file.suffix in {".safetensors", ".bin"}
            entry.compress_type = zipfile.ZIP_STORED if weights else zipfile.ZIP_DEFLATED
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 2**20)


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
        help="your own pairs, with or without labels: int8 needs it",
    )
    parser.add_argument(
        "--validation",
        type=Path,
        metavar="FILE",
        help="pairs to measure int8 on (default: part of --calibration)",
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
    parser.add_argument("--force-precision", action="store_true", help="build int8 even where it is refused")
    parser.add_argument("--force", action="store_true", help="overwrite the archive")
    arguments = parser.parse_args()
    gate = Gate(arguments.max_accuracy_drop, arguments.min_agreement)
    calibration = arguments.calibration and Calibration(
        arguments.calibration, arguments.validation, gate, arguments.force_precision
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
        calibration,
        print,
    )
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
