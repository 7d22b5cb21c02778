// The log section of a job's page: opens the log at the right place and connects its toolbar and keys.

import { key } from "./keys.js";
import { copy } from "./log/copy.js";
import { Live } from "./log/live.js";
import { Search } from "./log/search.js";
import { Viewer } from "./log/viewer.js";

const WRAP = "rapidflow.log.wrap";
const section = document.getElementById("log");
const scroller = section.querySelector(".output");
const status = section.querySelector(".said");
const pill = section.querySelector(".pill");
const button = (name) => section.querySelector(`[data-action="${name}"]`);
const say = (sentence) => (status.textContent = sentence);

async function map() {
  for (;;) {
    const response = await fetch(`${section.dataset.job}/log/map`).catch(() => null);
    if (response?.ok) return response.json();
    say("The log can't be read; trying again…");
    await new Promise((again) => setTimeout(again, 1000));
  }
}

const viewer = new Viewer(scroller, section.dataset.job, section.dataset.stream, await map(), say);
say("");

// What is new while one reads further up.

let left = null;

function tell() {
  const fresh = left === null ? 0 : viewer.chunks.lines - left;
  pill.hidden = fresh <= 0;
  pill.textContent = `↓ ${fresh.toLocaleString("en")} new ${fresh === 1 ? "line" : "lines"}`;
}

viewer.onmoved = (rows) => {
  if (viewer.viewport.follows) left = null;
  else left ??= viewer.chunks.lines;
  button("follow").setAttribute("aria-pressed", String(viewer.viewport.follows));
  search.mark([...scroller.querySelectorAll(".row")]);
  tell(rows);
};
const live = new Live(viewer, tell);

const search = new Search(section.querySelector(".search"), `${section.dataset.job}/log/search`, (line) => viewer.show(line));
search.from = () => viewer.firstShown;
search.closed = () => scroller.focus();

// The toolbar

function toError() {
  if (viewer.rows.error) viewer.show(viewer.rows.error.line);
  else say("No error was found.");
}

function wrap(on) {
  localStorage.setItem(WRAP, on ? "on" : "off");
  button("wrap").setAttribute("aria-pressed", String(on));
  viewer.wrap(on);
}

function times() {
  viewer.times.cycle();
  showTimes();
}

function showTimes() {
  const { mode } = viewer.times;
  button("times").setAttribute("aria-pressed", String(mode !== "off"));
  button("times").querySelector("span").textContent = { off: "Times", clock: "Times: clock", elapsed: "Time since step start" }[mode];
  scroller.dataset.times = mode;
  viewer.wrapping.measure();
  viewer.redraw();
}

let folded = false;

function foldAll() {
  folded = !folded;
  viewer.folds.toggleAll(folded);
  button("fold").querySelector("span").textContent = folded ? "Expand all" : "Collapse all";
  viewer.redraw();
}

const actions = {
  follow: () => viewer.viewport.follow(), wrap: () => wrap(!viewer.wrapping.on), times, fold: foldAll,
  copy: async () => say(await copy(viewer)),
  error: toError, search: () => (search.form.hidden ? search.open() : search.close()), close: () => search.close(),
};
section.addEventListener("click", (event) => actions[event.target.closest("[data-action]")?.dataset.action]?.());
pill.addEventListener("click", actions.follow);

key("/", "Search the log", () => search.open());
key("n", "Next match", () => search.next(1));
key("N", "Previous match", () => search.next(-1));
key("j", "Next step", () => viewer.step(1));
key("k", "Previous step", () => viewer.step(-1));
key("e", "First error", toError);
key("f", "Follow the end", actions.follow);
key("w", "Wrap lines", actions.wrap);
key("t", "Times of lines", times);
key("z", "Collapse or expand all", foldAll);

// Where to begin

wrap(localStorage.getItem(WRAP) !== "off");
showTimes();

async function open() {
  const line = viewer.mark(location.hash);
  if (line !== null) return viewer.show(line);
  if (!viewer.sealed) return viewer.viewport.follow();
  return viewer.viewport.draw();
}

let waiting = location.hash;
viewer.onlearned = async () => {
  // A link to a line of a step that had not begun.
  if (waiting && viewer.mark(waiting) !== null) {
    const hash = waiting;
    waiting = "";
    await viewer.show(viewer.mark(hash));
  }
};
addEventListener("hashchange", open);
await open();
if (viewer.mark(location.hash) !== null) waiting = "";
const grows = !viewer.sealed;
const outlined = viewer.outline();
if (viewer.sealed) await outlined;
if (viewer.sealed && viewer.rows.error && !location.hash) await viewer.show(viewer.rows.error.line);

// One connection, and none while nobody looks.

while (!viewer.sealed) {
  const away = new AbortController();
  const leave = () => document.hidden && away.abort();
  document.addEventListener("visibilitychange", leave);
  if (!document.hidden) await live.follow(away.signal);
  document.removeEventListener("visibilitychange", leave);
  if (document.hidden) await new Promise((back) => document.addEventListener("visibilitychange", back, { once: true }));
  else if (!viewer.sealed) await new Promise((again) => setTimeout(again, 1000));
}
if (grows) await viewer.outline();
