// The editor of a definition; without this module it is a field for text. And the colours of those that are only shown.

import { Checks } from "./editor/checks.js";
import { Layer, coloured } from "./editor/layer.js";
import { Lines } from "./editor/lines.js";
import { Suggestions } from "./editor/suggestions.js";
import { listen } from "./editor/typing.js";
import { guard } from "./editor/unsaved.js";

const MOST = 65_536; // characters of a definition that is coloured where it is only shown, all at once

for (const editor of document.querySelectorAll(".editor")) {
  const text = editor.querySelector("textarea");
  const lines = new Lines(() => text.value);
  const layer = new Layer(editor, text, lines);
  text.addEventListener("input", () => {
    lines.isStale = true;
    layer.drawSoon();
  });
  new Checks(editor, text, lines, layer);
  const suggestions = new Suggestions(editor, text, lines, layer, JSON.parse(editor.dataset.language));
  listen(text, lines, (event) => suggestions.onKey(event));
  guard(editor, text);
  editor.querySelector(".keys-of-editor").hidden = false;
  // What was done is said once, not again when the page is loaded again.
  const here = new URL(location.href);
  if (here.searchParams.has("done")) {
    here.searchParams.delete("done");
    history.replaceState(history.state, "", here);
  }
}

for (const shown of document.querySelectorAll("code[data-yaml]")) {
  const lines = new Lines(() => shown.textContent);
  if (shown.textContent.length > MOST || lines.hasLong) continue;
  const drawn = lines.all.flatMap((line, row) => [row ? "\n" : "", ...coloured(line, lines.before(row))]);
  shown.replaceChildren(...drawn);
}
