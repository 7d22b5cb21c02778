// Where expressions match, found in a worker: some take for ever in a browser, though not in the server.

self.addEventListener("message", ({ data: { texts, source, flags } }) => {
  const pattern = new RegExp(source, flags);
  postMessage("begun"); // from here on it takes as long as the expression does
  for (const text of texts) {
    postMessage([...text.matchAll(pattern)].map((match) => [match.index, match.index + match[0].length]));
  }
});
