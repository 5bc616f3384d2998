"use strict";
// Draws each chart into its place; those in closed details when they are opened.
const specs = JSON.parse(document.getElementById("specs").textContent);
const options = { actions: false, renderer: "svg", tooltip: { theme: "custom" } };

function draw(place) {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  vegaEmbed(place, structuredClone(specs[place.dataset.chart]), options).catch((error) => {
    place.textContent = "This chart could not be drawn: " + error.message;
  });
}

for (const place of document.querySelectorAll("[data-chart]")) {
  if (!place.closest("details:not([open])")) draw(place);
}
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => details.querySelectorAll("[data-chart]").forEach(draw));
}

// What broke a rule is named on paper too.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("#integrity details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
