// What is wrong with a definition: asked of the server after a pause, shown below the text and at its lines.

const WAIT = 400; // milliseconds after the last key
const AWAY = "Not checked: the server did not answer. Saving checks it again.";

export class Checks {
  constructor(editor, text, lines, layer) {
    Object.assign(this, { editor, text, lines, layer, timer: 0, asked: new AbortController() });
    this.box = editor.querySelector(".checks");
    text.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.asked.abort();
      this.timer = setTimeout(() => this.check(), WAIT);
    });
    this.box.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-line]");
      if (!link) return;
      event.preventDefault();
      this.go(link);
    });
    this.mark();
    const first = this.box.querySelector("a[data-line]");
    if (first) layer.reveal(...this.place(first));
  }

  async check() {
    this.asked = new AbortController();
    const { signal } = this.asked;
    const body = new URLSearchParams({ config: this.text.value });
    const response = await fetch(this.editor.dataset.check, { method: "POST", body, signal }).catch(() => null);
    const answer = response?.ok && !response.redirected ? await response.text().catch(() => null) : null;
    if (signal.aborted) return;
    const page = new DOMParser().parseFromString(answer ?? "", "text/html");
    const verdict = page.querySelector(".verdict");
    this.say(verdict?.textContent ?? AWAY, verdict?.className ?? "verdict");
    this.box.querySelector(".problems")?.remove();
    const problems = page.querySelector(".problems");
    if (problems) this.box.append(problems);
    this.mark();
  }

  /** The sentence that is read aloud, only where it changes. */
  say(sentence, kind) {
    const verdict = this.box.querySelector(".verdict");
    if (verdict.textContent !== sentence) verdict.textContent = sentence;
    verdict.className = kind;
  }

  mark() {
    this.text.setAttribute("aria-invalid", String(this.box.querySelector(".problems") !== null));
    const links = [...this.box.querySelectorAll("a[data-line]")].reverse(); // the first of a line stays
    this.layer.mark(new Map(links.map((link) => [this.row(link) + 1, link.parentElement.textContent.trim()])));
  }

  row({ dataset }) {
    return Math.min(Number(dataset.line), this.lines.all.length) - 1;
  }

  /** The row and the column of a problem. The server counts characters, scripts of pages units of 16 bits. */
  place(link) {
    const row = this.row(link);
    const line = this.lines.all[row];
    let column = 0;
    for (let left = Number(link.dataset.column) - 1; left > 0 && column < line.length; left--) {
      column += line.codePointAt(column) > 0xffff ? 2 : 1;
    }
    return [row, column];
  }

  go(link) {
    const [row, column] = this.place(link);
    const offset = this.lines.start(row) + column;
    this.text.focus();
    this.text.setSelectionRange(offset, offset);
    this.layer.reveal(row, column);
  }
}
