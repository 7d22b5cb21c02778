// What is drawn around and below the text of an editor: line numbers, colours, lines with problems.
// Only lines in sight are drawn, so that long definitions take no longer than short ones.

import { scan } from "./yaml.js";

const BLOCK = 20; // lines that are drawn before and after those in sight, so that not every scroll draws

function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

/** The elements of a line, or its text where it is not to be coloured. */
export function coloured(line, state) {
  return scan(line, state).pieces.map(([text, kind]) => (kind ? element("span", text, `y-${kind}`) : text));
}

export class Layer {
  constructor(editor, text, lines) {
    this.text = text;
    this.lines = lines;
    this.box = editor.querySelector(".lines");
    this.numbers = element("div");
    this.gutter = editor.querySelector(".gutter");
    this.gutter.replaceChildren(this.numbers);
    this.rows = element("div");
    this.colours = element("div", "", "colours");
    this.colours.setAttribute("aria-hidden", "true");
    this.colours.append(this.rows);
    text.before(this.colours);
    this.problems = new Map();
    this.shown = "";
    text.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(text);
  }

  /** Marks lines; maps their numbers to what is wrong with them. */
  mark(problems) {
    this.problems = problems;
    this.draw(true);
  }

  /** The height of a line, in pixels: measured, for when pages are zoomed it is not that of the style. */
  get lineHeight() {
    const style = getComputedStyle(this.text);
    const { scrollHeight, clientHeight } = this.text;
    if (scrollHeight <= clientHeight) return parseFloat(style.lineHeight);
    return (scrollHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom)) / this.lines.all.length;
  }

  /** Draws before the browser does, once for all that changes until then. */
  drawSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.draw(true);
    });
  }

  /** Draws what is in sight; with `changed` also what was drawn before. */
  draw(changed = false) {
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = this.text;
    const height = this.lineHeight;
    const count = this.lines.all.length;
    const first = Math.max(0, (Math.floor(scrollTop / height / BLOCK) - 1) * BLOCK);
    const last = Math.min(count, (Math.floor((scrollTop + clientHeight) / height / BLOCK) + 2) * BLOCK);
    if (changed || this.shown !== `${first} ${last}`) this.fill(first, last);
    this.shown = `${first} ${last}`;
    const top = first * height - scrollTop;
    this.numbers.style.transform = `translateY(${top}px)`;
    this.rows.style.transform = `translate(${-scrollLeft}px, ${top}px)`;
    // Not below the bars with which the text is scrolled.
    this.colours.style.clipPath = `inset(0 calc(100% - ${clientWidth}px) calc(100% - ${clientHeight}px) 0)`;
  }

  fill(first, last) {
    const colours = !this.lines.hasLong;
    this.box.classList.toggle("coloured", colours);
    this.gutter.style.minWidth = `calc(${Math.max(3, String(this.lines.all.length).length)}ch + 1.2rem)`;
    const numbers = [];
    const rows = [];
    for (let row = first; row < last; row++) {
      const problem = this.problems.get(row + 1);
      const number = element("span", String(row + 1), problem ? "wrong" : "");
      if (problem) number.title = problem;
      numbers.push(number);
      const line = element("div", "", problem ? "wrong" : "");
      if (colours) line.append(...coloured(this.lines.all[row], this.lines.before(row)));
      if (!line.firstChild) line.append("\u200b");
      rows.push(line);
    }
    this.numbers.replaceChildren(...numbers);
    this.rows.replaceChildren(...rows);
  }

  /** Where a place of the text is, in pixels of the box around it: its left, its top and its bottom. */
  spot(row, column) {
    const style = getComputedStyle(this.text);
    const ruler = element("span", this.lines.all[row].slice(0, column), "ruler");
    this.colours.append(ruler);
    const left = this.text.offsetLeft + parseFloat(style.paddingLeft) + ruler.offsetWidth - this.text.scrollLeft;
    ruler.remove();
    const top = this.text.offsetTop + parseFloat(style.paddingTop) + row * this.lineHeight - this.text.scrollTop;
    return { left, top, bottom: top + this.lineHeight };
  }

  /** Scrolls the text so that a place is in sight; moves neither the cursor nor the page. */
  reveal(row, column) {
    const { left, top } = this.spot(row, column);
    const { clientHeight, clientWidth, offsetLeft } = this.text;
    if (top < 0 || top > clientHeight - 2 * this.lineHeight) this.text.scrollTop += top - clientHeight / 3;
    if (left < offsetLeft || left > offsetLeft + clientWidth - 40) {
      this.text.scrollLeft += left - offsetLeft - clientWidth / 2;
    }
  }
}
