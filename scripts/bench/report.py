"""The figures of a benchmark as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scripts.bench.comparison import Conditions, Row
from scripts.bench.plan import TUTORIAL
from scripts.command_line.tables import markdown_table


def to_markdown(rows: Sequence[Row], about: Conditions) -> str:
    """The figures for people, ratios first."""
    names = list(dict.fromkeys(row.name for row in rows))
    clients = sorted({row.measured.clients for row in rows})
    by_key = {(row.name, row.measured.clients): row.measured for row in rows}

    def rate(name: str, count: int) -> float:
        return by_key[name, count].pairs_per_second

    def ratios(title: str, shown: Sequence[str], value: Callable[[str, int], str]) -> list[str]:
        header = ["", *(f"{count} client{'s' * (count > 1)}" for count in clients)]
        rows = [[name, *(value(name, count) for count in clients)] for name in shown]
        return [f"{title}:", "", markdown_table(header, rows), ""]

    lines = []
    if TUTORIAL in names:
        best = max(rate(TUTORIAL, count) for count in clients)
        title = f"Times the pairs a second of the tutorial's way at its best ({best:.1f})"
        lines += ratios(title, names, lambda name, count: f"{rate(name, count) / best:.1f}")
    engine = {row.name: row.engine for row in rows if row.engine in names}
    if engine:
        lines += ratios(
            "Percent of the pairs a second of its bare engine",
            list(engine),
            lambda name, count: f"{100 * rate(name, count) / rate(engine[name] or '', count):.0f}",
        )
    figures = []
    for count in clients:
        for name in names:
            one = by_key[name, count]
            times = [f"{value:.1f}" for value in (one.pairs_per_second, one.p50_ms, one.p95_ms, one.p99_ms)]
            figures.append([name, str(count), *times, f"{one.cpu:.2f}", f"{one.memory_mb:.0f}"])
    header = ["", "clients", "pairs/s", "p50 ms", "p95 ms", "p99 ms", "cores", "memory MB"]
    lines += [markdown_table(header, figures)]
    how = f"{about.rounds} rounds of {about.seconds:g} s each, in turns; median of the rounds"
    lines += ["", f"{about.model}, {about.pairs} pairs of {about.tokens:.0f} tokens on average; {how}."]
    lines += [f"{about.machine}, {about.cores} cores, {about.date}."]
    lines += [f"{name}: ready {took:.1f} s after its start." for name, took in about.ready.items()]
    return "\n".join(lines)
