"""Looks at the pages of a report, a comparison and a trend in a real browser.

``python page_browser.py CHROMIUM REPORT COMPARISON TREND FOLDER`` prints what it saw as JSON and leaves
pictures in the folder. A process of its own, because Locust has gevent replace what a browser's driver
builds on.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from harness.tests.browser import launched

#: A desk, a tablet, a phone.
WIDTHS: Final = (1280, 800, 375)
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
RULES: Final = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
#: What is within a chart is told by the chart's label, and has thousands of elements.
CONTEXT: Final = {"exclude": [["svg"]]}

#: Every chart that is not in closed details has been drawn.
DRAWN: Final = (
    "() => [...document.querySelectorAll('[data-chart]')]"
    ".every((place) => place.closest('details:not([open])') || place.querySelector('svg'))"
)
OPEN_ALL: Final = "document.querySelectorAll('details').forEach((details) => { details.open = true; })"
#: What has the focus: where a link leads, or the text of a summary.
FOCUS: Final = (
    "(() => { const one = document.activeElement;"
    " return one.getAttribute('href') || one.tagName + ' ' + one.textContent.trim(); })()"
)


def main(chromium: str, report: Path, comparison: Path, trend: Path, folder: Path) -> None:
    with launched(chromium) as browser:
        seen = {
            "looks": [
                *looks(browser, report, folder),
                *looks(browser, comparison, folder),
                *looks(browser, trend, folder, WIDTHS[-1:]),
            ],
            "print": on_paper(browser, report, folder),
            "keys": by_keyboard(browser, report),
            "links": links(browser, report),
        }
    print(json.dumps(seen))


class Watched:
    """A page, what it asked the network for, and what went wrong in it."""

    def __init__(
        self,
        browser: Browser,
        path: Path,
        *,
        width: int = WIDTHS[0],
        scheme: Literal["light", "dark"] = "light",
    ) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page: Page = context.new_page()
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: line.type == "error" and self.errors.append(line.text))
        self.page.goto(path.as_uri())
        self.page.wait_for_function(DRAWN)


def looks(
    browser: Browser, path: Path, folder: Path, widths: tuple[int, ...] = WIDTHS
) -> list[dict[str, Any]]:
    """The page with all of it opened, at each width and in both colour schemes."""
    found = []
    for width in widths:
        watched = Watched(browser, path, width=width)
        page = watched.page
        closed = overflow(page)
        page.evaluate(OPEN_ALL)
        page.wait_for_function(DRAWN)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=folder / f"{path.stem}-{scheme}-{width}.png")
            violations = Axe().run(page, CONTEXT, RULES).response["violations"]
            found.append(
                {
                    "page": path.name,
                    "width": width,
                    "scheme": scheme,
                    "overflow": max(closed, overflow(page)),
                    "paper": page.evaluate("getComputedStyle(document.body).backgroundColor"),
                    "violations": [
                        f"{one['id']}: {node['html'][:150]}"
                        for one in violations
                        for node in one["nodes"][:3]
                    ],
                    "asked": watched.asked,
                    "errors": watched.errors,
                }
            )
        page.context.close()
    return found


def overflow(page: Page) -> int:
    """How many pixels the page is wider than its window."""
    pixels: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return pixels


def on_paper(browser: Browser, path: Path, folder: Path) -> dict[str, Any]:
    page = Watched(browser, path, scheme="dark").page
    page.emulate_media(media="print")
    seen = {
        "paper": page.evaluate("getComputedStyle(document.documentElement).colorScheme"),
        "nav": page.locator("nav").is_visible(),
        "verdict": page.locator("h1").is_visible(),
        "overflow": overflow(page),
        "pages": page.pdf(path=folder / "report.pdf", format="A4").count(b"/Type /Page\n"),
    }
    page.context.close()
    return seen


def by_keyboard(browser: Browser, path: Path) -> dict[str, Any]:
    """What Tab comes by on the way to the first details, and what Enter does there."""
    page = Watched(browser, path).page
    passed = []
    for _ in range(100):
        page.keyboard.press("Tab")
        passed.append(page.evaluate(FOCUS))
        if passed[-1].startswith("SUMMARY"):
            break
    page.keyboard.press("Enter")
    opened = page.evaluate("document.activeElement.parentElement.open")
    seen = {
        "passed": passed,
        "opened": opened,
        "nav": page.locator("nav a").evaluate_all("(links) => links.map((one) => one.getAttribute('href'))"),
        "unreachable": page.locator("summary[tabindex='-1'], a[tabindex='-1']").count(),
    }
    page.context.close()
    return seen


def links(browser: Browser, path: Path) -> dict[str, Any]:
    """Where a fault's band, its text link, its card and a link into closed details lead."""
    page = Watched(browser, path).page
    # The second layer are the faults; at its top edge no line runs.
    band = page.locator("[data-chart=timeline-latency] .layer_1_marks path").nth(1)
    band.scroll_into_view_if_needed()
    box = band.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 12)
    page.wait_for_function("location.hash")
    seen = {"band": landed(page)}
    page.locator("#timeline a[href='#fault-0']").click()
    seen["text"] = landed(page)
    page.locator("#fault-0").get_by_role("link", name="in the timeline").click()
    seen["back"] = landed(page)
    # The first scenario passed, so that it is closed; so is its timeline within.
    seen["drawn before"] = page.locator("#scenario-0 svg").count()
    page.evaluate("location.hash = '#scenario-0-timeline'")
    page.wait_for_function(DRAWN)
    seen["timeline"] = landed(page)
    seen["drawn after"] = page.locator("#scenario-0 svg").count()
    page.context.close()
    return seen


def landed(page: Page) -> list[Any]:
    """The hash of the address, and whether what it names is on the screen."""
    page.wait_for_timeout(50)
    name = page.evaluate("location.hash.slice(1)")
    top = page.evaluate("(name) => document.getElementById(name).getBoundingClientRect().top", name)
    return [name, 0 <= top + 1 < 900 and page.locator(f"[id='{name}']").is_visible()]


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
