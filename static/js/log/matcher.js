// Asks the worker where an expression matches, and gives up those that take too long.

const PATIENCE = 1000; // milliseconds

export class Matcher {
  /** Calls `found` with the [start, end] of the matches in each text, unless something else is asked for meanwhile. */
  find(texts, pattern, found) {
    this.wanted = { texts, pattern, found };
    if (!this.timer) this.#ask();
  }

  /** What is asked for is not needed any more. */
  forget() {
    this.wanted = null;
  }

  #ask() {
    const { wanted } = this;
    if (!wanted || wanted.pattern === this.endless) return;
    const { texts, pattern: { source, flags } } = wanted;
    this.worker ??= new Worker(new URL("./matches.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      if (this.wanted === wanted) wanted.found(data);
      this.#end(wanted);
    };
    this.timer = setTimeout(() => {
      this.worker.terminate();
      this.worker = undefined;
      this.endless = wanted.pattern;
      if (this.wanted === wanted) wanted.found(texts.map(() => []));
      this.#end(wanted);
    }, PATIENCE);
    this.worker.postMessage({ texts, source, flags });
  }

  #end(asked) {
    clearTimeout(this.timer);
    this.timer = 0;
    if (this.wanted !== asked) this.#ask();
  }
}
