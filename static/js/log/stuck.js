// The step whose lines are in sight: its header stays at the top, and it is marked at the side.

export class Stuck {
  constructor(viewer) {
    this.viewer = viewer;
    this.place = document.createElement("div");
    this.place.className = "stuck";
    this.place.setAttribute("aria-hidden", "true"); // it is in the log once more
    viewer.scroller.after(this.place); // within it, browsers select from there
    this.place.addEventListener("click", () => this.step && viewer.show(this.step.first_line - 1));
    document.addEventListener("htmx:after:swap", () => this.#mark());
  }

  /** Takes what is in sight now. */
  update() {
    const { steps, rows, viewport } = this.viewer;
    const line = viewport.topLine;
    this.step = steps.of(line);
    const header = this.step && line > this.step.first_line - 1 ? this.step : null;
    const state = header && JSON.stringify(header);
    if (state !== this.state) {
      this.state = state;
      this.place.replaceChildren(...(header ? [...rows.step(header).children] : []));
      for (const button of this.place.querySelectorAll("button")) button.tabIndex = -1;
    }
    this.#mark();
  }

  #mark() {
    const current = this.step && document.getElementById(`step-${this.step.order_num}`);
    for (const item of document.querySelectorAll(".steps [aria-current]")) if (item !== current) item.removeAttribute("aria-current");
    current?.setAttribute("aria-current", "step");
  }
}
