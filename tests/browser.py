"""A headless Chromium without a network, which keeps its console."""

import shutil
from contextlib import contextmanager

import pytest

BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))


@contextmanager
def headless(folder):
    """Yields its driver; skips the tests where Chromium is not installed."""
    if not (BROWSER and DRIVER):
        pytest.skip("no chromium or chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "headless=new", "no-sandbox", "disable-gpu", "use-angle=swiftshader", "no-first-run",
        "enable-unsafe-swiftshader", "disable-dev-shm-usage", "disable-background-networking",
        "disable-component-update", "disable-sync", "window-size=1200,800",
        "host-resolver-rules=MAP * ~NOTFOUND", f"user-data-dir={folder}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
