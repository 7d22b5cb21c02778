// What is shown of a line. Heights, rows, columns, links, copies: all of them ask here, so that they agree.
//
// Output may be hostile: every pattern and every loop here is linear in what was printed. The server's search reads
// lines alike (`rapidflow_web/logs/displayed_text.py`).

import { Line, MOST } from "./line.js";
import { Marked, marked } from "./marked.js";
import { move } from "./moves.js";
import { linked, PLAIN, styled } from "./sgr.js";

// A control sequence, whose final is missing where something ends it before; an operating system command; other strings,
// of which nothing is shown; another escape; a control character.
const SEQUENCE = /\x1b\[([\x00-\x17\x19\x1c-\x3f\x7f]*)([@-~]?)|\x1b\]([^\x07\x18\x1a\x1b]*)\x07?|\x1b[PX^_][^\x18\x1a\x1b]*|\x1b([ -/]*)([0-~]?)|[\x00-\x1f\x7f-\x9f]/g;
const TEXT_SEQUENCE = new RegExp(SEQUENCE.source.replace("[\\x00-\\x1f\\x7f-\\x9f]", "[\\x00-\\x08\\x0a-\\x1f\\x7f-\\x9f]"), "g");
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/;
const CONTROLS = /[\x00-\x1f\x7f]/g;
const PARAMETERS = /^\??[0-9:;]*$/;
const UNFINISHED = /^\x1b(?:\[[\x00-\x17\x19\x1c-\x3f\x7f]*|[\]PX^_][^\x07\x18\x1a\x1b]*|[ -/]*)$/;
// A carriage return that something follows, a backspace, a cursor that moves, a part that is erased, drawn lines.
const REWRITES = /\r[^\r]|\x08|\x1b(?:\[[\x00-\x17\x19\x1c-\x3f\x7f]*[@C-KPXZ`abfsu]|[78cE]|[()]0)/;
const LONGEST_ESCAPE = 4096;
const DRAWN = "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·";

/** What is shown of a text that begins with `style`: pieces {text, style}, and the style after it. */
export function read(text, style) {
  if (text.length <= MOST && !CONTROL.test(text)) return { pieces: text ? [{ text: marked(text), style }] : [], style };
  if (rewrites(text)) {
    const reader = new Reader(style).read(text, true);
    return { pieces: reader.line.pieces(), style: reader.style };
  }
  const found = [];
  const marks = new Marked();
  const add = (more) => {
    const shown = marks.take(more);
    const last = found.at(-1);
    if (last?.style === style) last.text += shown;
    else if (shown) found.push({ text: shown, style });
  };
  let from = 0;
  for (const match of text.matchAll(TEXT_SEQUENCE)) {
    if (match.index > from) add(text.slice(from, match.index));
    style = restyled(style, match);
    from = match.index + match[0].length;
  }
  if (from < text.length) add(text.slice(from));
  return { pieces: found, style };
}

export function pieces(text, style) {
  return read(text, style).pieces;
}

/** What is shown of a text, without styles. */
export function plain(text) {
  if (text.length <= MOST && !CONTROL.test(text)) return marked(text);
  return rewrites(text) ? new Reader(PLAIN).read(text, true).line.text() : marked(text.replace(TEXT_SEQUENCE, ""));
}

/** The style at the end of a text that begins with `style`. */
export function styleAfter(text, style) {
  if (!text.includes("\x1b")) return style;
  if (rewrites(text)) return new Reader(style).read(text, true).style;
  for (const match of text.matchAll(TEXT_SEQUENCE)) style = restyled(style, match);
  return style;
}

/** Whether a line writes over itself. Then a part of it says nothing of what is shown. */
function rewrites(text) {
  return text.length > MOST || REWRITES.test(text);
}

function restyled(style, [, body, final, command]) {
  if (final === "m") return sgr(style, body.replace(CONTROLS, ""));
  return command === undefined ? style : linked(style, command);
}

function sgr(style, parameters) {
  return /^[0-9:;]*$/.test(parameters) ? styled(style, parameters) : style;
}

/** Reads a line into cells, and may go on to do so: what comes is read, not all of it again. */
export class Reader {
  constructor(style) {
    this.style = style;
    this.line = new Line();
    this.rest = "";
    this.drawn = [false, false]; // whether the sets of characters G0 and G1 are those of lines
    this.set = 0;
  }

  /** Takes the text that follows; `last` says that none does after it. */
  read(more, last) {
    let text = this.rest + more;
    const escape = last ? -1 : text.lastIndexOf("\x1b");
    const held = escape >= 0 && text.length - escape <= LONGEST_ESCAPE && UNFINISHED.test(text.slice(escape));
    this.rest = held ? text.slice(escape) : "";
    if (held) text = text.slice(0, escape);
    let from = 0;
    for (const match of text.matchAll(SEQUENCE)) {
      if (match.index > from) this.#write(text.slice(from, match.index));
      this.#obey(match);
      from = match.index + match[0].length;
    }
    if (from < text.length) this.#write(text.slice(from));
    return this;
  }

  #write(text) {
    const shown = this.drawn[this.set] ? text.replace(/[`-~]/g, (one) => DRAWN[one.charCodeAt(0) - 96]) : text;
    this.line.write(shown, this.style);
  }

  #obey([all, body, final, command, between, kind]) {
    if (body !== undefined) {
      // Control characters within a sequence are obeyed before it.
      const parameters = body.replace(CONTROLS, (control) => this.#control(control) ?? "");
      if (final && PARAMETERS.test(parameters)) this.#sequence(parameters, final);
    } else if (command !== undefined) this.style = linked(this.style, command);
    else if (kind !== undefined) this.#escape(between, kind);
    else this.#control(all);
  }

  #sequence(parameters, final) {
    if (parameters.startsWith("?") && final !== "J" && final !== "K") return;
    if (final === "m") this.style = styled(this.style, parameters);
    else if ((final === "s" || final === "u") && parameters === "") this.#escape("", final === "s" ? "7" : "8");
    else move(this.line, final, parameters.replace("?", ""), this.style);
  }

  #escape(between, kind) {
    if (between === "(" || between === ")") this.drawn["()".indexOf(between)] = kind === "0";
    else if (between) return;
    else if (kind === "7") this.line.save(this.style);
    else if (kind === "8") this.style = this.line.restore();
    else if (kind === "E") this.line.column = 0;
    else if (kind === "c") {
      this.line.clear();
      this.style = PLAIN;
      this.drawn = [false, false];
    }
  }

  #control(control) {
    if (control === "\r") this.line.column = 0;
    else if (control === "\b") this.line.column = Math.max(0, this.line.column - 1);
    else if (control === "\t") this.line.tab();
    else if (control === "\x0e" || control === "\x0f") this.set = control === "\x0e" ? 1 : 0;
  }
}
