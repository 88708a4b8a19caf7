"""Take the README's pictures of the page: a real service, a real Chromium, light, dark and on a phone."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect, sync_playwright
from tqdm import tqdm

from handler.errors import ConfigurationError
from scripts import PROJECT
from scripts.command_line.arguments import argument_parser, run
from scripts.model.archive import build_archive
from scripts.torchserve.server import Ports, TorchServe

WIDE = {"viewport": {"width": 1200, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}

PICTURES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "page-light": (WIDE | {"color_scheme": "light"}, [2, 1, 0]),
    "page-dark": (WIDE | {"color_scheme": "dark"}, [0, 2, 1]),
    "page-phone": (PHONE | {"color_scheme": "light"}, [0, 1, 2]),
}
"""By file name: the screen, and which examples are clicked, the one to be seen last."""


def take(browser: Browser, url: str, output: Path, screen: dict[str, Any], examples: list[int]) -> None:
    """Open the page on a screen of its own, click examples, and photograph what the last one gave."""
    context = browser.new_context(locale="ko-KR", reduced_motion="reduce", **screen)
    page = context.new_page()
    page.goto(url)
    for count, example in enumerate(examples, 1):
        page.locator("#examples button").nth(example).click()
        expect(page.locator("#history li")).to_have_count(count)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.screenshot(path=output)
    context.close()


def main() -> int:
    """Read the arguments, start a service, take every picture."""
    parser = argument_parser(__doc__ or "", "python scripts/screenshots.py --checkpoint checkpoints/demo")
    parser.add_argument("--checkpoint", type=Path, default=PROJECT / "checkpoints" / "demo")
    parser.add_argument("--output", type=Path, default=PROJECT / "docs" / "images", help="a folder")
    arguments = parser.parse_args()
    program = shutil.which("chromium")
    if program is None:
        raise ConfigurationError("chromium isn't installed (apt-get install chromium)")
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        archive = build_archive(arguments.checkpoint, "1.0", Path(name) / "nli-1.0.mar")
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        with TorchServe(Path(name) / "run", [archive], Ports.free()) as server:
            for picture, (screen, examples) in tqdm(PICTURES.items(), disable=None):
                output = arguments.output / f"{picture}.png"
                take(browser, f"{server.url}/predictions/nli", output, screen, examples)
        browser.close()
    print(f"wrote {len(PICTURES)} pictures to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
