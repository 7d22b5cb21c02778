// The log is as high as the window has room for, so that its end is in sight; below much else, half as high as the window.

const LEAST = 180; // pixels
const MARGIN = 12;

/** Keeps the height of `scroller`, which is in `section`, right. */
export function fit(section, scroller) {
  const measure = () => {
    const grid = section.parentElement;
    const top = grid.getBoundingClientRect().top + scrollY;
    const beside = section.offsetHeight - scroller.offsetHeight;
    const least = Math.max(LEAST, Math.floor(innerHeight / 2) - beside);
    const height = `${Math.max(least, Math.floor(innerHeight - top - beside - MARGIN))}px`;
    if (scroller.style.height !== height) scroller.style.height = height;
  };
  measure();
  addEventListener("resize", measure);
  new ResizeObserver(measure).observe(section.parentElement);
  // What is above may grow or go.
  new ResizeObserver(measure).observe(document.querySelector(".page-head") ?? document.body);
  document.addEventListener("htmx:after:swap", measure);
}
