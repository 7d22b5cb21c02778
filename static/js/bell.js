// The controls of notifications: a button on the page of a build, and on every page a bell while there are some.

import { ask, obstacle, onChange, pageOf, want, wanted } from "./told.js";

const bell = document.querySelector("[data-bell]");
const dialog = document.getElementById("bell");
const list = dialog.querySelector("ul");
const button = () => document.querySelector("[data-notify]");

function show() {
  const ids = wanted();
  bell.hidden = !ids.length;
  bell.querySelector(".number").textContent = ids.length;
  for (const row of [...list.children]) if (!ids.includes(row.dataset.id)) row.remove();
  if (!list.children.length && dialog.open) dialog.close();
  const one = button();
  if (!one) return;
  one.hidden = false;
  const label = ids.includes(one.dataset.notify) ? "Stop notifying me" : "Notify me";
  if (one.textContent !== label) one.textContent = label;
}

function say(sentence) {
  const place = document.getElementById("notify-said");
  if (!place) return;
  place.textContent = sentence;
  place.hidden = !sentence;
}

async function toggle(id) {
  if (wanted().includes(id)) {
    want(id, false);
    return;
  }
  if (!obstacle()) await Notification.requestPermission();
  const refused = obstacle() || (Notification.permission === "granted" ? "" : "Notifications were not allowed.");
  say(refused);
  if (!refused) want(id);
}

function row(id, build) {
  const made = document.createElement("li");
  made.dataset.id = id;
  const link = Object.assign(document.createElement("a"), { href: pageOf(id), textContent: `#${id}${build ? ` ${build.name}` : ""}`, className: "clip" });
  const stop = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove" });
  stop.setAttribute("aria-label", `Remove #${id}`);
  stop.addEventListener("click", () => want(id, false));
  made.append(link, Object.assign(document.createElement("span"), { className: "muted", textContent: build?.status ?? "" }), stop);
  return made;
}

bell.addEventListener("click", async () => {
  const found = (await ask(wanted())) ?? [];
  const ids = wanted(); // of now: some may have ended
  list.replaceChildren(...ids.map((id) => row(id, found.find((build) => String(build.id) === id))));
  if (ids.length && !dialog.open) dialog.showModal();
});
document.addEventListener("click", (event) => {
  const asked = event.target.closest("[data-notify]");
  if (asked) toggle(asked.dataset.notify);
});
document.addEventListener("htmx:after:swap", show);
onChange(show);
show();
