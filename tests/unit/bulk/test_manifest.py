"""An output is continued only with the model and the input that it was begun with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.bulk.archive import Archive
from scripts.bulk.folder import Folder
from scripts.bulk.inputs import InputFile, cut
from scripts.bulk.manifest import Manifest
from scripts.pairs.resumable_output import OutputError

FILES = [
    InputFile(name, "0" * 64, 9, ("p: string", "h: string"), "p", "h", ".parquet", (9,)) for name in "ab"
]
MANIFEST = Manifest(Archive("1" * 64, "tiny 1.0", ("x", "y"), b"content"), FILES, cut(FILES))


def with_inputs(*files: InputFile) -> Manifest:
    return Manifest(MANIFEST.archive, files, cut(files))


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    folder = Folder(str(tmp_path / "out"))
    MANIFEST.begin(folder)
    return folder


def test_the_same_plan_goes_on(output: Folder) -> None:
    MANIFEST.begin(output)
    assert MANIFEST.finished(output) == []
    with output.write(MANIFEST.fragments[1].part) as file:
        file.write(b"rows")
    assert MANIFEST.finished(output) == [MANIFEST.fragments[1]]


def test_what_an_older_version_has_begun_goes_on(output: Folder) -> None:
    files = [replace(file, footer="3" * 64) for file in FILES]
    with_inputs(*files).compare(output)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(MANIFEST, archive=replace(MANIFEST.archive, sha256="2" * 64)), "another archive"),
        (with_inputs(FILES[0], replace(FILES[1], sha256="2" * 64)), "b changed"),
        (with_inputs(FILES[0]), "b changed"),
        (with_inputs(*FILES, replace(FILES[0], name="c")), "c changed"),
        (with_inputs(replace(FILES[0], premise="h"), FILES[1]), "a changed"),
        (replace(MANIFEST, fragments=MANIFEST.fragments[:1]), "another division"),
    ],
)
def test_another_plan_is_refused(output: Folder, other: Manifest, said: str) -> None:
    for action in (other.begin, other.compare):
        with pytest.raises(OutputError, match=said):
            action(output)


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(OutputError, match="empty folder"):
        MANIFEST.begin(Folder(str(tmp_path)))
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.docx"]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"inputs": 3}'])
def test_a_damaged_manifest_is_one_line(output: Folder, content: str) -> None:
    Path(output.root, "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(OutputError, match=r"manifest\.json can't be read"):
        MANIFEST.begin(output)


def test_a_part_of_no_fragment_is_refused(output: Folder) -> None:
    with output.write("parts/part-00007.parquet") as file:
        file.write(b"rows")
    with pytest.raises(OutputError, match="part-00007"):
        MANIFEST.finished(output)
