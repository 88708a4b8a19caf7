"""`manifest.json`: the model and the input that an output belongs to, and the fragments that make it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scripts.bulk.archive import Archive
from scripts.bulk.folder import Folder
from scripts.bulk.fragments import PARTS, Fragment
from scripts.bulk.inputs import InputFile
from scripts.pairs.resumable_output import OutputError

NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole plan of an output; a run continues only what was begun with the same one."""

    archive: Archive
    inputs: Sequence[InputFile]
    fragments: Sequence[Fragment]

    def begin(self, output: Folder) -> None:
        """Write the manifest, or hold it against the one that is there.

        Raises:
            OutputError: the output was begun with another model or another input, or isn't ours.
        """
        if output.exists(NAME):
            self.compare(output)
        elif output.exists("") and output.names():
            raise OutputError(f"{output.url} holds files, but no {NAME}; give an empty folder")
        else:
            with output.write(NAME) as file:
                file.write(self._text().encode())

    def compare(self, output: Folder) -> None:
        """Hold the manifest against the one that an output has.

        Raises:
            OutputError: there is none, or it says something else.
        """
        place = f"{output.url}/{NAME}"
        try:
            with output.open(NAME) as file:
                recorded = json.load(file)
            own, inputs = json.loads(self._text()), {each["name"]: each for each in recorded["inputs"]}
            changed = [each["name"] for each in own["inputs"] if inputs.pop(each["name"], None) != each]
            changed += inputs
            different = [key for key in ("archive", "fragments") if recorded[key] != own[key]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{place} can't be read ({type(error).__name__})") from None
        if changed:
            raise OutputError(
                f"{output.url} was begun with another input: {', '.join(changed[:3])} changed, came or went; "
                "give another --output"
            )
        if different:
            reason = "another archive" if "archive" in different else "another division of the input"
            raise OutputError(f"{output.url} was begun with {reason}; give another --output")

    def finished(self, output: Folder) -> list[Fragment]:
        """The fragments whose files are there.

        Raises:
            OutputError: there are files that belong to no fragment.
        """
        there = {name for name in output.names() if name.startswith(f"{PARTS}/")}
        found = [fragment for fragment in self.fragments if fragment.part in there]
        if foreign := sorted(there - {fragment.part for fragment in found}):
            raise OutputError(f"{output.url}: {foreign[0]} belongs to no fragment; remove it")
        return found

    def _text(self) -> str:
        archive = {
            "sha256": self.archive.sha256,
            "model": self.archive.model,
            "labels": self.archive.labels,
        }
        content: dict[str, Any] = {
            "archive": archive,
            "inputs": [_recorded(each) for each in self.inputs],
            "fragments": [_recorded(each) for each in self.fragments],
        }
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _recorded(each: InputFile | Fragment) -> dict[str, Any]:
    """What the manifest says: the digest of a footer follows from that of its file."""
    return {name: value for name, value in asdict(each).items() if name != "footer"}
