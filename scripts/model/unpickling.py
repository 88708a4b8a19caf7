"""Reading what `torch.save` wrote without importing or calling anything that the file names."""

from __future__ import annotations

import pickle
import re
import types
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from handler.errors import ConfigurationError, one_line

RUNNERS = re.compile(
    r"(posix|nt|subprocess|pty|runpy|commands)\..*"
    r"|os\.(system|popen|exec|spawn|posix_spawn|remove|unlink|rename|kill).*"
    r"|(builtins|__builtin__)\.(eval|exec|execfile|compile|__import__|open)"
)
"""What runs code or touches files. No checkpoint refers to it, so a file that does was made to do harm."""


class Inert(dict[Any, Any]):
    """Stands in for every class, function and object that isn't a tensor; holds what a mapping would hold.

    A pickle calls it, sets its items and gives it a state; nothing of that runs code of the file.
    """

    state: Any = None
    dump_patches = False  # torch asks this of a module whose source the file holds

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *_: Any, **__: Any) -> Inert:
        """Give another inert value."""
        return Inert()

    def __hash__(self) -> int:  # type: ignore[override]  # a class may be the key of a dict
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def append(self, _: Any) -> None:
        """Take an item of a list; it isn't kept."""

    add = extend = append


class _Permitted:
    """A function that builds tensors from what was already read; a pickle can call it and nothing else."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, _: Any) -> None:
        """Refuse to be changed, silently: a state that isn't a tensor's doesn't matter."""


def _rebuild_from_type(function: Any, _: Any, arguments: tuple[Any, ...], __: Any) -> Any:
    """A tensor with attributes, without the attributes."""
    return function(*arguments)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


PERMITTED: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": torch._utils._rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
}
DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}


class _Unpickler(pickle.Unpickler):
    """Maps every name in a file to what is permitted, and else to something inert."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if RUNNERS.fullmatch(full):
            raise ConfigurationError(f"its pickle refers to {full}, which no checkpoint needs")
        if full in PERMITTED:
            return _Permitted(PERMITTED[full])
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        # A class, which some opcodes ask for; a new one, so that no file changes another's.
        return type("Inert", (Inert,), {})


def _load(file: IO[bytes], **arguments: Any) -> Any:
    return _Unpickler(file, **arguments).load()


_PICKLE = types.SimpleNamespace(__name__="inert", Unpickler=_Unpickler, load=_load)
"""What `torch.load` takes for the module `pickle`."""


def read_pickle(file: Path) -> Any:
    """Everything in a file of `torch.save`, zipped or in the format before torch 1.6; its tensors are mapped
    where they can be, so that only those which are used take memory.

    Raises:
        ConfigurationError: it is of another format, damaged, or made to run code.
    """
    try:
        zipped = zipfile.is_zipfile(file)
        if zipped:
            with zipfile.ZipFile(file) as content:
                names = [name.rpartition("/")[2] for name in content.namelist()]
            if "data.pkl" not in names or "constants.pkl" in names:
                raise ConfigurationError("it is no checkpoint but another zip, such as TorchScript")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(
                file, map_location="cpu", pickle_module=_PICKLE, weights_only=False, mmap=zipped
            )
    except ConfigurationError as error:
        raise ConfigurationError(f"{file} is refused: {error}") from None
    except Exception as error:  # torch and pickle raise many kinds here, with messages of many lines
        raise ConfigurationError(f"{file} can't be read as a checkpoint: {one_line(error)}") from None
