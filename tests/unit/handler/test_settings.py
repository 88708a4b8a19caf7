"""Settings: what is allowed, and that nothing else starts."""

from __future__ import annotations

from typing import Any

import pytest

from handler.errors import ConfigurationError
from handler.settings import HandlerSettings
from scripts.model.archive import MODEL_CONFIG, check_model_config


def test_nothing_set_means_the_defaults() -> None:
    configs: list[Any] = [None, {}, {"handler": None}, {"handler": {}}]
    for config in configs:
        assert HandlerSettings.from_model_config(config) == HandlerSettings()


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"max_pair": 3}, "max_pair"),
        ({"max_pairs": 0}, "max_pairs"),
        ({"max_pairs": "64"}, "max_pairs"),
        ({"threads": -1, "max_text_chars": 1.5}, "max_text_chars"),
        ([1], "section"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(section: Any, named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HandlerSettings.from_model_config({"handler": section})
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_shipped_file_states_the_defaults() -> None:
    import yaml

    check_model_config(MODEL_CONFIG)
    config = yaml.safe_load(MODEL_CONFIG.read_text(encoding="utf-8"))
    assert HandlerSettings.from_model_config(config) == HandlerSettings()
    assert set(config["handler"]) == set(HandlerSettings.model_fields)
