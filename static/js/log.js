// The log section of a job's page: opens the log at the right place and connects its toolbar and keys.

import { toClipboard } from "./clipboard.js";
import { key } from "./keys.js";
import { copy } from "./log/copy.js";
import { fit } from "./log/fit.js";
import { Live } from "./log/live.js";
import { Marks } from "./log/marks.js";
import { Pill } from "./log/pill.js";
import { Search } from "./log/search.js";
import { Stuck } from "./log/stuck.js";
import { Viewer } from "./log/viewer.js";

const WRAP = "rapidflow.log.wrap";
const section = document.getElementById("log");
const scroller = section.querySelector(".output");
const status = section.querySelector(".said");
const button = (name) => section.querySelector(`[data-action="${name}"]`);
const say = (sentence) => (status.textContent = sentence);
const outcome = () => document.getElementById("job").dataset.status;
const hasFailed = () => outcome() === "failed";

async function map() {
  for (;;) {
    const response = await fetch(`${section.dataset.job}/log/map`).catch(() => null);
    if (response?.ok) return response.json();
    say("The log can't be read; trying again…");
    await new Promise((again) => setTimeout(again, 1000));
  }
}

fit(section, scroller);
const viewer = new Viewer(scroller, section.dataset.job, section.dataset.stream, await map(), say);
const { viewport } = viewer;
say("");

const pill = new Pill(section.querySelector(".pill"), viewer);
const stuck = new Stuck(viewer);
const search = new Search(section.querySelector(".search"), `${section.dataset.job}/log/search`, (line) => viewer.show(line));
search.size = () => viewer.chunks.size;
search.from = () => viewer.firstShown;
search.closed = () => scroller.focus();
const marks = new Marks(section.querySelector(".marks"), viewer);
search.found = () => marks.show(search.lines);

viewer.onmoved = () => {
  if (!viewer.sealed) button("follow").setAttribute("aria-pressed", String(viewport.follows));
  search.mark([...scroller.querySelectorAll(".row")]);
  search.found();
  stuck.update();
  pill.update();
};
const live = new Live(viewer, () => pill.update());

// The toolbar

async function toError() {
  if (!viewer.rows.error) await (viewer.sealed ? outlined : viewer.outline());
  if (viewer.rows.error) viewer.show(viewer.rows.error.line);
  else if (hasFailed()) viewport.follow(); // the reason is at the end
  else say(viewer.sealed ? "No error was found." : "No error was found so far.");
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

/** A log that ended has nothing to follow. */
function showEnd() {
  button("follow").removeAttribute("aria-pressed");
  button("follow").title = "Go to the end (f)";
  button("follow").querySelector("span").textContent = "End";
}

const link = async () => say((await toClipboard(location.href)) ? "Copied the link." : "The browser refused to copy; the link is in its address bar.");
const actions = {
  follow: () => (viewport.follows && !viewer.sealed ? viewport.stop() : viewport.follow()),
  wrap: () => wrap(!viewer.wrapping.on), times, fold: foldAll, link, error: toError,
  copy: async () => say(await copy(viewer)),
  search: () => (search.form.hidden ? search.open() : search.close()), close: () => search.close(),
};
section.addEventListener("click", (event) => actions[event.target.closest("[data-action]")?.dataset.action]?.());

key("/", "Search the log", () => search.open());
key("n", "Next match", () => search.next(1));
key("N", "Previous match", () => search.next(-1));
key("j", "Next step", () => viewer.step(1));
key("k", "Previous step", () => viewer.step(-1));
key("e", "First error", toError);
key("f", "Follow the end, or stop", actions.follow);
key("w", "Wrap lines", actions.wrap);
key("t", "Times of lines", times);
key("z", "Collapse or expand all", foldAll);

// Where to begin

wrap(localStorage.getItem(WRAP) !== "off");
showTimes();

async function open() {
  const line = viewer.mark(location.hash);
  if (line !== null) return viewer.show(line);
  // What a cancelled build still did, such as to clean up, is at the end.
  if (!viewer.sealed || outcome() === "cancelled") return viewport.follow();
  return viewport.draw();
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
let outlined = viewer.outline();
if (viewer.sealed) await outlined;
if (viewer.sealed && viewer.rows.error && !location.hash) await viewer.show(viewer.rows.error.line);

if (!viewer.sealed) {
  await live.run();
  await (outlined = viewer.outline());
  const { error } = viewer.rows;
  if (error && viewport.stays) pill.offer(error.line);
  else if (error) await viewer.show(error.line);
}
showEnd();
section.dataset.ended = "";
