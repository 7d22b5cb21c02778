// The end of a log that is still written.

import { Refused } from "./bytes.js";

const HEADER = /(^|\n)=== Step \d+ \(/;
const SOON = 100; // milliseconds after a step seems to begin
const LATER = 2000; // and while anything at all is written

export class Live {
  /** `grown` is called when more is there. */
  constructor(viewer, grown) {
    Object.assign(this, { viewer, grown });
    this.due = 0;
    this.timer = 0;
  }

  /** Goes on with what is written, until the build has ended or `signal` says so. */
  async follow(signal) {
    const { bytes, chunks, said } = this.viewer;
    const state = (well) => said(well ? "" : "Connection lost, trying again…");
    try {
      await bytes.follow(chunks.size, (data) => this.#grow(data), signal, state);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      said(error.message);
    }
    if (!signal.aborted) await this.#learn();
  }

  #grow(data) {
    this.viewer.chunks.append(data);
    this.#learnIn(HEADER.test(new TextDecoder().decode(data)) ? SOON : LATER);
    this.viewer.viewport.changed();
    this.grown();
  }

  #learnIn(milliseconds) {
    const due = Date.now() + milliseconds;
    if (this.due && this.due <= due) return;
    clearTimeout(this.timer);
    this.due = due;
    this.timer = setTimeout(() => this.#learn(), milliseconds);
  }

  /** Asks again where the steps stand. */
  async #learn() {
    clearTimeout(this.timer);
    this.due = 0;
    const { address, chunks } = this.viewer;
    const response = await fetch(`${address}/map?after=${chunks.size}`).catch(() => null);
    if (response?.ok) this.viewer.learn(await response.json());
  }
}
