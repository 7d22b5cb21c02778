// Columns: how many of them characters take, and where a line is broken that has more than there are.

const NARROW = /^[\x20-\x7e]*$/;
const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\p{Emoji_Presentation}\u{20000}-\u{3fffd}]/u;
const NONE = /[\p{Mn}\p{Me}\p{Cf}]/u;
const TAB = 8;

/** Where a text is broken into lines of so many columns: the indexes at which its second line begins, its third … */
export function breaks(text, columns) {
  if (text.length <= columns && (columns === Infinity || NARROW.test(text))) return [];
  const found = [];
  if (NARROW.test(text)) {
    for (let at = columns; at < text.length; at += columns) found.push(at);
    return found;
  }
  let used = 0;
  for (let at = 0; at < text.length; ) {
    const code = text.codePointAt(at);
    let width = columnsOf(code, used);
    if (used + width > columns && used > 0) {
      found.push(at);
      used = 0;
      width = columnsOf(code, used);
    }
    used += width;
    at += code > 0xffff ? 2 : 1;
  }
  return found;
}

function columnsOf(code, used) {
  if (code < 0x7f) return code === 9 ? TAB - (used % TAB) : 1;
  const character = String.fromCodePoint(code);
  if (NONE.test(character)) return 0;
  return code >= 0x1100 && WIDE.test(character) ? 2 : 1;
}
