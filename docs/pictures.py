"""Take docs/screenshots/ from real runs, killed and resumed, in a real browser: `python docs/pictures.py`.

Needs `pip install "perdure[ui,exoplanet,market]" playwright` and Chromium or Chrome. docs/screenshots.md shows them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent / "screenshots"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
OF_MARKET = ("overview", "units", "results")
OF_EXOPLANET = ("training", "snapshots", "attempts", "journal", "log")
EXOPLANET = ["exoplanet", "--preset", "tiny", "--set", "epochs=12"]
MARKET = ["market", "--preset", "tiny", "--set", "sectors=11", "--set", "per_sector=0"]  # all 82 symbols


def start(words: list[str], *, kill_at: str = "") -> subprocess.Popen[bytes]:
    named = {**os.environ, "KERAS_BACKEND": "jax", "PERDURE_SAVE_ALWAYS": "1", "PERDURE_KILL_AT": kill_at}
    command = [sys.executable, "-m", "perdure", "run", *words]
    return subprocess.Popen(command, env=named, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def trains(run: str) -> bool:
    """Whether its first models are being fitted."""
    asked = [sys.executable, "-m", "perdure", "status", f"runs/{run}", "--json"]
    phases = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)["phases"]
    return any(phase["name"].startswith("base models/") and phase["done"] for phase in phases)


@contextmanager
def dashboard() -> Iterator[str]:
    """Its address, with the token."""
    words = [sys.executable, "-m", "perdure", "ui", "--no-browser", "--port", "0", "--json"]
    served = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert served.stdout is not None
    said = ""
    while not said.rstrip().endswith("}"):
        said += served.stdout.readline()
    try:
        yield json.loads(said)["address"]
    finally:
        served.terminate()
        served.wait()


@contextmanager
def pages(address: str) -> Iterator[dict[str, Page]]:
    """A logged-in page for each look: light and dark, wide and phone."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        looks = {}
        for name, size in (("wide", WIDE), ("phone", PHONE)):
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
                looks[f"{scheme}-{name}"] = context.new_page()
                looks[f"{scheme}-{name}"].goto(address)
        yield looks
        browser.close()


def take(looks: dict[str, Page], name: str, place: str) -> None:
    """A picture of one page in each look."""
    for look, page in looks.items():
        page.goto(page.url.partition("#")[0] + place)
        page.wait_for_selector("#main:not(:has(> p.empty))")
        page.wait_for_timeout(1500)  # curves and pictures arrive after the page
        place_of = HERE / f"{name}-{look}.png"
        page.screenshot(path=place_of)
        Image.open(place_of).convert("RGB").quantize(128).save(
            place_of, optimize=True
        )  # a third of the bytes


def main() -> None:
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["XDG_STATE_HOME"] = folder
        start(EXOPLANET, kill_at="epoch.end:5").wait()
        start(EXOPLANET).wait()
        start(MARKET, kill_at="unit.computed:130").wait()
        market = start(MARKET)
        with dashboard() as address, pages(address) as looks:
            while market.poll() is None and not trains("market"):
                time.sleep(0.5)
            take(looks, "runs", "#/")
            take(looks, "overview", "#/run/market/overview")
            market.wait()
            for tab in OF_MARKET[1:]:
                take(looks, tab, f"#/run/market/{tab}")
            for tab in OF_EXOPLANET:
                take(looks, tab, f"#/run/exoplanet/{tab}")
        os.chdir(HERE)


if __name__ == "__main__":
    main()
