"""Classifying a whole file: several requests in flight, rows in order, an error for its own row alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from handler.errors import (
    InferenceFailed,
    InternalError,
    InvalidPair,
    InvalidRequest,
    LimitExceeded,
    ServiceError,
)
from handler.request import SentencePair
from scripts.command_line.tables import text_table
from scripts.pairs.client import Client, ServiceRefusedError
from scripts.pairs.output_layout import OutputLayout, Prediction, count
from scripts.pairs.reader import PairFile, Row
from scripts.pairs.resumable_output import ResumableOutput
from scripts.pairs.topics import Topics

PAIRS = 32
"""Largest number of pairs in one request."""

CHARACTERS = 200_000
"""Largest number of characters in one request, unless one pair alone has more."""

RETRIES = 12
"""Number of times that a request is sent again: enough for a service that restarts for a minute."""

ROW_FAULTS = {
    each.type for each in (InvalidRequest, InvalidPair, LimitExceeded, InferenceFailed, InternalError)
}
"""Errors that belong to a pair; others, such as an unknown model or a wrong key, end the run."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run."""

    rows: int
    """Number of rows in the output, those of earlier runs included."""
    resumed: int
    """Number of rows that earlier runs had written."""
    seconds: float
    """Duration of this run."""
    labels: dict[str, int]
    truncated: int
    errors: int

    def to_text(self) -> str:
        """A few lines for people."""
        done = self.rows - self.resumed
        rows = [
            (f"  {label}", str(count), f"{count / self.rows:.1%}") for label, count in self.labels.items()
        ]
        rows += [("  truncated", str(self.truncated), ""), ("  errors", str(self.errors), "")]
        return (
            f"{self.rows} rows, {done} of them in this run at {done / max(self.seconds, 1e-9):.1f}/s\n"
            + text_table(rows, "<>>")
        )


def classify_file(
    source: PairFile,
    output: Path,
    client: Client,
    concurrency: int = 4,
    force: bool = False,
    topics: Topics | None = None,
) -> Summary:
    """Classify every row of `source` into `output`, or continue a run that was stopped.

    Args:
        source: the surveyed input.
        output: `.csv` (UTF-8 with a byte order mark, which Excel needs) or `.jsonl`; the input's columns, and
            behind them `prediction`, a probability for each label, `truncated`, `model` and `error`.
        client: a client that retries, so that a restart of the service doesn't end the run.
        concurrency: requests in flight.
        force: start over and replace `output`.
        topics: labels to choose from for the text of each row, instead of the model's labels for its pair.

    Raises:
        OutputError: `output` can't be written, or belongs to another task.
        ServiceError: the service is away for longer than the client retries; the next run continues.
    """
    # A first request shows the labels, and that the service answers, before anything is written.
    (first,) = client.classify([SentencePair("비가 온다.", "비가 온다.")], retries=2)
    ask = partial(_predictions, client)
    if topics:
        first = topics.ask(client, "비가 온다.")
        ask = partial(_topics, client, topics)
    layout = OutputLayout.of(output, source, tuple(first["probabilities"]))
    task: dict[str, Any] = {
        "input": source.file.sha256,
        "columns": [source.found.premise, source.found.hypothesis],
        "labels": list(layout.labels),
    }
    if topics:
        task |= {"template": topics.template, "multi": topics.multi}
    began = time.monotonic()
    with ResumableOutput(output, task, layout.header(), force) as written:
        resumed = written.rows
        pool = ThreadPoolExecutor(concurrency)
        bar = tqdm(total=source.rows, initial=resumed, unit="row", disable=None)
        waiting: deque[tuple[list[Row], Future[list[Prediction]]]] = deque()
        requests = _requests(source.read(resumed))
        try:
            while True:
                # Twice as many as are in flight, so that a slow first one keeps no thread idle.
                while len(waiting) < 2 * concurrency and (rows := next(requests, None)):
                    waiting.append((rows, pool.submit(ask, rows)))
                if not waiting:
                    break
                rows, future = waiting.popleft()
                predictions = future.result()
                written.append(layout.rows(rows, predictions), len(rows), count(predictions))
                bar.update(len(rows))
            written.finish()
        except (ServiceError, KeyboardInterrupt):
            tqdm.write(
                f"stopped after {written.rows} of {source.rows} rows; the same command continues there"
            )
            raise
        finally:
            bar.close()
            pool.shutdown(cancel_futures=True)
    labels = {label: written.counts[f"label {label}"] for label in layout.labels}
    seconds = time.monotonic() - began
    counts = written.counts
    return Summary(written.rows, resumed, seconds, labels, counts["truncated"], counts["error"])


def _requests(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Cut rows into requests of a size that the service takes."""
    request: list[Row] = []
    characters = 0
    for row in rows:
        size = len(row.pair.premise) + len(row.pair.hypothesis) if isinstance(row.pair, SentencePair) else 0
        if request and (len(request) == PAIRS or characters + size > CHARACTERS):
            yield request
            request, characters = [], 0
        request.append(row)
        characters += size
    if request:
        yield request


def _predictions(client: Client, rows: Sequence[Row]) -> list[Prediction]:
    """A prediction for each row, in order; rows without a pair aren't sent."""
    asked = iter(_ask(client, [row.pair for row in rows if isinstance(row.pair, SentencePair)]))
    return [next(asked) if isinstance(row.pair, SentencePair) else str(row.pair) for row in rows]


def _topics(client: Client, topics: Topics, rows: Sequence[Row]) -> list[Prediction]:
    """The topics of each row's text, in order; rows without a text aren't sent."""
    found: list[Prediction] = []
    for row in rows:
        try:
            text = row.pair
            found.append(topics.ask(client, text.premise) if isinstance(text, SentencePair) else str(text))
        except ServiceRefusedError as error:
            if not _is_fault_of_row(error):
                raise
            found.append(error.message)
    return found


def _is_fault_of_row(error: ServiceRefusedError) -> bool:
    # 413 without a type comes from TorchServe or a gateway, which say no more.
    return error.kind in ROW_FAULTS or error.status == 413


def _ask(client: Client, pairs: list[SentencePair]) -> list[Prediction]:
    """Send all pairs in one request; where they are refused for one of them, halve until it is alone."""
    if not pairs:
        return []
    try:
        return list(client.classify(pairs))
    except ServiceRefusedError as error:
        if not _is_fault_of_row(error):
            raise
        if len(pairs) == 1:
            return [error.message.removeprefix("[0].").removeprefix("[0]: ")]
    middle = len(pairs) // 2
    return _ask(client, pairs[:middle]) + _ask(client, pairs[middle:])
