"""Every combination of container, prefix and extra content gives the same weights."""

from __future__ import annotations

import enum
import json
import pickle
import re
import sys
import types
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification

from handler.errors import ConfigurationError
from scripts.model.fitting import fit, own_names
from scripts.model.unpickling import read_pickle
from scripts.model.weights import read_weights
from tests.making import TINY_SHAPE, random_weights

Weights = dict[str, torch.Tensor]
CONFIG = BertConfig.from_dict({**TINY_SHAPE, "num_labels": 3})


@pytest.fixture(scope="module")
def weights(pretrained: Path) -> Weights:
    return random_weights(pretrained)


@pytest.fixture
def foreign() -> Iterator[types.ModuleType]:
    """A module whose classes a checkpoint mentions, and which is gone when the checkpoint is read."""
    module = types.ModuleType("somebodys_training")

    class AttributeDict(dict[str, Any]):
        """As Lightning's."""

    class Mode(enum.Enum):
        FAST = 1

    class Settings:
        def __init__(self) -> None:
            self.path, self.rates = Path("data"), np.array([1e-5, 2e-5])

    for each in (AttributeDict, Mode, Settings):
        each.__module__, each.__qualname__ = module.__name__, each.__name__
        setattr(module, each.__name__, each)
    sys.modules[module.__name__] = module
    yield module
    sys.modules.pop(module.__name__, None)


def no_extras(_: types.ModuleType) -> dict[str, Any]:
    return {}


def hyper_parameters(module: types.ModuleType) -> dict[str, Any]:
    """Whatever people keep beside weights."""
    return {
        "hyper_parameters": module.AttributeDict(
            path=Path("/data"),
            mode=module.Mode.FAST,
            rate=np.float64(5e-5),
            table=np.zeros(3),
            settings=module.Settings(),
            config=BertConfig(),
            arguments=Namespace(seed=7, device=torch.device("cpu"), size=torch.Size([2]), kind=torch.float16),
            hook=json.dumps,
            tags={"a", "b"},
        ),
        "callbacks": {module.Settings: {"best": torch.tensor(0.5)}},
    }


EXTRAS: dict[str, Callable[[types.ModuleType], dict[str, Any]]] = {
    "alone": no_extras,
    "hyper-parameters": hyper_parameters,
}
PREFIXES = [
    "",
    "model.",
    "module.",
    "_orig_mod.",
    "model._orig_mod.",
    "module.model.",
    "_orig_mod.module.",
    "net.",
]
BESIDE: dict[str, Weights] = {
    "nothing": {},
    "a loss": {"loss.weight": torch.ones(3), "criterion.weight": torch.ones(3)},
    "position ids": {"{}bert.embeddings.position_ids": torch.arange(80)[None]},
}


def lightning(content: Weights, extras: dict[str, Any], file: Path, zipped: bool) -> Path:
    whole = {"state_dict": content, "pytorch-lightning_version": "1.3.4", "optimizer_states": [], **extras}
    torch.save(whole, file, _use_new_zipfile_serialization=zipped)
    return file


def sharded(content: Weights, file: Path, save: Callable[[Weights, Path], object]) -> Path:
    names = sorted(content)
    stem, suffix = file.name.split(".", 1)
    where: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        shard = f"{stem}-{number:05}-of-00002.{suffix}"
        save({name: content[name] for name in part}, file.parent / shard)
        where |= dict.fromkeys(part, shard)
    index = file.with_name(f"{file.name}.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}), encoding="utf-8")
    return index


def old_names(content: Weights) -> Weights:
    return {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in content.items()
    }


CONTAINERS: dict[str, Callable[[Weights, dict[str, Any], Path], Path]] = {
    "ckpt": lambda content, extras, folder: lightning(content, extras, folder / "a.ckpt", zipped=True),
    "old ckpt": lambda content, extras, folder: lightning(content, extras, folder / "b.ckpt", zipped=False),
    "bin": lambda content, _, folder: save(content, folder / "pytorch_model.bin"),
    "old bin": lambda content, _, folder: save(content, folder / "old.bin", False),
    "loop": lambda content, extras, folder: save(
        {"model_state_dict": content, "step": 3, **extras}, folder / "l.pt"
    ),
    "safetensors": lambda content, _, folder: save_safe(content, folder / "model.safetensors"),
    "sharded safetensors": lambda content, _, folder: sharded(
        content, folder / "model.safetensors", save_safe
    ),
    "sharded bin": lambda content, _, folder: sharded(content, folder / "pytorch_model.bin", save),
}


def save(content: dict[str, Any], file: Path, zipped: bool = True) -> Path:
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file


def save_safe(content: Weights, file: Path) -> Path:
    save_file({name: value.clone() for name, value in content.items()}, file)
    return file


@pytest.mark.parametrize("extras", EXTRAS.values(), ids=EXTRAS)
@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_every_container_prefix_and_extra_gives_the_same_weights(
    weights: Weights,
    foreign: types.ModuleType,
    tmp_path: Path,
    container: Callable[[Weights, dict[str, Any], Path], Path],
    extras: Callable[[types.ModuleType], dict[str, Any]],
) -> None:
    for prefix in PREFIXES:
        for beside in BESIDE.values():
            for rename in (dict, old_names):
                content = {prefix + name: value for name, value in rename(weights).items()}
                content |= {name.format(prefix): value for name, value in beside.items()}
                sys.modules[foreign.__name__] = foreign
                file = container(content, extras(foreign), tmp_path)
                del sys.modules[foreign.__name__]
                found = own_names(read_weights(file).tensors, set(weights))
                assert found.weights.keys() == weights.keys(), (prefix, list(beside))
                assert all(torch.equal(found.weights[name], weights[name]) for name in weights)
                assert foreign.__name__ not in sys.modules


def test_a_whole_pickled_model_is_read_by_its_state(weights: Weights, tmp_path: Path) -> None:
    model = BertForSequenceClassification(CONFIG)
    model.load_state_dict(weights)
    for zipped in (True, False):
        file = save({"model": model} if zipped else model, tmp_path / "model.pt", zipped)  # type: ignore[arg-type]
        fitted = fit(read_weights(file).tensors, CONFIG).weights
        assert all(torch.equal(fitted[name], weights[name]) for name in weights)


def test_half_precision_becomes_float32_and_integers_are_refused(weights: Weights, tmp_path: Path) -> None:
    half = {name: value.half() for name, value in weights.items()}
    assert fit(half, CONFIG).weights["classifier.weight"].dtype == torch.float32
    quantized = weights | {"classifier.weight": weights["classifier.weight"].to(torch.int8)}
    with pytest.raises(ConfigurationError, match="as quantized weights do"):
        fit(quantized, CONFIG)
    damaged = weights | {"classifier.bias": torch.full((3,), torch.nan)}
    with pytest.raises(ConfigurationError, match=r"classifier\.bias is not finite"):
        fit(damaged, CONFIG)


def test_of_two_models_the_usual_name_counts_and_else_none(weights: Weights) -> None:
    def both(first: str, second: str) -> Weights:
        other = {first + name: value + 1 for name, value in weights.items()}
        return other | {second + name: value for name, value in weights.items()}

    found = own_names(both("ema_model.", "model."), set(weights)).weights
    assert torch.equal(found["classifier.bias"], weights["classifier.bias"])
    with pytest.raises(ConfigurationError, match=r"several models \(student\., teacher\.\)"):
        own_names(both("student.", "teacher."), set(weights))


class Trap:
    """Pickles as a call of a function in a foreign module, then as everything that can follow a call."""

    def __init__(self, function: Callable[[str], object]) -> None:
        self.function = function

    def __reduce_ex__(self, _: object) -> Any:
        return self.function, ("reduce",), {"state": 1}, iter([1, 2]), iter([("key", 3)])


class Called(list[Any]):
    """What the trap's function gives; each step of the pickle leaves a mark."""

    marks: ClassVar[list[str]] = []

    def __init__(self, mark: str) -> None:
        super().__init__()
        self.marks.append(mark)

    def __setstate__(self, _: object) -> None:
        self.marks.append("state")

    def __setitem__(self, *_: Any) -> None:
        self.marks.append("item")


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_that_a_pickle_calls_is_called(
    tmp_path: Path, foreign: types.ModuleType, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    monkeypatch.setattr(Called, "__module__", foreign.__name__)
    foreign.Called = Called  # type: ignore[attr-defined]
    trap = Trap(Called)
    file = save({"trap": trap, "state_dict": {"x": torch.ones(2)}}, tmp_path / "x.ckpt", zipped)
    Called.marks.clear()
    pickle.loads(pickle.dumps(trap))
    assert Called.marks == ["reduce", "item", "state"]  # the trap works
    Called.marks.clear()
    content = read_pickle(file)
    assert torch.equal(content["state_dict"]["x"], torch.ones(2))
    assert not Called.marks
    monkeypatch.undo()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "nt.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.exec",
        "runpy.run_path",
    ],
)
def test_a_file_made_to_run_code_is_refused_by_name(tmp_path: Path, name: str) -> None:
    module, function = name.split(".")
    pickled = f"c{module}\n{function}\n(S'true'\ntR.".encode()
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3")
    with pytest.raises(ConfigurationError, match=rf"refused: its pickle refers to {re.escape(name)}"):
        read_pickle(tmp_path / "x.ckpt")


def test_a_pickle_cannot_change_what_rebuilds_tensors(tmp_path: Path) -> None:
    # c… names the function, } an empty state, b sets it as the function's attributes.
    pickled = b"ctorch._utils\n_rebuild_tensor_v2\n}S'__defaults__'\nNsb."
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3")
    before = vars(torch._utils._rebuild_tensor_v2), torch._utils._rebuild_tensor_v2.__defaults__
    read_pickle(tmp_path / "x.ckpt")
    assert (vars(torch._utils._rebuild_tensor_v2), torch._utils._rebuild_tensor_v2.__defaults__) == before
