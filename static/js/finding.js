// Forms that filter a list while one types: the list and the page's address follow, and Enter opens the first.

import { key } from "./keys.js";

const WAIT = 150; // milliseconds after the last key

for (const form of document.querySelectorAll("form[data-list]")) {
  const opens = "opens" in form.dataset;
  let timer = 0;
  let asked = new AbortController();

  const query = () => {
    const given = new URLSearchParams(new FormData(form));
    for (const [name, value] of [...given]) if (!value.trim()) given.delete(name);
    return given.size ? `?${given}` : "";
  };

  async function find() {
    clearTimeout(timer);
    asked.abort();
    asked = new AbortController();
    const here = query();
    history.replaceState(null, "", `${location.pathname}${here}`);
    const response = await fetch(`${form.dataset.list}${here}`, { signal: asked.signal }).catch(() => null);
    if (!response?.ok || response.redirected) return false;
    const made = new DOMParser().parseFromString(await response.text(), "text/html");
    const list = document.importNode(made.getElementById(form.dataset.into), true);
    document.getElementById(form.dataset.into).replaceWith(list);
    const said = form.querySelector("[role=status]");
    if (said) said.textContent = list.dataset.said;
    window.htmx.process(list);
    document.dispatchEvent(new CustomEvent("htmx:after:swap"));
    return true;
  }

  form.addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(find, event.target.matches("select") ? 0 : WAIT);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    // What an empty field finds first nobody has asked for, nor what was found before more was typed.
    const typed = query();
    if (!(await find()) || !opens || !typed || typed !== query()) return;
    document.querySelector(`#${form.dataset.into} [data-found]`)?.click();
  });
  const first = form.querySelector("[data-first]");
  key("/", first.title || "Search", () => {
    first.focus();
    first.select();
  });
}
