// Keys for everything: one character, or two in a row such as "g d". `?` lists them.

const MEMORY = "rapidflow.keys";
const SEQUENCE = 1000; // milliseconds between the two keys of a sequence
const known = new Map();
let first = "";
let timer = 0;

/** Calls `action` when `keys` are pressed, unless somebody is typing. */
export function key(keys, description, action) {
  known.set(keys, { description, action });
}

/** Whether single keys do anything; people who dictate or have a tremor switch them off. */
export function enabled() {
  return localStorage.getItem(MEMORY) !== "off";
}

function typing(target) {
  return target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing(event.target) || event.key.length > 1) return;
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  const pressed = first ? `${first} ${event.key}` : event.key;
  clearTimeout(timer);
  first = "";
  const found = known.get(pressed);
  if (found && (enabled() || pressed === "?")) {
    event.preventDefault();
    found.action();
  } else if ([...known.keys()].some((keys) => keys.startsWith(`${pressed} `))) {
    first = event.key;
    timer = setTimeout(() => (first = ""), SEQUENCE);
  }
});

function help() {
  const dialog = document.getElementById("keys");
  if (dialog.open) {
    dialog.close();
    return;
  }
  const list = dialog.querySelector("dl");
  list.replaceChildren(
    ...[...known].flatMap(([keys, { description }]) => {
      const term = document.createElement("dt");
      for (const one of keys.split(" ")) term.append(Object.assign(document.createElement("kbd"), { textContent: one }), " ");
      return [term, Object.assign(document.createElement("dd"), { textContent: description })];
    }),
  );
  const box = dialog.querySelector("input");
  box.checked = enabled();
  box.onchange = () => localStorage.setItem(MEMORY, box.checked ? "on" : "off");
  dialog.showModal();
}

key("?", "Keyboard shortcuts", help);
key("g d", "Go to the dashboard", () => (location.href = document.querySelector(".brand").href));
document.querySelector("[data-keys]")?.addEventListener("click", help);
