"""What axe finds in a page, and what of a page is out of sight or broken."""

from __future__ import annotations

from pathlib import Path

import axe_playwright_python
from playwright.async_api import Page, ViewportSize

WIDE: ViewportSize = {"width": 1280, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 800}
SMALLEST: ViewportSize = {"width": 375, "height": 800}
LARGEST: ViewportSize = {"width": 1920, "height": 1080}

OF_COLORS = ["color-contrast", "link-in-text-block"]
"""The rules whose results can differ between light and dark."""

_SCRIPT = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
_CONFIGURE = "axe.configure({ rules: [{ id: 'color-contrast', selector: '[data-new-kind]' }] })"
_MARK = """(seen) => {
  const kinds = new Set(seen), found = [], above = new Map();
  const hash = (text) => {
    let a = 0xdeadbeef, b = 0x41c6ce57;
    for (let n = 0; n < text.length; n += 1) {
      a = Math.imul(a ^ text.charCodeAt(n), 2654435761);
      b = Math.imul(b ^ text.charCodeAt(n), 1597334677);
    }
    return (b >>> 0) * 2097152 + (a >>> 11);
  };
  const look = (one) => {
    if (!one) return "";
    if (!above.has(one)) {
      const style = getComputedStyle(one);
      above.set(one, hash([look(one.parentElement), one.localName, one.getAttribute("class"),
        one.matches(":disabled, [aria-disabled=true], [inert]"), style.color, style.backgroundColor,
        style.backgroundImage, style.opacity, style.filter, style.position, style.fontSize, style.fontWeight,
        style.textShadow, style.textDecoration, style.display, style.visibility].join()));
    }
    return above.get(one);
  };
  for (const one of document.querySelectorAll("body, body *")) {
    const text = [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join("");
    const field = one.matches("input, select, textarea, button");
    const kind = hash([look(one), field && one.value !== "", /[\\p{L}\\p{N}]{2}/u.test(text)].join());
    const isNew = Boolean((field || text.trim()) && one.checkVisibility() && !kinds.has(kind));
    one.toggleAttribute("data-new-kind", isNew);
    one.newKind = isNew ? kind : null;
    if (isNew) {
      kinds.add(kind);
      found.push(kind);
    }
  }
  return found;
}"""
_FIND = """async (rules) => {
  const { violations, incomplete } = await axe.run({
    resultTypes: ["violations", "incomplete"], elementRef: true, ...(rules ? { runOnly: rules } : {})
  });
  const contrasts = incomplete.filter(({ id }) => id === "color-contrast").flatMap(({ nodes }) => nodes);
  return [
    violations.flatMap(
      (rule) => rule.nodes.map((node) => `${rule.id}: ${node.html} ${node.any[0]?.message ?? ""}`)),
    contrasts.map(({ element }) => element?.newKind).filter((kind) => kind),
  ];
}"""
"""The faults, and the kinds of text whose contrast axe could not judge.

Of what is right, axe would otherwise find a selector for each element, which takes most of its time.
"""

HIDES = """document.documentElement.scrollWidth > innerWidth
  || [...document.querySelectorAll('.scroll')].some((one) => one.scrollWidth > one.clientWidth)"""
"""Whether something scrolls sideways."""
BROKEN = """[...document.querySelectorAll("main :is(td, th)")].flatMap((cell) => {
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), found = [];
  while (texts.nextNode())
    for (const word of texts.currentNode.data.matchAll(/(?<!\\S)[\\w:]{2,15}(?!\\S)/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((box) => box.top)).size > 1) found.push(word[0]);
    }
  return found;
})"""
"""Words of tables that are broken though they are short: their column has no place for them."""
_DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


async def resize(page: Page, window: ViewportSize) -> None:
    """Sizes a window and waits until the page has heard of it: it moves what is open."""
    await page.set_viewport_size(window)
    await page.evaluate(_DRAWN)


class Axe:
    """Axe for many pages and views. The context of a page has to bypass its content security policy.

    Most of its time would go into contrasts, so it checks those of each kind of text once. Texts are of one
    kind if they and all that they are in have the same names, classes, colors and sizes. Where it can't judge
    a text, because something covers it, it goes on to look at others of its kind.
    """

    def __init__(self) -> None:
        self._kinds: set[int] = set()

    async def faults(self, page: Page) -> list[str]:
        """What axe has to say against a page as it stands."""
        await self._mark(page)
        return await self._found(page, None)

    async def faults_of_colors(self, page: Page) -> list[str]:
        """The same for a page whose colors alone have changed."""
        new = await self._mark(page)
        return await self._found(page, OF_COLORS) if new else []

    async def _found(self, page: Page, rules: list[str] | None) -> list[str]:
        faults, undecided = await page.evaluate(_FIND, rules)
        self._kinds.difference_update(undecided)
        return faults

    async def _mark(self, page: Page) -> bool:
        if not await page.evaluate("'axe' in window"):
            await page.evaluate(f"() => {{ {_SCRIPT}\n{_CONFIGURE} }}")
        new: list[int] = await page.evaluate(_MARK, list(self._kinds))
        self._kinds.update(new)
        return bool(new)
