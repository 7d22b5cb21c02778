// The keys and words that can be written where the cursor stands, in a list below it: by keyboard and by pointer.

import { choices, placeAt } from "./place.js";
import { isReplacing, replace } from "./typing.js";

export class Suggestions {
  constructor(editor, text, lines, layer, places) {
    Object.assign(this, { text, lines, layer, places, found: [], active: 0 });
    this.box = editor.querySelector(".lines");
    this.list = editor.querySelector("[role=listbox]");
    this.status = editor.querySelector(".heard");
    text.addEventListener("input", (event) => {
      const { inputType, data } = event;
      const isTyped = inputType === "insertCompositionText" || (inputType === "insertText" && data?.length === 1);
      if (isReplacing()) this.close();
      else if (isTyped || this.isOpen) this.suggest(false);
    });
    text.addEventListener("blur", () => this.close());
    text.addEventListener("scroll", () => this.isOpen && this.move());
    addEventListener("resize", () => this.isOpen && this.move());
    text.addEventListener("pointerdown", () => this.close());
    this.list.addEventListener("pointerdown", (event) => event.preventDefault()); // the text keeps the focus
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.take([...this.list.children].indexOf(option));
    });
  }

  get isOpen() {
    return !this.list.hidden;
  }

  /** Shows what fits the word before the cursor; with `all` also where there is none yet. */
  suggest(all) {
    const { selectionStart: at, selectionEnd } = this.text;
    const [row, column] = this.lines.at(at);
    const place = at === selectionEnd && !this.lines.hasLong ? placeAt(this.lines, row, column) : null;
    const word = place?.word.toLowerCase();
    const fits = place && (word || all) ? choices(place, this.places).filter(({ name }) => name.toLowerCase().startsWith(word)) : [];
    this.place = { ...place, row, end: column };
    this.found = fits.length === 1 && place.isValue && fits[0].name === place.word ? [] : fits;
    if (this.found.length) this.open();
    else this.close();
  }

  open() {
    this.list.replaceChildren(
      ...this.found.map(({ name, meaning, dash }, index) => {
        const option = document.createElement("li");
        option.id = `${this.list.id}-${index}`;
        option.setAttribute("role", "option");
        option.append(Object.assign(document.createElement("b"), { textContent: dash ? `- ${name}` : name }));
        if (meaning) option.append(" ", Object.assign(document.createElement("span"), { textContent: meaning }));
        return option;
      }),
    );
    this.list.hidden = false;
    this.move();
    if (!this.isOpen) return;
    this.text.setAttribute("aria-controls", this.list.id);
    this.status.textContent = `${this.found.length} suggestion${this.found.length === 1 ? "" : "s"}`;
    this.activate(0);
  }

  /** Puts the list beside the word, below it if there is room; without the word in sight there is none. */
  move() {
    const { left, top, bottom } = this.layer.spot(this.place.row, this.place.column);
    if (bottom < 0 || top > this.text.clientHeight || left < 0) {
      this.close();
      return;
    }
    const below = innerHeight - this.box.getBoundingClientRect().top - bottom;
    const isAbove = below < this.list.offsetHeight && below < innerHeight - below;
    this.list.style.left = `${Math.max(0, Math.min(left, this.box.clientWidth - this.list.offsetWidth))}px`;
    this.list.style.top = `${isAbove ? top - this.list.offsetHeight : bottom}px`;
  }

  close() {
    if (!this.isOpen) return;
    this.list.hidden = true;
    this.text.removeAttribute("aria-controls");
    this.text.removeAttribute("aria-activedescendant");
    this.status.textContent = "";
  }

  activate(index) {
    this.active = (index + this.found.length) % this.found.length;
    [...this.list.children].forEach((option, one) => option.setAttribute("aria-selected", String(one === this.active)));
    const option = this.list.children[this.active];
    this.text.setAttribute("aria-activedescendant", option.id);
    // Not scrollIntoView, which would move the page as well.
    const { offsetTop, offsetHeight } = option;
    const { scrollTop, clientHeight } = this.list;
    this.list.scrollTop = Math.max(offsetTop + offsetHeight - clientHeight, Math.min(scrollTop, offsetTop));
  }

  /** Writes one of those that are shown, in place of the word in which the cursor stands. */
  take(index) {
    const { name, form, dash } = this.found[index];
    const { row, column, isFlow } = this.place;
    const line = this.lines.all[row];
    const end = this.place.end + /^[\w-]*/.exec(line.slice(this.place.end))[0].length;
    const rest = line.slice(end);
    const indent = `\n${" ".repeat(column + (dash ? 4 : 2))}`;
    let after = "";
    if (form && !/^ *:/.test(rest)) {
      if (form === "text" || isFlow || rest.trim()) after = ": ";
      else after = form === "list" ? `:${indent}- ` : `:${indent}`;
    }
    const start = this.lines.start(row);
    this.close();
    replace(this.text, start + column, start + end, `${dash ? "- " : ""}${name}${after}`);
  }

  /** Takes the keys that the list is for; says whether it did. */
  onKey(event) {
    const { key } = event;
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (key === " " && event.ctrlKey && !event.altKey && !event.metaKey) this.suggest(true);
    else if (!this.isOpen || !plain) return false;
    else if (key === "ArrowDown") this.activate(this.active + 1);
    else if (key === "ArrowUp") this.activate(this.active - 1);
    else if ((key === "Enter" || key === "Tab") && !event.shiftKey) this.take(this.active);
    else if (key === "Escape") this.close();
    else {
      if (/^(?:Arrow|Home|End|Page)/.test(key)) this.close();
      return false;
    }
    event.preventDefault();
    return true;
  }
}
