"""The documents name only commands, options and files that exist, and both READMEs say the same."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from scripts import PROJECT

READMES = [PROJECT / "README.md", PROJECT / "README.ko.md"]
PAGES = [PROJECT / "SECURITY.md", PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").glob("*.md")]
DOCUMENTS = sorted([*READMES, *PAGES, *PROJECT.glob("checkpoints/*/*.md")])

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_TEXT = re.compile(r"`(?:python )?(scripts/[a-z_]+(?:\.py)?[^`]*)`")

FOREIGN = {"--storage.tsdb.retention.time", "--token"}
"""Options of other programs, and one that a document says is gone."""


class ArgumentsAcceptedError(Exception):
    """Raised in place of what a command would do with its arguments."""


def blocks(document: Path) -> list[tuple[str, str]]:
    """Language and content of each fenced block, without the comments of commands."""
    found = FENCE.findall(document.read_text(encoding="utf-8"))
    return [(kind, re.sub(r"\s+#.*", "", content) if kind == "bash" else content) for kind, content in found]


def commands(document: Path) -> list[str]:
    """The commands of the project in a document's blocks, ready to be split."""
    lines = [
        line
        for kind, content in blocks(document)
        if kind in ("bash", "console")
        for line in content.replace("\\\n", " ").splitlines()
    ]
    calls = [re.split(r"\s&&|\s[|;>]", line.removeprefix("$ ").strip())[0] for line in lines]
    found = [re.search(r"(?:^|\s)(scripts/[a-z_]+.*)", call) for call in calls]
    return list(dict.fromkeys(match[1] for match in found if match))


IN_BLOCKS = [(document, command) for document in DOCUMENTS for command in commands(document)]
NAMED = [
    (document, command)
    for document in DOCUMENTS
    for command in dict.fromkeys(IN_TEXT.findall(FENCE.sub("", document.read_text(encoding="utf-8"))))
]


def parser_of(verb: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The parser of a verb, caught when the verb is about to read its arguments."""
    caught: list[argparse.ArgumentParser] = []

    def catch(parser: argparse.ArgumentParser, *_: object) -> argparse.Namespace:
        caught.append(parser)
        raise ArgumentsAcceptedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", catch)
    monkeypatch.setattr(sys, "argv", [verb, *arguments])
    with pytest.raises(ArgumentsAcceptedError):
        importlib.import_module(f"scripts.{verb}").main()
    return caught[0]


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Every option of a parser and its commands, and the commands' names."""
    options = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                options |= {name, *options_of(command)}
    return options


@pytest.mark.parametrize(
    ("document", "command"), IN_BLOCKS, ids=[f"{document.name}: {command}" for document, command in IN_BLOCKS]
)
def test_a_command_is_accepted(document: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script, *arguments = shlex.split(command)
    assert (PROJECT / script).is_file(), f"{document.name} names {script}"
    verb = Path(script).stem
    if verb not in {"setup", "test"}:
        parser = parser_of(verb, arguments, monkeypatch)
        monkeypatch.undo()
        try:
            parser.parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{document.name}: {command}: the arguments are refused")


@pytest.mark.parametrize(
    ("document", "command"), NAMED, ids=[f"{document.name}: {command}" for document, command in NAMED]
)
def test_a_command_in_the_text_exists(document: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script, *arguments = command.split()
    assert (PROJECT / script).exists(), f"{document.name} names {script}"
    options = {word for word in arguments if word.startswith("--")}
    if options and Path(script).stem not in {"setup", "test"}:
        assert options <= options_of(parser_of(Path(script).stem, [], monkeypatch))


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    """Every option of every verb."""
    known: set[str] = set()
    for file in (PROJECT / "scripts").glob("*.py"):
        if "argument_parser(" in file.read_text(encoding="utf-8"):
            with pytest.MonkeyPatch.context() as patch:
                known |= options_of(parser_of(file.stem, [], patch))
    return known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_options_and_metrics_in_text_and_tables_exist(document: Path, known_options: set[str]) -> None:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    options = {span.split()[0].partition("=")[0] for span in re.findall(r"`(--[a-z][^`]*)`", text)}
    assert options - FOREIGN <= known_options
    files = [PROJECT / "config" / "metrics.yaml", *(PROJECT / "deploy").rglob("*.y*ml")]
    declared = "".join(file.read_text(encoding="utf-8") for file in files)
    metrics = set(re.findall(r"`((?:nli|ts)_[a-z_]+[a-z])`", text))
    derived = {name.removesuffix("_bucket") for name in metrics}
    assert {name for name in derived if not re.search(rf"\b{name}\b", declared)} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_and_named_files_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text) + re.findall(r'src="(?!https?:)([^"]+)"', text)
    assert [link for link in links if not (document.parent / link).exists()] == []
    named = re.findall(r"`((?:handler|scripts|config|deploy|docs|tests)/[\w./-]+)`", text)
    assert [name for name in named if not (PROJECT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_pages_are_short_and_wrapped(document: Path) -> None:
    lines = document.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= (130 if document in READMES else 200)
    fenced = False
    for number, line in enumerate(lines, 1):
        fenced ^= line.startswith("```")
        if not (fenced or line.startswith(("|", "<", "    ")) or "](" in line):
            assert len(line) <= 140, f"{document.name}:{number}"


def test_both_readmes_have_the_same_commands_and_answers() -> None:
    english, korean = (blocks(readme) for readme in READMES)
    runnable = ("bash", "json")
    assert [block for block in english if block[0] in runnable] == [
        block for block in korean if block[0] in runnable
    ]
    tables = [
        re.findall(r"^\| (?:`(.*?)`|\[(.*?)\])", readme.read_text(encoding="utf-8"), re.MULTILINE)
        for readme in READMES
    ]
    assert tables[0] == tables[1]
