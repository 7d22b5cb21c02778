// The log is as high as the window has room for, so that its end is in sight.

const LEAST = 180; // pixels
const MARGIN = 12;

/** Keeps the height of `scroller`, which is in `section`, right. */
export function fit(section, scroller) {
  const measure = () => {
    const grid = section.parentElement;
    const top = grid.getBoundingClientRect().top + scrollY;
    const beside = section.offsetHeight - scroller.offsetHeight;
    const height = `${Math.max(LEAST, Math.floor(innerHeight - top - beside - MARGIN))}px`;
    if (scroller.style.height !== height) scroller.style.height = height;
  };
  measure();
  addEventListener("resize", measure);
  new ResizeObserver(measure).observe(section.parentElement);
  // What is above may grow or go.
  new ResizeObserver(measure).observe(document.querySelector(".page-head") ?? document.body);
  document.addEventListener("htmx:after:swap", measure);
}
