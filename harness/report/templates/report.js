"use strict";
// Draws each chart into its place; those in closed details when they are opened.
const read = (name) => JSON.parse(document.getElementById(name).textContent);
const specs = read("specs");
const options = { actions: false, renderer: "svg", tooltip: { theme: "custom" }, config: read("config") };

function draw(place) {
  if (place.dataset.drawn || place.closest("details:not([open])")) return;
  place.dataset.drawn = "yes";
  vegaEmbed(place, specs[place.dataset.chart], options).catch((error) => {
    place.textContent = "This chart could not be drawn: " + error.message;
  });
}

document.querySelectorAll("[data-chart]").forEach(draw);
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => details.querySelectorAll("[data-chart]").forEach(draw));
}

// A link leads into closed details too.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  let closed = target && target.closest("details:not([open])");
  if (!closed) return;
  for (; closed; closed = target.closest("details:not([open])")) closed.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();

// What broke a rule is named on paper too.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("#integrity details:not([open]), details.examples:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
