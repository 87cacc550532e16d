"""The page in a real browser: no error, no request, every link resolves, no sideways scrolling on a phone."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from report.made_up_page import MISSING

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "results" / "ci" / "report.png"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),  # Chromium's sandbox refuses root
]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 700}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium, chromium-browser or google-chrome on PATH; on Debian: apt-get install chromium",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(smoke_html: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(smoke_html, encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """The page on a desk; fails at the end if it said anything or asked for anything."""
    context = browser.new_context(viewport=DESK)
    page, noise = context.new_page(), []
    page.on("console", lambda message: noise.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: noise.append(f"error: {error}"))
    page.on("request", lambda request: noise.append(f"request: {request.url}"))
    page.goto(address)
    yield page
    context.close()
    assert [line for line in noise if line != f"request: {address}" and not line.startswith("request: data:")] == []


def test_it_opens_in_silence_and_is_photographed(opened: Page):
    assert opened.title().startswith("ContrastMask") and opened.locator("figure img").count() > 5
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=PICTURE, full_page=True)
    assert PICTURE.stat().st_size > 10_000


@pytest.mark.parametrize("fragment", ["", "#missing", f"#run-{MISSING}"])
def test_a_phone_does_not_scroll_sideways(opened: Page, fragment: str):
    opened.set_viewport_size(PHONE)
    opened.evaluate("() => document.querySelectorAll('details').forEach(box => box.open = true)")
    opened.evaluate("fragment => { location.hash = fragment }", fragment)
    assert opened.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    table = opened.locator(".wide").first
    assert table.evaluate("box => box.scrollWidth > box.clientWidth")  # the table scrolls in its own box


def test_a_cell_opens_its_run_by_mouse_and_by_keyboard(opened: Page):
    link = opened.locator("#table2 td.cell a").first
    run = opened.locator(f"[id='{link.get_attribute('href')[1:]}']")
    assert not run.evaluate("run => run.open")
    link.click()
    expect(run.locator("dl").first).to_be_visible()
    run.evaluate("run => { run.open = false }")
    link.focus()
    opened.keyboard.press("Enter")
    expect(run.locator("dl").first).to_be_visible()
    expect(run.locator("summary").first).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_background(opened: Page, scheme: str):
    opened.emulate_media(color_scheme=scheme)
    colours = opened.evaluate(
        """() => [getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor,
                  getComputedStyle(document.querySelector('td.printed')).color,
                  getComputedStyle(document.querySelector('figure img')).backgroundColor]"""
    )
    ink, page, grey, paper = (_luminance(colour) for colour in colours)
    assert (max(ink, page) + 0.05) / (min(ink, page) + 0.05) > 7
    assert (max(grey, page) + 0.05) / (min(grey, page) + 0.05) > 4.5
    assert paper == pytest.approx(1)  # plots are drawn for white


def _luminance(colour: str) -> float:
    """WCAG's relative luminance of "rgb(r, g, b)"."""
    channels = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
