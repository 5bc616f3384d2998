// Fills the tabs "Objectives" and "KPIs" of Locust's web UI. Locust draws the tabs itself (its `extended_tabs`), but
// knows only tables of its own, asked for each two seconds, as its content.
"use strict";
(() => {
  const PAGES = { "Objectives": "stormwatch", "KPIs": "stormwatch?kpis" };
  const frame = document.createElement("iframe");
  frame.id = "stormwatch-objectives";
  frame.style.cssText = "display: block; width: 100%; min-height: 30rem; border: 0;";

  function selectedTab() {
    const tabs = document.querySelectorAll('[role="tab"][aria-selected="true"]');
    return [...tabs].find((tab) => tab.textContent.trim() in PAGES);
  }

  function place() {
    waiting = false;
    const tab = selectedTab();
    if (!tab) {
      frame.remove(); // which also ends its asking
      return;
    }
    const title = tab.textContent.trim();
    if (!frame.isConnected || frame.title !== `${title} so far`) {
      frame.title = `${title} so far`;
      frame.src = PAGES[title];
      (tab.closest(".MuiContainer-root") ?? document.body).append(frame);
    }
  }

  let waiting = false;
  function later() {
    if (!waiting) requestAnimationFrame(place);
    waiting = true;
  }

  new MutationObserver(later).observe(document.getElementById("root"), {
    subtree: true, childList: true, attributes: true, attributeFilter: ["aria-selected"],
  });
  later();
})();
