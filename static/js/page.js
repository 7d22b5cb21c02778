// What every page does: counts time, asks before forms are sent, switches the theme.

import { formatElapsed } from "./durations.js";
import "./connection.js";
import "./keys.js";
import "./secret-fields.js";

const THEMES = { system: "Theme: system", light: "Theme: light", dark: "Theme: dark" };
const root = document.documentElement;
const skew = Date.now() - Number(root.dataset.now); // this clock against the server's

// Times

function ago(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    const count = Math.floor(seconds / size);
    if (count) return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
  }
  return "just now";
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const STYLES = {
  day: { dateStyle: "medium" },
  minute: { dateStyle: "medium", timeStyle: "short" },
  second: { dateStyle: "medium", timeStyle: "medium" },
};
const formats = Object.fromEntries(Object.entries(STYLES).map(([name, style]) => [name, new Intl.DateTimeFormat([], style)]));

function tick() {
  const now = Date.now() - skew;
  for (const element of document.querySelectorAll("time[data-since]")) say(element, formatElapsed(now - element.dataset.since, false));
  for (const element of document.querySelectorAll("time[data-at]")) say(element, formats[element.dataset.style].format(Number(element.dataset.at)));
  for (const element of document.querySelectorAll("time[data-ago]")) say(element, ago(now - element.dataset.ago));
  for (const element of document.querySelectorAll("progress[data-since]")) {
    const passed = now - element.dataset.since;
    element.value = Math.min(passed, element.max);
    const beside = element.parentElement.querySelector(".usual");
    if (beside && passed > element.max * 1.2) {
      beside.dataset.late = "late";
      say(beside, `usually ${formatElapsed(element.max)}, ${formatElapsed(passed - element.max, false)} over`);
    }
  }
}

tick();
setInterval(tick, 1000);
document.addEventListener("htmx:after:swap", tick);

// Forms that ask first, and are sent once however often one clicks

let sent = new WeakSet();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (sent.has(form) || (form.dataset.confirm && !confirm(form.dataset.confirm))) event.preventDefault();
  else sent.add(form);
});
addEventListener("pageshow", () => (sent = new WeakSet()));
document.addEventListener("stay", () => (sent = new WeakSet())); // see editor/unsaved.js

// The theme

const theme = document.querySelector("[data-theme-switch]");

function showTheme() {
  theme.textContent = THEMES[root.dataset.theme];
}

theme.hidden = false;
document.querySelector("[data-keys]").hidden = false;
theme.addEventListener("click", () => {
  const names = Object.keys(THEMES);
  root.dataset.theme = names[(names.indexOf(root.dataset.theme) + 1) % names.length];
  localStorage.setItem("rapidflow.theme", root.dataset.theme);
  showTheme();
});
showTheme();
