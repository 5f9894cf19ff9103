"""Every page of the site in a headless browser: light, dark, medium and narrow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import headless

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.long
LOOKS = {
    "light": ("light", 1300),
    "dark": ("dark", 1300),
    "medium": ("light", 1100),
    "narrow": ("light", 420),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site; the tutorials are not executed."""
    pytest.importorskip("sphinx")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(folder)]
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"TUTORIALS": "0"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with headless(tmp_path_factory.mktemp("user")) as driver:
        yield driver


def pages(site):
    return [page for page in sorted(site.rglob("*.html")) if "_static" not in page.parts]


@pytest.mark.parametrize("look", LOOKS)
def test_pages_open_without_complaint_or_sideways_scrolling(site, browser, look):
    theme, width = LOOKS[look]
    browser.set_window_size(width, 1000)
    assert len(pages(site)) > 50
    problems = []
    for page in pages(site):
        browser.get(f"file://{page}")
        browser.execute_script("localStorage.setItem('theme', arguments[0])", theme)
        browser.refresh()
        shown = browser.execute_script(
            "return [document.body.dataset.theme, document.documentElement.scrollWidth,"
            " innerWidth, Array.from(document.images).filter(i => !i.naturalWidth).length]"
        )
        name = page.relative_to(site).as_posix()
        problems += [f"{name}: {entry['message']}" for entry in browser.get_log("browser")]
        if shown[0] != theme or shown[1] > shown[2] or shown[3]:
            problems.append(f"{name}: theme, width, inner width, missing images: {shown}")
    assert not problems, "\n".join(problems)


def test_search_works_from_disk(site, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"file://{site}/search.html?q=barrier")
    links = (By.CSS_SELECTOR, "#search-results li a[href*='glossary']")
    WebDriverWait(browser, 20).until(lambda b: b.find_elements(*links))
    assert browser.get_log("browser") == []
