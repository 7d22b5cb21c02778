// A page of which a script did not arrive is loaded again, once: nobody else would ask for the script again.
// Chromium drops requests when a network interface comes or goes, as those of containers on its machine do.
// A page that answers a form stays as it is, and works without: to load it again would send the form again.

addEventListener(
  "error",
  ({ target }) => {
    const posted = "posted" in document.documentElement.dataset;
    const [navigation] = performance.getEntriesByType("navigation");
    if (target.tagName === "SCRIPT" && navigation.type !== "reload" && !posted) location.reload();
  },
  true, // such an event does not bubble
);
