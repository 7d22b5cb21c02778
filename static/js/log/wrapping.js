// Lines that are wrapped: how many columns there are.

const PADDING = 90; // pixels of a row that are not text
const TIMES = 80; // pixels more where times are shown

export class Wrapping {
  constructor(scroller, layout, times, changed) {
    Object.assign(this, { scroller, layout, times, changed });
    this.on = false;
    new ResizeObserver(() => this.measure()).observe(scroller);
  }

  /** Works out the columns again; without wrapping there is no end to them. */
  measure() {
    this.scroller.classList.toggle("wraps", this.on);
    const probe = Object.assign(document.createElement("span"), { className: "probe", textContent: "x".repeat(100) });
    this.scroller.append(probe);
    const width = probe.getBoundingClientRect().width / 100;
    probe.remove();
    const padding = this.times.mode === "off" ? PADDING : PADDING + TIMES;
    const columns = this.on ? Math.max(10, Math.floor((this.scroller.clientWidth - padding) / width)) : Infinity;
    this.scroller.style.setProperty("--columns", String(columns));
    if (columns === this.layout.columns) return;
    this.layout.columns = columns;
    this.changed();
  }
}
