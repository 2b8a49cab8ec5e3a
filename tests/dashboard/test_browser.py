"""The dashboard in a real browser: live, safe, reachable by keyboard, and never wider than the screen."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser_runs import HOSTILE, make_hostile, make_long, make_many, start_training
from command_line import environment

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
expect = sync_api.expect
expect.set_options(timeout=15_000)

STATIC = Path(__file__).parents[2] / "src" / "perdure" / "dashboard" / "static"
TABS = ["overview", "units", "training", "results", "snapshots", "attempts", "journal", "log"]
FLAGS = [
    "--no-sandbox", "--headless=new", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
SECONDS = 1000.0  # what Playwright counts in


class Server:
    """`perdure ui` as a process of its own."""

    def __init__(self, folder: Path, state: Path, port: int = 0) -> None:
        words = [
            sys.executable,
            "-m",
            "perdure",
            "ui",
            "--no-browser",
            "--port",
            str(port),
            "--json",
            str(folder),
        ]
        self.process = subprocess.Popen(
            words, env=environment(XDG_STATE_HOME=str(state)), stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        said = ""
        while not said.rstrip().endswith("}"):  # one JSON document
            line = self.process.stdout.readline()
            assert line, "the server ended before it said its address"
            said += line
        self.address: str = json.loads(said)["address"]
        self.origin = self.address.partition("/login")[0]
        self.port = int(self.origin.rpartition(":")[2])

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def folder(scratch: Path) -> Path:
    """The folder of the runs: one that is hostile, and one of 10,000 units."""
    runs = scratch / "runs"
    make_hostile(scratch, runs / "hostile")
    make_long(runs / "hostile", runs / "long", units=10_000)
    return runs


@pytest.fixture(scope="module")
def server(folder: Path, scratch: Path) -> Iterator[Server]:
    started = Server(folder, scratch / "state")
    yield started
    started.end()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


Opener = Callable[..., Any]


@pytest.fixture
def browse(chromium: Any, server: Server) -> Iterator[Opener]:
    """Opens a logged-in page. After the test nothing may have gone wrong in it, nor left the server's origin."""
    contexts, problems, strangers = [], [], set()

    def open_page(**options: Any) -> Any:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10 * SECONDS)
        page.on(
            "console", lambda line: problems.append(line.text) if line.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda asked: strangers.add(asked.url) if not asked.url.startswith(server.origin) else None,
        )
        page.goto(server.address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
    assert strangers == set()


def go(page: Any, server: Server, place: str) -> None:
    """Open a page of the dashboard and wait until its content is there."""
    page.goto(f"{server.origin}/#/{place}")
    page.wait_for_selector("main > :first-child")
    page.wait_for_selector("[aria-busy]", state="detached")


# -- what needs no browser ---------------------------------------------------------------------------------------


def test_the_whole_page_weighs_less_than_300_kilobytes() -> None:
    assert sum(path.stat().st_size for path in STATIC.rglob("*") if path.is_file()) < 300_000


def test_text_enters_the_page_as_text_only() -> None:
    own = [path for path in STATIC.rglob("*.js") if path.parent.name != "vendor"]
    assert len(own) > 10
    ways = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc"
    )
    assert [(path.name, found) for path in own for found in ways.findall(path.read_text())] == []


def test_the_page_has_no_code_or_style_inside() -> None:
    page = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", page) == []


# -- live --------------------------------------------------------------------------------------------------------


@needs_browser
@pytest.mark.slow
def test_a_killed_run_is_shown_interrupted_and_its_curves_go_on_after_the_resume(
    browse: Opener, server: Server, folder: Path, scratch: Path
) -> None:
    training = start_training(scratch, folder / "live")
    try:
        page = browse()
        go(page, server, "")
        expect(page.locator("tr", has_text="live").locator(".badge")).to_have_text("running")
        go(page, server, "run/live/training")
        page.evaluate("window.sameDocument = true")
        _wait_for_iterations(page, 3)
        expect(page.locator("figure.chart figcaption strong")).to_have_text(["loss", "AUC", "learning rate"])
        before = _iterations(page)
        _wait_for_iterations(page, before + 5)

        training.kill()
        training.wait()
        expect(page.locator(".run-title .badge").first).to_have_text("interrupted", timeout=10 * SECONDS)
        expect(page.locator(".loop-state .badge")).to_have_text("interrupted")
        stood = _iterations(page)

        training = start_training(scratch, folder / "live")
        _wait_for_iterations(page, stood + 3)
        expect(page.get_by_role("heading", name="1 interruption")).to_be_visible()
        assert page.evaluate(_MARKED) > 100, "no line is drawn where it was interrupted"
        expect(page.locator(".run-title .badge").first).to_have_text("running")
        assert page.evaluate("window.sameDocument"), "the page was loaded again"

        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Stop and save").click()
        assert training.wait(30) == 128 + signal.SIGTERM
        expect(page.locator(".run-title .badge").first).to_have_text("stopped")
        page.get_by_role("link", name="Attempts").click()
        expect(page.locator("td .badge")).to_have_text(["stopped", "killed"])
    finally:
        training.kill()
        training.wait()


# Pixels of the first chart in the colour of interruptions.
_MARKED = """() => {
  const canvas = document.querySelector(".chart canvas"), pen = canvas.getContext("2d");
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--interrupted").trim();
  const wanted = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let i = 0; i < data.length; i += 4)
    found += wanted.every((part, n) => Math.abs(part - data[i + n]) < 12) && data[i + 3] > 200;
  return found;
}"""


def _iterations(page: Any) -> int:
    found = re.match(r"\d+", page.locator(".loop-state > span:not(.badge)").inner_text().replace(",", ""))
    assert found
    return int(found[0])


def _wait_for_iterations(page: Any, least: int) -> None:
    page.wait_for_function(
        "least => parseInt(document.querySelector('.loop-state > span:not(.badge)')?.textContent) >= least",
        arg=least, timeout=20 * SECONDS,
    )  # fmt: skip


@needs_browser
def test_times_go_on_ticking_without_anything_new(browse: Opener, server: Server) -> None:
    page = browse()
    page.clock.install()
    go(page, server, "run/hostile/overview")
    page.clock.fast_forward("02:00:00")
    expect(page.locator(".figure", has_text="Last save").locator("time")).to_have_text("2 h ago")


@needs_browser
@pytest.mark.slow
def test_a_server_that_is_gone_is_said_and_the_page_finds_the_next_one(
    chromium: Any, folder: Path, scratch: Path
) -> None:
    first = Server(folder, scratch / "state")
    page = chromium.new_context().new_page()
    page.goto(first.address)
    go(page, first, "run/hostile/overview")
    first.end()
    expect(page.locator(".banner")).to_contain_text("does not answer")
    expect(page.locator("h1")).to_have_text("hostile")  # what was known stays in sight
    second = Server(folder, scratch / "state", port=first.port)
    try:
        expect(page.locator(".banner")).to_have_count(0, timeout=15 * SECONDS)
    finally:
        page.context.close()
        second.end()


# -- hostile names, many runs, many units --------------------------------------------------------------------------


@needs_browser
def test_hostile_names_do_nothing_and_are_shown_as_text(browse: Opener, server: Server) -> None:
    page = browse()
    go(page, server, "run/hostile/units")
    page.get_by_label("Phase").select_option(HOSTILE[0])
    expect(page.locator(".tile bdi")).to_have_text([
        "<img src=x onerror=alert(1)>", "'; drop", "a\\u202eb\\u2066c", "x" * 300, "<script>alert(2)</script>",
    ])  # fmt: skip
    page.locator(".tile", has_text="drop").click()
    expect(page.locator(".detail pre")).to_have_text(
        "ValueError: <b onmouseover=alert(3)>broken</b> \\u202e turned"
    )
    go(page, server, "run/hostile/training")
    titles = page.locator(".chart strong")
    expect(titles.get_by_text("constructor", exact=True)).to_be_visible()
    expect(titles.get_by_text("proto", exact=True)).to_be_visible()


@needs_browser
def test_ten_thousand_units_are_all_there_and_few_of_them_are_elements(
    browse: Opener, server: Server
) -> None:
    page = browse()
    go(page, server, "run/long/units")
    expect(page.get_by_role("radio", name="All 10,000")).to_be_visible()
    assert page.evaluate("document.querySelectorAll('*').length") < 1500
    page.locator(".mosaic canvas").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".detail h2")).to_have_text("shard 00001")
    page.get_by_role("radio", name="failed 100").click()
    page.get_by_label("Find a unit").fill("09900")
    expect(page.locator(".tile")).to_have_text(["shard 09900500 ms"])
    page.get_by_label("Find a unit").fill("")
    page.get_by_role("radio", name="All 10,000").click()
    body = page.get_by_role("grid", name="Units")
    expect(body).to_have_attribute("aria-rowcount", "10000")
    body.focus()
    page.keyboard.press("End")
    expect(page.locator(".detail h2")).to_have_text("shard 09999")


@needs_browser
def test_a_damaged_run_says_so_and_what_to_do_and_still_shows_its_log(
    browse: Opener, server: Server, folder: Path
) -> None:
    shutil.copytree(folder / "hostile", folder / "damaged")
    (folder / "damaged" / "run.db").write_bytes(b"not a database" * 1000)
    page = browse()
    go(page, server, "run/damaged/units")
    expect(page.locator(".run-title .badge")).to_have_text("damaged")
    expect(page.locator(".empty")).to_contain_text("perdure verify --repair")
    page.get_by_role("link", name="Log").click()
    expect(page.locator("pre.log")).to_contain_text("fresh start")


@needs_browser
@pytest.mark.slow
def test_a_hundred_runs_are_listed_and_found_by_name(
    chromium: Any, folder: Path, scratch: Path, tmp_path: Path
) -> None:
    make_many(folder / "hostile", tmp_path, runs=100)
    server = Server(tmp_path, scratch / "state")
    page = chromium.new_context().new_page()
    try:
        page.goto(server.address)
        expect(page.locator(".runs tbody tr")).to_have_count(100)
        page.get_by_label("Find a run").fill("copy-042")
        expect(page.locator(".runs tbody tr")).to_have_count(1)
        page.get_by_role("link", name="copy-042").click()
        expect(page.locator("h1")).to_have_text("copy-042")
    finally:
        page.context.close()
        server.end()


# -- every page, every screen ------------------------------------------------------------------------------------


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen_nor_takes_a_name_for_markup(
    browse: Opener, server: Server, width: int
) -> None:
    page = browse(viewport={"width": width, "height": 844})
    for place in ["", *(f"run/hostile/{tab}" for tab in TABS), "run/long/units"]:
        go(page, server, place)
        assert page.locator("main img[src='x'], main script, main b[onmouseover]").count() == 0, place
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_selector(f"html[data-theme={scheme}]")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, place
            assert page.evaluate(_OUTSIDE) == [], place


# Elements that stick out to the right, other than in a part that scrolls by itself.
_OUTSIDE = """() => [...document.querySelectorAll("body *")].filter((node) => {
  const box = node.getBoundingClientRect();
  if (!box.width || box.right <= innerWidth + 1) return false;
  for (let up = node.parentElement; up; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== "visible") return false;
  return true;
}).map((node) => node.className || node.nodeName)"""


@needs_browser
def test_the_theme_follows_the_system_and_a_choice_is_kept(browse: Opener, server: Server) -> None:
    page = browse(color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    button = page.get_by_role("button", name="Theme")
    button.click()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light


# -- keyboard and actions ------------------------------------------------------------------------------------------


@needs_browser
def test_the_keyboard_reaches_every_tab_and_every_action(browse: Opener, server: Server) -> None:
    page = browse()
    go(page, server, "run/hostile/overview")
    wanted = {*(tab.capitalize() for tab in TABS), "Retry failed", "Reset…"}
    reached: set[str] = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.firstChild?.textContent ?? ''"))
    assert wanted <= reached
    tab = page.locator(".tabs").get_by_role("link", name="Journal")
    tab.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("grid", name="Journal")).to_be_visible()
    expect(tab).to_have_attribute("aria-current", "page")


@needs_browser
def test_an_action_asks_first_and_does_nothing_when_it_is_refused(
    browse: Opener, server: Server, folder: Path
) -> None:
    shutil.copytree(folder / "hostile", folder / "spare")
    page = browse()
    posts: list[str] = []
    page.on("request", lambda asked: posts.append(asked.url) if asked.method == "POST" else None)
    go(page, server, "run/spare/overview")
    for refuse in ("Enter", "Escape"):  # Enter falls on Cancel
        page.get_by_role("button", name="Reset…").click()
        expect(page.get_by_role("dialog")).to_contain_text("A backup is made first")
        page.keyboard.press(refuse)
        expect(page.get_by_role("dialog")).to_have_count(0)
    assert posts == []
    page.get_by_role("button", name="Reset…").click()
    page.get_by_role("button", name="Back up and reset").click()
    expect(page.locator(".toast")).to_contain_text("starts over")
    assert len(posts) == 1
    assert list((folder / "spare" / "backups").iterdir())


# -- results, journal ----------------------------------------------------------------------------------------------


@needs_browser
def test_results_show_metrics_with_intervals_the_gate_and_plots_to_zoom(
    browse: Opener, server: Server
) -> None:
    page = browse()
    go(page, server, "run/hostile/results")
    expect(page.get_by_role("region", name="Metrics").locator("tbody tr")).to_contain_text(
        "0.87650.8100 to 0.9300"
    )
    expect(page.locator(".panel", has_text="Promotion gate").locator(".badge")).to_have_text(
        "closed: 1 of 2 checks failed"
    )
    expect(page.get_by_role("region", name="Regime")).to_contain_text("calm")
    page.get_by_role("button", name="ROC curve").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("+")
    assert "scale(1.3)" in page.locator(".stage img").get_attribute("style")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)


@needs_browser
def test_the_journal_is_filtered_by_event_and_by_text(browse: Opener, server: Server) -> None:
    page = browse()
    go(page, server, "run/hostile/journal")
    page.get_by_label("Event").select_option("unit done")
    rows = page.get_by_role("grid", name="Journal").get_by_role("row")
    expect(rows).to_have_count(6)  # four of the map, two of the each
    page.get_by_label("Find in the journal").fill("fold 2")
    expect(rows).to_have_count(1)
    rows.first.click()
    expect(page.locator(".detail pre")).to_contain_text("lgbm, fold 2")
    page.get_by_label("Find in the journal").fill("")
    page.get_by_label("Event").select_option("unit failed")
    expect(rows).to_contain_text(["unit failed"])
    rows.first.click()
    expect(page.locator(".detail pre").last).to_contain_text(re.compile(r"^Traceback.*\n  File "))
