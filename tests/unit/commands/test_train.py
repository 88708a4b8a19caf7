"""The command line of a training: what it refuses, and what it calls the figure that it prints."""

from __future__ import annotations

import pytest

from scripts.train import main
from tests.commands import call

STATED = ("--data", "a.json", "--output", "out", "--pretrained", "encoder")


@pytest.mark.parametrize("option", ["--test", "--seed"])
def test_numbers_below_zero_are_refused(option: str) -> None:
    done = call(main, *STATED, option, "-5")
    assert done.returncode == 2
    assert f"argument {option}: '-5' is not a whole number from 0" in done.stderr


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"held_out": {"accuracy": 0.75, "pairs": 40}}, "held out: 75.00% of 40 pairs"),
        (
            {"agreement_with_teacher": {"share": 0.9, "pairs": 40}},
            "agrees with the teacher on 90.00% of 40 held-out pairs, of which none has a gold label",
        ),
    ],
)
def test_the_figure_is_called_what_it_is(
    monkeypatch: pytest.MonkeyPatch, figures: dict[str, dict[str, float]], said: str
) -> None:
    monkeypatch.setattr("scripts.train.train", lambda *_: figures)
    done = call(main, *STATED)
    assert done.stdout.splitlines()[:2] == [said, "wrote out"]
