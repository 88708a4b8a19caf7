"""The `handler` section of `model-config.yaml`, typed and checked when a worker starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handler.errors import ConfigurationError


class HandlerSettings(BaseModel):
    """The settings of an operator; an unknown key or a value out of range stops the start."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_pairs: int = Field(default=64, ge=1)
    """Largest number of sentence pairs in a request; more is answered with 413."""

    max_explained_pairs: int = Field(default=8, ge=1)
    """Largest number of sentence pairs in a request for explanations; more is answered with 413. To explain a
    pair costs as much as about seven predictions, and ten at most (`handler.explanation`)."""

    max_text_chars: int = Field(default=50_000, ge=1)
    """Largest number of characters (code points) in a premise or a hypothesis; more is answered with 413."""

    max_body_bytes: int = Field(default=4_194_304, ge=1)
    """Largest size of a compressed body once it is unpacked; more is answered with 413. TorchServe itself
    bounds what is sent (`max_request_size`)."""

    deadline_seconds: float = Field(default=10, gt=0)
    """Longest time from the arrival of a request to its response; what would take longer is answered with
    503. A request that is computed alone may take longer (`handler.admission`)."""

    threads: int = Field(default=0, ge=0)
    """Number of threads of a worker's forward pass; 0 is one for a small model, and for a large one the
    machine's cores shared among its `minWorkers`."""

    request_log: bool = True
    """Whether each request is logged: a line with counts and times, and never a text."""

    @classmethod
    def from_model_config(cls, model_config: Mapping[str, Any] | None) -> HandlerSettings:
        """Read the section from the whole of `model-config.yaml`.

        Raises:
            ConfigurationError: with every wrong key and why, in one line.
        """
        section = (model_config or {}).get("handler", {})
        try:
            return cls.model_validate(section or {})
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'section'}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_url=False)
            )
            raise ConfigurationError(f"model-config.yaml, section 'handler': {faults}") from None
