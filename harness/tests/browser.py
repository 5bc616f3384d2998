"""The browser that tests look with: Chromium, of the system or of ``STORMWATCH_CHROMIUM``."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: As .ci/run knows them.
NAMES: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Return the path of the browser.

    Without one the test that asks is skipped. In CI it fails: there nobody would notice that it never ran.
    """
    found = os.environ.get("STORMWATCH_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if importlib.util.find_spec("playwright") is None:
        missing = "the package playwright is not installed; run `make setup`"
    elif found is None:
        missing = (
            f"none of {', '.join(NAMES)} on PATH; install one (Debian: apt-get install chromium) "
            "or set STORMWATCH_CHROMIUM"
        )
    else:
        return found
    give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    raise give_up.Exception(f"no browser: {missing}")


@contextmanager
def launched(chromium: str) -> Iterator[Browser]:
    """Run the browser, headless.

    Not in pytest's own process: Locust has gevent replace what a browser's driver builds on.
    """
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox does not work for root, as whom containers run.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()
