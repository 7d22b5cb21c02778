// A page of which a script did not arrive is loaded again, once: nobody else would ask for the script again.
// Chromium drops requests when a network interface comes or goes, as those of containers on its machine do.

addEventListener(
  "error",
  ({ target }) => {
    const [navigation] = performance.getEntriesByType("navigation");
    if (target.tagName === "SCRIPT" && navigation.type !== "reload") location.reload();
  },
  true, // such an event does not bubble
);
