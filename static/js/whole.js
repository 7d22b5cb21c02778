// A page of which a script or a style did not arrive is loaded again, some times: nobody else would ask for it.
// Chromium drops requests when a network interface comes or goes, as those of containers on its machine do.
// This script is inside the pages, because it too would not arrive.
// A page that answers a form stays as it is, and works without: to load it again would send the form again.

const RELOADS = "rapidflow.reloads";
const PAUSES = [100, 400, 1600, 6400]; // milliseconds
const page = document.documentElement;
let missing = false;

addEventListener(
  "error",
  ({ target }) => {
    if (target.matches?.("script, link[rel=stylesheet]")) missing = true;
  },
  true, // such an event does not bubble
);

addEventListener("load", () => {
  const reloads = Number(sessionStorage.getItem(RELOADS));
  if (missing && !("posted" in page.dataset) && reloads < PAUSES.length) {
    sessionStorage.setItem(RELOADS, reloads + 1);
    setTimeout(() => location.reload(), PAUSES[reloads]);
  } else {
    sessionStorage.removeItem(RELOADS);
    page.dataset.whole = missing ? "no" : "yes";
  }
});
