// Search in the whole log. The server finds the lines; here they are gone to and marked.

import { highlight, unmark } from "./highlight.js";
import { Matcher } from "./matcher.js";

const TYPING = 200; // milliseconds after which what was typed is searched for

export class Search {
  /** `form` is the search bar; `go` brings a line into sight. */
  constructor(form, address, go) {
    Object.assign(this, { form, address, go });
    this.input = form.elements.q;
    this.output = form.querySelector("output");
    this.lines = [];
    this.at = -1;
    this.pattern = null;
    this.rows = [];
    this.matcher = new Matcher(() => this.mark(this.rows));
    this.asked = "";
    this.size = () => 0; // that of the log, which grows while the build runs
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.next(event.submitter?.value === "previous" ? -1 : 1);
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.next(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape") this.close();
      else return;
      event.preventDefault();
    });
    this.input.addEventListener("input", () => {
      clearTimeout(this.typed);
      if (this.input.value) this.typed = setTimeout(() => this.next(1, this.begin), TYPING);
      else this.#forget();
    });
    for (const box of [form.elements.case, form.elements.regex]) {
      box.addEventListener("change", () => this.input.value && this.next(1));
    }
  }

  open() {
    this.form.hidden = false;
    this.begin = this.from?.() ?? 0;
    this.input.focus();
    this.input.select();
  }

  close() {
    this.form.hidden = true;
    this.#forget();
    this.closed?.();
  }

  #forget() {
    clearTimeout(this.typed);
    this.asking?.abort();
    this.pattern = null;
    this.asked = "";
    this.lines = [];
    this.output.textContent = "";
    this.matcher.forget();
    unmark();
    this.found?.();
  }

  /** Goes to the next line that matches, or with -1 to the previous one. */
  async next(direction, from = this.from?.() ?? 0) {
    clearTimeout(this.typed);
    const query = new URLSearchParams({
      q: this.input.value, case: this.form.elements.case.checked, regex: this.form.elements.regex.checked,
    });
    if (!this.input.value) return;
    const isNew = String(query) !== this.asked;
    const beyond = !(this.at + direction in this.lines);
    if (isNew || (beyond && this.size() !== this.searched)) {
      const here = isNew ? undefined : this.lines[this.at];
      if (!(await this.#ask(query))) return;
      this.at = this.lines.indexOf(here);
      if (this.at < 0) {
        const after = this.lines.findIndex((line) => line >= from);
        this.at = (after < 0 ? this.lines.length : after) - (direction > 0 ? 1 : 0);
      }
    }
    if (!this.lines.length) return;
    this.at = (this.at + direction + this.lines.length) % this.lines.length;
    this.#say();
    await this.go(this.lines[this.at]);
  }

  async #ask(query) {
    this.asking?.abort(); // which ends that search in the server, too
    const { signal } = (this.asking = new AbortController());
    const size = this.size();
    this.output.textContent = "Searching…";
    const response = await fetch(`${this.address}?${query}`, { signal }).catch(() => null);
    const answer = await response?.json().catch(() => null);
    if (signal.aborted) return false; // another search was begun meanwhile
    if (!answer) {
      this.output.textContent = "The server does not answer; search again";
      return false;
    }
    this.lines = response.ok ? answer.lines : [];
    this.count = answer.count ?? 0;
    this.pattern = response.ok ? this.#compiled() : null;
    this.asked = String(query);
    this.searched = size;
    this.at = -1;
    this.output.textContent = response.ok ? "" : answer.error;
    this.found?.();
    if (response.ok) this.#say();
    this.mark(this.rows); // it may match nowhere, so that nothing is gone to
    return response.ok;
  }

  #say() {
    const place = `${(this.at + 1).toLocaleString("en")} of ${this.count.toLocaleString("en")}`;
    this.saidPartial = this.matcher.isPartial;
    const words = this.saidPartial ? `${place}, not all marked` : place;
    this.output.textContent = this.lines.length ? words : "Nothing found";
  }

  #compiled() {
    const flags = this.form.elements.case.checked ? "g" : "gi";
    const text = this.input.value;
    try {
      return new RegExp(this.form.elements.regex.checked ? text : text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), flags);
    } catch {
      return null; // the server knows expressions that the browser doesn't
    }
  }

  /** Marks what matches in the rows that are shown. */
  mark(rows) {
    this.rows = rows;
    if (!CSS.highlights) return;
    if (!this.pattern) return unmark();
    const texts = rows.map((row) => row.querySelector(".text")).filter(Boolean);
    highlight(texts, this.matcher.matches(texts.map((text) => text.textContent), this.pattern));
    if (this.saidPartial !== this.matcher.isPartial) this.#say();
  }
}
