// Lines that are wrapped: how many columns there are.

import { lineRow } from "./row.js";
import { PLAIN } from "./sgr.js";

const FEWEST = 10; // columns; where there is less room, one scrolls sideways
const SAMPLE = 100;

export class Wrapping {
  constructor(scroller, layout, changed) {
    Object.assign(this, { scroller, layout, changed });
    this.on = false;
    new ResizeObserver(() => this.measure()).observe(scroller);
  }

  /** Works out the columns again; without wrapping there is no end to them. */
  measure() {
    const room = Math.max(FEWEST, this.#room());
    const columns = this.on ? room : Infinity;
    if (columns === this.layout.columns) return;
    this.layout.columns = columns;
    this.changed();
  }

  /** The columns in sight beside a line's number and time, at the sizes that fonts have here. */
  #room() {
    const lines = [[{ text: "x".repeat(SAMPLE), style: PLAIN }]];
    const probe = lineRow({ lines, number: 0, href: null, time: "", continued: false });
    probe.classList.add("probe");
    this.scroller.append(probe);
    const text = probe.querySelector(".text").getBoundingClientRect();
    const beside = probe.getBoundingClientRect().width - text.width;
    probe.remove();
    this.layout.columnWidth = text.width / SAMPLE;
    return Math.floor((this.scroller.clientWidth - beside) / this.layout.columnWidth);
  }
}
