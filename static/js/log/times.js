// When lines were written: off, by the clock, or since the start of their step.

import { formatElapsed } from "../durations.js";

const MODES = ["off", "clock", "elapsed"];
const MEMORY = "rapidflow.log.times";
const FRESH = 1000; // milliseconds after which the times of a growing chunk are asked for again

export class Times {
  /** `address` is that of the server's times; `changed` is called when more are known. */
  constructor(address, chunks, changed) {
    Object.assign(this, { address, chunks, changed });
    this.known = new Map();
    this.mode = MODES.includes(localStorage.getItem(MEMORY)) ? localStorage.getItem(MEMORY) : "off";
  }

  /** Goes on to the next mode. */
  cycle() {
    this.mode = MODES[(MODES.indexOf(this.mode) + 1) % MODES.length];
    localStorage.setItem(MEMORY, this.mode);
  }

  /** The time of the byte at an offset, as it is shown. */
  text(offset, index, step) {
    if (this.mode === "off") return "";
    const entry = this.known.get(index);
    this.#ask(index, entry);
    const found = entry?.times.findLast(([from]) => from <= offset);
    if (!found) return "";
    if (this.mode === "clock") return new Date(found[1]).toLocaleTimeString([], { hour12: false });
    if (!step?.started_at) return "";
    return formatElapsed(found[1] - step.started_at);
  }

  async #ask(index, entry) {
    const start = this.chunks.points[index].offset;
    const end = this.chunks.end(index);
    if (entry && (entry.end === end || entry.asking || Date.now() - entry.at < FRESH)) return;
    this.known.set(index, { times: entry?.times ?? [], end, at: Date.now(), asking: true });
    try {
      const response = await fetch(`${this.address}?start=${start}&end=${end}`);
      const { times } = response.ok ? await response.json() : { times: [] };
      this.known.set(index, { times, end, at: Date.now(), asking: false });
      this.changed();
    } catch {
      this.known.delete(index);
    }
  }
}
