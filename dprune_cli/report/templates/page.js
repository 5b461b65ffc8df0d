"use strict";

// The page is whole without this script, which only sorts, hides and shows what is there.
document.documentElement.classList.add("js");

const collator = new Intl.Collator("en", { numeric: true });

// What a row is sorted by: a number, a text, or null where it is not known.
function sortKey(cell) {
  const value = cell.dataset.value;
  if (value === undefined) return cell.textContent;
  return value === "" ? null : Number(value);
}

// Numbers come before texts, and what is not known comes last in either direction.
function compare(one, other, direction) {
  if (one === null || other === null) return (one === null) - (other === null);
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  if (typeof one === "string") return direction * collator.compare(one, other);
  return direction * ((one > other) - (one < other));
}

function sortRows(table, column, direction) {
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows, (row) => [sortKey(row.cells[column]), row]);
  keyed.sort(([one], [other]) => compare(one, other, direction));
  body.append(...keyed.map(([, row]) => row));
}

function prepareSorting(grid) {
  const table = grid.querySelector("table");
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const first = heading.classList.contains("text") ? "ascending" : "descending";
      const second = first === "ascending" ? "descending" : "ascending";
      const next = heading.ariaSort === first ? second : first;
      for (const other of headings) other.ariaSort = "none";
      heading.ariaSort = next;
      sortRows(table, column, next === "ascending" ? 1 : -1);
    });
  });
}

function prepareFinding(grid) {
  const rows = Array.from(grid.querySelector("tbody").rows);
  const field = grid.querySelector("input");
  const count = grid.querySelector("output");
  const all = count.textContent;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    grid.classList.toggle("finding", wanted !== "");
    count.textContent = wanted === "" ? all : `${rows.filter((row) => !row.hidden).length} of ${all}`;
  });
  const more = grid.querySelector(".more");
  const [showAll, showFewer] = [more.textContent, "Show fewer rows"];
  more.addEventListener("click", () => {
    const open = grid.classList.toggle("all");
    more.ariaExpanded = String(open);
    more.textContent = open ? showFewer : showAll;
  });
}

// Show the part of a gallery with this id, and no other of the same gallery.
function choose(id) {
  const part = document.getElementById(id);
  if (!part || !part.classList.contains("part")) return;
  const gallery = part.parentElement;
  for (const other of gallery.querySelectorAll(".chosen")) other.classList.remove("chosen");
  part.classList.add("chosen");
  part.querySelectorAll(".again").forEach(showAgain);
  const select = gallery.querySelector("select");
  select.value = id;
  for (const button of gallery.querySelectorAll("[data-step]")) {
    button.disabled = !select.options[select.selectedIndex + Number(button.dataset.step)];
  }
}

// A picture that is on the page twice has its bytes only once.
function showAgain(link) {
  const image = document.querySelector(link.hash).cloneNode();
  image.removeAttribute("id");
  image.alt = link.dataset.alt;
  link.replaceWith(image);
}

function prepareGallery(gallery) {
  const select = gallery.querySelector("select");
  select.addEventListener("change", () => choose(select.value));
  for (const button of gallery.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => {
      choose(select.options[select.selectedIndex + Number(button.dataset.step)].value);
    });
  }
  choose(select.value);
}

// Tiny pictures are enlarged pixel by pixel, not blurred. Load events of pictures do not bubble.
document.addEventListener("load", ({ target }) => {
  if (target instanceof HTMLImageElement) target.classList.toggle("crisp", target.naturalWidth < 64);
}, true);

document.addEventListener("click", ({ target }) => {
  const link = target.closest("a[href^='#']");
  if (link) choose(link.hash.slice(1));
});
window.addEventListener("hashchange", () => choose(location.hash.slice(1)));

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".grid:has(table)").forEach(prepareSorting);
  document.querySelectorAll(".grid.long").forEach(prepareFinding);
  document.querySelectorAll(".gallery:has(select)").forEach(prepareGallery);
  choose(location.hash.slice(1));
});
