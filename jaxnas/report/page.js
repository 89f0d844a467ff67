// Draws each chart when it is first seen, and sorts tables by the column whose heading is pressed.
"use strict";
const specs = JSON.parse(document.getElementById("specs").textContent);

function draw(place) {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  const options = { renderer: "svg", actions: false, tooltip: { disableDefaultStyle: false } };
  vegaEmbed(place, specs[place.id], options).then(() => place.setAttribute("data-ready", "yes"));
}

const watch = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
  { rootMargin: "400px" },
);
const charts = document.querySelectorAll(".chart");
charts.forEach((place) => watch.observe(place));
window.addEventListener("beforeprint", () => charts.forEach(draw));

function sortBy(heading) {
  const table = heading.closest("table");
  const column = [...heading.parentNode.children].indexOf(heading);
  const rising = heading.getAttribute("aria-sort") !== "ascending";
  const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === ""); // what is not known comes last, either way
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return rising ? order : -order;
  };
  heading.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

document.querySelectorAll("th button").forEach((button) => {
  button.addEventListener("click", () => sortBy(button.closest("th")));
});
