"""Packing a converted checkpoint and the handler into a model archive."""

from __future__ import annotations

import hashlib
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

import numpy as np
import torch
import yaml

from handler.batcher import MAX_BATCH_TOKENS, EvenBatcher
from handler.checkpoint import Checkpoint, Precision
from handler.encoding import PairEncoder
from handler.errors import ConfigurationError, one_line
from handler.request import SentencePair
from handler.settings import HandlerSettings
from handler.torch_model import TorchModel
from scripts import CONFIG, PROJECT
from scripts.model.precision import Calibration, write_model
from scripts.model.weights import sha256_of

MODEL_CONFIG = CONFIG / "model-config.yaml"

FINGERPRINT_DIGITS = 12
"""Of a fingerprint in an archive's name: enough that no two of a model store's archives meet by chance."""

CREATED_ON = "01/01/1980 00:00:00"
"""Creation time in every manifest: of the file's real one the bytes would depend."""

BATCH_SIZES = {"small": 32, "large": 100}
"""Requests that a worker takes at once where `model-config.yaml` states no `batchSize`. A large model's only
worker sees all that can wait (`job_queue_size`) and refuses what it can't answer in time. Several workers of
a small model share the queue, which one of them would else take whole."""

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
    model = TorchModel(folder, torch.device("cpu"), threads=1)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if encoder.vocabulary_size > config["vocab_size"]:
        raise ConfigurationError(
            f"{folder}: the tokenizer has {encoder.vocabulary_size} tokens, the model {config['vocab_size']}"
        )
    (batch,) = EvenBatcher(checkpoint.pad_token_id, MAX_BATCH_TOKENS, checkpoint.max_seq_length).batches(
        encoder.encode([SentencePair("비가 온다.", "날씨가 맑다.")])
    )
    try:
        logits = model.logits(batch.inputs)
    except Exception as error:  # each architecture fails in its own way
        raise ConfigurationError(f"{folder}: the model fails on a pair: {one_line(error)}") from None
    if not np.isfinite(logits).all():
        raise ConfigurationError(f"{folder}: the model's answer is not finite")
    if logits.shape[1] != len(checkpoint.labels):
        raise ConfigurationError(f"{folder}: {len(checkpoint.labels)} labels, but {logits.shape[1]} outputs")
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
    also in the manifest, so that the same input gives the same bytes.

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
        code = staging / "project" / "handler"
        for file in (PROJECT / "handler").rglob("*.*"):  # without modes: the project may be read-only
            if "__pycache__" not in file.parts and file.name != "service.py":
                target = code / file.relative_to(PROJECT / "handler")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        served = staging / "served"
        served.mkdir()
        write_model(checked, precision, served, calibration, report)
        # Relative, because a comma in a path would separate two.
        files = [str(file.relative_to(staging)) for file in (code.parent, *sorted(served.iterdir()))]
        command = [sys.executable, "-m", "model_archiver.model_packaging", "--archive-format", "no-archive"]
        command += ["--model-name", model_name, "--version", version, "--export-path", "."]
        command += ["--handler", str(PROJECT / "handler" / "service.py")]
        command += [
            "--config-file",
            str(_complete(model_config, checked.small, staging / "config").resolve()),
        ]
        command += ["--extra-files", ",".join(files)]
        scratch = staging / "tmp"
        scratch.mkdir()
        environment = os.environ | {"TMPDIR": str(scratch.resolve())}
        archiver = subprocess.run(
            command, cwd=staging, env=environment, capture_output=True, text=True, check=False
        )
        if archiver.returncode:
            reason = archiver.stderr.strip().splitlines()[-1:] or ["no message"]
            raise ConfigurationError(f"torch-model-archiver failed: {reason[0][:200]}")
        packed = staging / output.name
        _write_archive(staging / model_name, packed)
        packed.replace(output)
    return output


def _complete(model_config: Path, small: bool, folder: Path) -> Path:
    """A copy of the settings in a new folder, with a batch size that suits the model if they state none."""
    settings = model_config.read_text(encoding="utf-8")
    if "batchSize" not in yaml.safe_load(settings):
        settings += f"\nbatchSize: {BATCH_SIZES['small' if small else 'large']}\n"
    folder.mkdir()
    copy = folder / model_config.name
    copy.write_text(settings, encoding="utf-8")
    return copy


def archive_of(
    checkpoint: Path,
    store: Path,
    report: Callable[[str], object] = lambda _: None,
    precision: Precision = "fp32",
) -> Path:
    """The archive of a checkpoint in a model store, built where there is none of exactly this content.

    The file's name ends with the first digits of `fingerprint`, so two checkpoints never share an archive,
    and a change of the checkpoint, the handler or the settings asks for another one, whatever the files'
    times say.

    Raises:
        ConfigurationError: the checkpoint is unfit to be served.
    """
    if not (checkpoint / "config.json").is_file():
        raise ConfigurationError(f"{checkpoint} is not a converted checkpoint: it has no config.json")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", checkpoint.resolve().name)[:60]
    kind = "" if precision == "fp32" else f"-{precision}"
    archive = store / f"nli-{name}{kind}-{fingerprint(checkpoint)[:FINGERPRINT_DIGITS]}.mar"
    if not archive.exists():
        report(f"building {archive.name} from {checkpoint} ...")
        build_archive(checkpoint, "1.0", archive, force=True, precision=precision)
    return archive


def fingerprint(checkpoint: Path) -> str:
    """SHA-256 over the names and contents of all that an archive is made from, as 64 hexadecimal digits."""
    sources = [("model-config.yaml", MODEL_CONFIG)]
    for role, folder in (("checkpoint", checkpoint), ("handler", PROJECT / "handler")):
        files = [file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        sources += [(f"{role}/{file.relative_to(folder).as_posix()}", file) for file in files]
    digest = hashlib.sha256()
    for name, file in sorted(sources):
        digest.update(f"{name}\0{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _write_archive(folder: Path, output: Path) -> None:
    """Zip a laid-out archive reproducibly; weights, which hardly compress, are stored as they are."""
    manifest = folder / "MAR-INF" / "MANIFEST.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["createdOn"] = CREATED_ON
    manifest.write_text(json.dumps(content, indent=2), encoding="utf-8")
    with zipfile.ZipFile(output, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())
            entry.external_attr = 0o644 << 16
            weights = file.suffix in {".safetensors", ".bin"}
            entry.compress_type = zipfile.ZIP_STORED if weights else zipfile.ZIP_DEFLATED
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 2**20)
