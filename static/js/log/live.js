// The end of a log that is still written.

import { Refused } from "./bytes.js";

const HEADER = /(^|\n)=== Step \d+ \(/;
const SOON = 100; // milliseconds after a step seems to begin
const LATER = 2000; // and while anything at all is written
const LOOK = 3000; // between two looks for groups and errors, at least
const SHARE = 10; // a look takes no more than one part of so many of the time

export class Live {
  /** `grown` is called when more is there. */
  constructor(viewer, grown) {
    Object.assign(this, { viewer, grown });
    this.due = 0;
    this.timer = 0;
    this.looks = 0; // when the next look is due
  }

  /** Shows what is written until the build has ended: with one connection, and none while nobody looks. */
  async run() {
    while (!this.viewer.sealed) {
      const away = new AbortController();
      const leave = () => document.hidden && away.abort();
      document.addEventListener("visibilitychange", leave);
      if (!document.hidden) await this.follow(away.signal);
      document.removeEventListener("visibilitychange", leave);
      if (document.hidden) await new Promise((back) => document.addEventListener("visibilitychange", back, { once: true }));
      else if (!this.viewer.sealed) await new Promise((again) => setTimeout(again, 1000));
    }
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
    if (this.viewer.sealed || Date.now() < this.looks) return;
    const begin = Date.now();
    this.looks = Infinity;
    await this.viewer.outline();
    this.looks = Date.now() + Math.max(LOOK, SHARE * (Date.now() - begin));
  }
}
