// Where expressions match, found in a worker: some take for ever in a browser, though not in the server.

self.addEventListener("message", ({ data: { texts, source, flags } }) => {
  const pattern = new RegExp(source, flags);
  postMessage(texts.map((text) => [...text.matchAll(pattern)].map((match) => [match.index, match.index + match[0].length])));
});
