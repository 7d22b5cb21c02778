"""What tests run in the page of an editor: its modules by themselves, and counts of what they do."""

PIECES = """async (rows) => {
  const { scan, START } = await import("/static/js/editor/yaml.js");
  return rows.map((text) => {
    let state = START;
    return text.split("\\n").map((line) => {
      const { pieces, state: after } = scan(line, state);
      state = after;
      const told = pieces.filter(([, kind]) => kind && kind !== "mark");
      return told.map(([piece, kind]) => `${kind} ${piece}`).join(" | ");
    });
  });
}"""
CHOICES = """async (texts) => {
  const { placeAt, choices } = await import("/static/js/editor/place.js");
  const { Lines } = await import("/static/js/editor/lines.js");
  const places = JSON.parse(document.querySelector(".editor").dataset.language);
  return texts.map((text) => {
    const offset = text.indexOf("^");
    const lines = new Lines(() => text.replace("^", ""));
    const place = placeAt(lines, ...lines.at(offset));
    const found = place ? choices(place, places).filter(({ name }) => name.startsWith(place.word)) : [];
    return found.map(({ name, dash }) => (dash ? "- " : "") + name).join(" ");
  });
}"""
AFTER_ENTER = """async (heads) => {
  const { indentAfter } = await import("/static/js/editor/typing.js");
  const { Lines } = await import("/static/js/editor/lines.js");
  return heads.map((text) => {
    const lines = new Lines(() => text);
    const row = lines.all.length - 1;
    return indentAfter(lines.all[row], lines.before(row));
  });
}"""
HOSTILE_LINES = """async () => {
  const { scan, START } = await import("/static/js/editor/yaml.js");
  const { placeAt } = await import("/static/js/editor/place.js");
  const { Lines } = await import("/static/js/editor/lines.js");
  const parts = [
    "- ", "[", "{", "}", "'", '"', "\\\\", "&", "*", "!", "|", ">", ": ", ":", " #", "#", ",", " ", "\\t",
    "a", "a: ", "''", "-", "9_",
  ];
  let steps = 0;
  const { exec } = RegExp.prototype;
  RegExp.prototype.exec = function (text) {
    const from = this.sticky || this.global ? this.lastIndex : 0;
    const match = exec.call(this, text);
    steps += 1 + (match ? match.index + match[0].length - from : this.sticky ? 0 : text.length - from);
    return match;
  };
  const each = Array.prototype[Symbol.iterator];
  Array.prototype[Symbol.iterator] = function () {
    steps += this.length;
    return each.call(this);
  };
  const counted = (act) => {
    const before = steps;
    act();
    return steps - before;
  };
  const wrong = [];
  for (const one of parts) {
    for (const two of parts) {
      for (const head of ["", "a: ", "a: [", "- "]) {
        const part = one + two;
        const line = head + part.repeat(2000).slice(0, 2000);
        const most = 20 * line.length;
        const states = [START, { block: -1, quote: '"', depth: 3 }, { block: 2, quote: "", depth: 0 }];
        for (const state of head ? [] : states) {
          const taken = counted(() => {
            const { pieces } = scan(line, state);
            if (pieces.map(([text]) => text).join("") !== line) wrong.push(`pieces of ${part}`);
          });
          if (taken > most) wrong.push(`${taken} steps of ${part}`);
        }
        const taken = counted(() => placeAt(new Lines(() => line), 0, line.length));
        if (taken > most) wrong.push(`${taken} steps to the place in ${head}${part}`);
      }
    }
  }
  return wrong;
}"""
COUNTED = """
window.characters = 0;
const each = String.prototype[Symbol.iterator];
String.prototype[Symbol.iterator] = function () {
  characters += this.length;
  return each.call(this);
};
const { codePointAt } = String.prototype;
String.prototype.codePointAt = function (at) {
  characters++;
  return codePointAt.call(this, at);
};
"""
"""How many characters were read one after the other."""
