"""Which packages of an environment a bill of materials keeps, and the table of their licences."""

from __future__ import annotations

from typing import Any

from scripts.sbom import licences, needed


def component(name: str, *stated: dict[str, Any]) -> dict[str, Any]:
    return {"bom-ref": f"{name}==1", "name": name, "version": "1", "licenses": list(stated)}


BILL = {
    "metadata": {"component": {"bom-ref": "root-component", "name": "project"}},
    "components": [
        component("Served_Package", {"license": {"name": "License :: OSI Approved :: MIT License"}}),
        component("needed", {"expression": "MIT AND 0BSD"}),
        component("nvidia-cublas"),
        component("for-an-extra"),
        component("pytest", {"license": {"id": "MIT"}}),
    ],
    "dependencies": [
        {"ref": "root-component", "dependsOn": ["Served_Package==1", "pytest==1"]},
        {"ref": "Served_Package==1", "dependsOn": ["needed==1", "for-an-extra==1"]},
        {"ref": "needed==1", "dependsOn": ["nvidia-cublas==1"]},
        {"ref": "nvidia-cublas==1"},
        {"ref": "for-an-extra==1"},
        {"ref": "pytest==1", "dependsOn": ["needed==1"]},
    ],
}


NAMES = {"served-package", "needed"}


def test_what_serving_needs_is_kept_and_nothing_else() -> None:
    bill = needed(BILL, NAMES)
    assert [each["name"] for each in bill["components"]] == ["Served_Package", "needed", "nvidia-cublas"]
    depends = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert depends.keys() == {"root-component", "Served_Package==1", "needed==1", "nvidia-cublas==1"}
    assert depends["Served_Package==1"] == ["needed==1"]
    assert depends["root-component"] == ["Served_Package==1"]


def test_the_table_has_every_package_and_what_it_states() -> None:
    rows = licences(needed(BILL, NAMES)).splitlines()[2:]
    assert rows == [
        "| needed | 1 | MIT AND 0BSD |",
        "| nvidia-cublas | 1 | not stated |",
        "| Served_Package | 1 | MIT License |",
    ]
