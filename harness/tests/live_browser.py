"""Looks at the tabs of ours in a real browser: ``python live_browser.py ADDRESS CHROMIUM FOLDER``.

A process of its own, because Locust has gevent replace what a browser's driver builds on. It tells what
it saw, a JSON line each, and where it needs something to happen it waits for a line on stdin.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import FrameLocator, Page, expect

from harness.tests.browser import launched

#: Generous: what is waited for comes within seconds on a machine that has nothing else to do.
ENOUGH_MS = 60_000
#: A desk, a tablet, a phone.
WIDTHS = (1280, 800, 375)
OBJECTIVE = "broadcast_latency"


def main(address: str, chromium: str, folder: Path) -> None:
    expect.set_options(timeout=ENOUGH_MS)
    with launched(chromium) as browser:
        page = browser.new_page(viewport={"width": WIDTHS[0], "height": 1100})
        page.set_default_timeout(ENOUGH_MS)
        for step in steps(page, address, folder):
            print(json.dumps(step), flush=True)


def steps(page: Page, address: str, folder: Path) -> Iterator[dict[str, Any]]:
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    expect(page.locator("[name=host]")).to_be_hidden()
    page.get_by_text("Custom parameters").click()
    games = page.locator("[name=games]")
    right = games.input_value()
    games.fill("-5")
    page.get_by_role("button", name="Start").click()
    yield {"refused": page.get_by_role("alert").inner_text()}
    games.fill(right)
    page.get_by_role("button", name="Start").click()
    page.get_by_role("tab", name="Objectives").click()
    tab = page.frame_locator("#stormwatch-objectives")
    expect(tab.locator("#window")).to_contain_text("Steady")
    expect(tab.locator(f"[data-objective={OBJECTIVE}]")).to_contain_text("p95")
    before = seen(tab)
    yield {"figures": before}
    # Not the same text for ever: new figures came.
    expect(tab.locator(f"[data-objective={OBJECTIVE}]")).not_to_have_text(before["row"])
    yield {"figures": seen(tab)}
    expect(tab.locator("#faults")).to_have_text("Nothing")
    yield {"do": "begin the fault"}
    input()
    expect(tab.locator("#faults")).to_contain_text("network:down")
    page.screenshot(path=folder / "tab.png")
    yield {"faults": tab.locator("#faults li").all_inner_texts()}
    yield {"do": "end the fault"}
    input()
    expect(tab.locator("#faults")).to_have_text("Nothing")
    page.get_by_role("tab", name="KPIs").click()
    expect(tab.locator("#kpis section")).to_have_count(5)
    expect(tab.locator("#judged")).to_be_hidden()
    page.screenshot(path=folder / "kpis.png")
    yield {"kpis": tab.locator("#kpis section").all_inner_texts()}
    page.get_by_role("tab", name="Statistics").click()
    expect(page.locator("#stormwatch-objectives")).to_have_count(0)
    yield from alone(page, address, folder)
    yield {"do": "stop"}
    input()
    expect(page.locator("#age")).to_have_text("final")
    expect(page.locator("#command")).to_contain_text("locust -f")
    expect(page.locator("#newest")).to_contain_text("network:down service-pubnub for")
    page.screenshot(path=folder / "ended.png", full_page=True)
    page.locator("#linked a").click()
    page.wait_for_url("**/stormwatch/report")
    yield {"report": page.title()}
    yield {"asked": asked, "errors": errors}


def seen(tab: FrameLocator) -> dict[str, Any]:
    row = tab.locator(f"[data-objective={OBJECTIVE}]")
    return {
        "row": row.text_content(),
        "cells": row.locator("[role=cell]").all_inner_texts(),
        "verdict": row.get_attribute("data-verdict"),
        "objectives": tab.locator("#objectives tr").count(),
        "trails": tab.locator(".trail:not([hidden])").count(),
        "left": tab.locator("#left").inner_text(),
    }


def alone(page: Page, address: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The page of its own, at each width and in both colour schemes."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(f"{address}/stormwatch")
            expect(page.locator(f"[data-objective={OBJECTIVE}]")).to_contain_text("p95")
            page.screenshot(path=folder / f"alone-{scheme}-{width}.png", full_page=True)
            yield {
                "width": width,
                "scheme": scheme,
                "overflow": page.evaluate("document.documentElement.scrollWidth - window.innerWidth"),
                "paper": page.evaluate("getComputedStyle(document.body).backgroundColor"),
                "unnamed": page.evaluate(
                    "[...document.querySelectorAll('progress, [role=region], th')]"
                    ".filter((one) => !one.textContent.trim() && !one.getAttribute('aria-labelledby')).length"
                ),
            }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
