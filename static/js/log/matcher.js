// Knows where an expression matches. A worker finds that out; texts that take too long are left out.

const PATIENCE = 1000; // milliseconds for a text
const MOST_SLOW = 5; // texts, after which no others are looked at: each keeps a processor busy for that long
const MOST_KNOWN = 5000; // texts

export class Matcher {
  /** Calls `found` when more is known. */
  constructor(found) {
    this.found = found;
    this.forget();
  }

  /** Nothing is needed any more of what was asked for. */
  forget() {
    Object.assign(this, { pattern: null, known: new Map(), wanted: [], slow: 0 });
  }

  /** The [start, end] of the matches in each text, as far as they are known. */
  matches(texts, pattern) {
    if (pattern !== this.pattern) this.forget();
    if (this.known.size > MOST_KNOWN) this.known.clear();
    this.pattern = pattern;
    this.wanted = texts.filter((text) => !this.known.has(text));
    this.#ask();
    return texts.map((text) => this.known.get(text) ?? []);
  }

  /** Whether some texts were left out. */
  get isPartial() {
    return this.slow > 0;
  }

  #ask() {
    const { wanted: texts, pattern } = this;
    if (this.isAsking || !texts.length || this.slow >= MOST_SLOW) return;
    this.isAsking = true;
    this.worker ??= new Worker(new URL("./matches.js", import.meta.url), { type: "module" });
    let answers = -1; // the first message says that the worker begins, which it may have had to be fetched for
    this.worker.onmessage = ({ data }) => {
      clearTimeout(this.timer);
      if (answers >= 0 && pattern === this.pattern) this.known.set(texts[answers], data);
      answers += 1;
      if (answers === texts.length) this.#end();
      else this.timer = setTimeout(() => this.#leaveOut(texts[answers], pattern), PATIENCE);
    };
    this.worker.onerror = () => {
      if (pattern === this.pattern) this.slow = MOST_SLOW; // it would fail again
      this.#drop();
    };
    this.worker.postMessage({ texts, source: pattern.source, flags: pattern.flags });
  }

  #leaveOut(text, pattern) {
    if (pattern === this.pattern) {
      this.known.set(text, []);
      this.slow += 1;
    }
    this.#drop();
  }

  #drop() {
    clearTimeout(this.timer);
    this.worker.onmessage = this.worker.onerror = null; // what is on its way is of no use
    this.worker.terminate();
    this.worker = undefined;
    this.#end();
  }

  #end() {
    this.isAsking = false;
    this.found();
  }
}
