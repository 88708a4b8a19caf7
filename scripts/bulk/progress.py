"""Progress of a long run, in lines that a log keeps as well as a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

SECONDS = 10.0
"""Time between two lines."""


class Progress:
    """Counts of finished fragments, and a line about them from time to time."""

    def __init__(self, rows: int, resumed: Counter[str], report: Callable[[str], object]) -> None:
        """Begin; `rows` are those of the whole input, `resumed` the counts of what earlier runs have done."""
        self.counts = resumed.copy()
        self._rows = rows
        self._resumed = resumed["rows"]
        self._report = report
        self._began = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Duration of the run."""
        return time.monotonic() - self._began

    def add(self, counts: Counter[str]) -> None:
        """Count a finished fragment."""
        self.counts += counts

    def tick(self, workers: int) -> None:
        """Report, if it is time to; `workers` is how many have loaded the model."""
        if time.monotonic() - self._said >= SECONDS:
            self._said = time.monotonic()
            self._report(self.line(workers))

    def line(self, workers: int) -> str:
        """Rows, rate, time left and errors."""
        done = self.counts["rows"]
        rate = (done - self._resumed) / max(self.seconds, 1e-9)
        left = f"{timedelta(seconds=round((self._rows - done) / rate))} left" if rate else "no rate yet"
        return (
            f"{done:,} of {self._rows:,} rows ({done / self._rows:.1%}), {rate:,.0f}/s, {left}, "
            f"{self.counts['error']:,} errors, {workers} workers"
        )
