"""The editor of definitions: saving, problems, indentation, suggestions and colours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest_asyncio
from playwright.async_api import Dialog, Page, expect

from rapidflow_web.pipeline.language import PIPELINE
from tests.e2e.conftest import Console
from tests.support.editor_scripts import AFTER_ENTER, CHOICES, COUNTED, HOSTILE_LINES, PIECES
from tests.support.server import Server

VALID = "name: Edited\nsteps:\n  - 'true'\n"
TWO_WRONG = "name: Wrong\n" + "# far\n" * 60 + "stpes:\n  - x\nenv: {\U0001f600 key: 1}\n"
SET = """(one, text) => {
  one.value = text;
  one.dispatchEvent(new Event("input"));
  one.focus();
  one.setSelectionRange(2, 2);
}"""


class Editor:
    """The editor on a page, and what was asked before the page was left."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server
        self.text = page.get_by_label("Definition, in YAML")
        self.verdict = page.locator(".verdict")
        self.options = page.get_by_role("option")
        self.asked: list[str] = []
        self.leaves = False
        page.on("dialog", self._answer)

    async def _answer(self, dialog: Dialog) -> None:
        self.asked.append(dialog.type)
        await (dialog.accept() if self.leaves else dialog.dismiss())

    async def open(self, text: str | None = None) -> None:
        """A new pipeline, with `text` instead of the example."""
        await self.page.goto(f"{self.server.url}/ui/pipelines/new")
        if text is not None:
            await self.text.fill(text)

    async def save(self) -> None:
        await self.page.get_by_role("button", name="Save", exact=True).click()

    async def type(self, *keys: str) -> None:
        """Types texts, and presses what is a name of a key in angle brackets."""
        for key in keys:
            if key.startswith("<"):
                await self.page.keyboard.press(key.strip("<>"))
            else:
                await self.page.keyboard.type(key)


@pytest_asyncio.fixture(loop_scope="session")
async def editor(page: Page, server: Server) -> Editor:
    return Editor(page, server)


async def test_saving_says_what_happened_and_unsaved_edits_ask_before_they_are_lost(
    page: Page, server: Server, editor: Editor
):
    pipeline = server.pipeline(VALID)
    address = f"{server.url}/ui/pipelines/{pipeline}"
    await page.goto(address)
    await page.get_by_role("link", name="Pipelines").first.click()
    await page.wait_for_url("**/ui/pipelines")
    await page.goto(address)
    assert editor.asked == []
    await editor.text.focus()
    await editor.type("<Control+End>", "# more")
    for leave in (
        lambda: page.get_by_role("link", name="Dashboard").click(no_wait_after=True),
        lambda: page.evaluate("setTimeout(() => location.reload())"),
        lambda: page.get_by_role("button", name="Start").click(no_wait_after=True),
        lambda: page.get_by_role("button", name="Start").click(no_wait_after=True),
    ):
        before = len(editor.asked)
        await _until(leave, lambda before=before: len(editor.asked) > before, page)
    assert editor.asked == ["beforeunload"] * 4
    await expect(editor.text).to_have_value(f"{VALID}# more")
    assert server.get(f"/pipelines/{pipeline}/jobs").json == []
    await page.keyboard.press("Escape")
    await editor.text.press("Control+s")
    await expect(editor.verdict).to_have_text("✓ Saved. Builds use it from now on.")
    await expect(page.locator(".checks")).to_be_focused()
    assert page.url == address
    assert server.get(f"/pipelines/{pipeline}").json["config"] == f"{VALID}# more"
    await editor.save()
    await expect(editor.verdict).to_have_text("✓ Nothing changed.")
    await page.reload()
    await expect(editor.verdict).to_have_text("Problems appear here.")
    assert len(editor.asked) == 4


async def test_a_definition_that_was_changed_meanwhile_is_not_replaced_unseen(
    page: Page, server: Server, editor: Editor, console: Console
):
    console.allow("409")
    pipeline = server.pipeline(VALID)
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    theirs, mine = f"{VALID}# theirs", f"{VALID}# mine"
    answer = server.request(
        "PUT", f"/pipelines/{pipeline}", theirs, headers={"Content-Type": "application/yaml"}
    )
    assert answer.status == 200
    await editor.text.fill(mine)
    await editor.save()
    await expect(editor.verdict).to_have_text("Not saved: the definition was changed after you opened it")
    await expect(page.locator(".checks")).to_be_focused()
    assert server.get(f"/pipelines/{pipeline}").json["config"] == theirs
    async with page.context.expect_page() as opened:
        await page.get_by_role("link", name="Open the changed definition").click()
    other = await opened.value
    await expect(other.get_by_label("Definition, in YAML")).to_have_value(theirs)
    await other.close()
    await expect(editor.text).to_have_value(mine)
    await editor.save()
    await expect(editor.verdict).to_have_text("✓ Saved. Builds use it from now on.")
    assert server.get(f"/pipelines/{pipeline}").json["config"] == mine


async def _until(act: Callable[[], Awaitable[Any]], done: Callable[[], bool], page: Page) -> None:
    await act()
    for _ in range(300):
        if done():
            return
        await page.wait_for_timeout(50)
    raise AssertionError("no answer")


async def test_a_refused_definition_marks_its_lines_and_leads_to_them_where_they_are(
    page: Page, editor: Editor, console: Any
):
    console.allow("422")
    await editor.open("name: Fine\nsteps: ['true']\n")
    await expect(editor.verdict).to_have_text("✓ Valid")
    save = page.get_by_role("button", name="Save", exact=True)
    places = [await editor.text.bounding_box(), await save.bounding_box()]
    await editor.text.fill(TWO_WRONG)
    await expect(editor.verdict).to_have_text("2 problems")
    await expect(editor.text).to_have_attribute("aria-invalid", "true")
    await expect(page.locator(".problems li")).to_have_count(2)
    assert [await editor.text.bounding_box(), await save.bounding_box()] == places
    await editor.save()
    await expect(editor.verdict).to_have_text("Not saved: 2 problems")
    await expect(page.locator(".checks")).to_be_focused()
    # The first line with a problem is in sight in the field, marked in its number and in its text.
    await expect(page.locator(".gutter .wrong")).to_have_text(["62", "64"])
    await expect(page.locator(".colours .wrong").first).to_have_text("stpes:")
    scrolled = await editor.text.evaluate("(one) => one.scrollTop")
    assert scrolled > 500
    for _ in range(3):  # the first, its documentation, the second
        await page.keyboard.press("Tab")
    await expect(page.locator(".problems a[data-line]").nth(1)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(editor.text).to_be_focused()
    await editor.type("<Shift+ArrowRight>")
    selected = "(one) => one.value.slice(one.selectionStart, one.selectionEnd)"
    assert await editor.text.evaluate(selected) == "\U0001f600"
    # Nothing was typed since, and yet it is not stored.
    await _until(
        lambda: page.evaluate("setTimeout(() => location.assign('/'))"), lambda: bool(editor.asked), page
    )
    await editor.text.fill(VALID)
    await expect(editor.verdict).to_have_text("✓ Valid")
    await expect(page.locator(".wrong")).to_have_count(0)
    await page.route(
        "**/ui/pipelines/check", lambda route: route.fulfill(status=302, headers={"Location": "/"})
    )
    await editor.type("x")
    await expect(editor.verdict).to_contain_text("Not checked")


async def test_many_problems_in_a_long_line_do_not_read_it_for_each(page: Page, editor: Editor):
    await page.add_init_script(COUNTED)
    await editor.open("name: a\nsteps: [x]\n")
    await expect(editor.verdict).to_have_text("✓ Valid")
    line = "x" * 50_000
    await editor.text.fill(
        f"{{name: '{line}', steps: [x], {', '.join(f'wrong{number}: 1' for number in range(50))}}}"
    )
    await expect(page.locator(".problems li")).not_to_have_count(0)
    assert await page.locator(".problems li").count() >= 50
    assert await page.evaluate("characters") < 5 * len(line)


async def test_enter_and_tab_indent_and_undo_takes_it_back(page: Page, editor: Editor):
    await editor.open("")
    await editor.text.focus()
    await editor.type(
        "steps:", "<Enter>", "- name: a", "<Enter>", "content: |", "<Enter>", "if x; then", "<Enter>"
    )
    await editor.type("<Tab>", "y", "<Enter>", "<Shift+Tab>", "fi")
    typed = "steps:\n  - name: a\n    content: |\n      if x; then\n        y\n      fi"
    await expect(editor.text).to_have_value(typed)
    await editor.type("<Control+a>", "<Tab>")
    await expect(editor.text).to_have_value("\n".join(f"  {line}" for line in typed.split("\n")))
    await editor.type("<Shift+Tab>")
    await expect(editor.text).to_have_value(typed)
    await editor.type("<Control+z>", "<Control+z>")
    await expect(editor.text).to_have_value(typed)
    for _ in range(60):
        await editor.type("<Control+z>")
        if not await editor.text.input_value():
            break
    await expect(editor.text).to_have_value("")
    # With Escape the field can be left by Tab and Shift+Tab.
    await expect(page.locator("#keys-of-editor")).to_be_visible()
    await editor.type("<Escape>", "<Tab>")
    await expect(page.locator(".checks")).to_be_focused()
    await editor.type("<Shift+Tab>", "<Escape>", "<Shift+Tab>")
    await expect(editor.text).not_to_be_focused()
    await expect(editor.text).to_have_value("")
    # Half lines and the last line of a selection that ends where it begins.
    await editor.text.fill("a\nn\n1")
    await editor.text.evaluate("(one) => one.setSelectionRange(0, 4)")
    await editor.type("<Tab>")
    await expect(editor.text).to_have_value("  a\n  n\n1")
    await editor.type("<Shift+Tab>")
    await expect(editor.text).to_have_value("a\nn\n1")
    await expect(page.get_by_role("listbox")).to_be_hidden()
    rows = {
        "a:": 2, "- a:": 4, "  - name: x": 4, "  - make test": 2, "  - key: |": 6, "- |": 2, "a: b": 0,
        "  a: b": 2, "a: # why": 2, "a: [": 2, "- - a: b": 4, "k: |\n  if:": 2, "k: |\n  a\nb:": 2,
        "a: 'x:": 0, "": 0, "    ": 4, "# a:": 0, "- http://x": 0, '"a b":': 2,
    }  # fmt: skip
    assert dict(zip(rows, await page.evaluate(AFTER_ENTER, list(rows)), strict=True)) == rows


async def test_keys_of_the_language_are_suggested_by_keyboard_and_by_pointer(page: Page, editor: Editor):
    await editor.open("")
    await editor.text.focus()
    await editor.type("st")
    await expect(editor.options).to_have_text(["steps The steps, run in this order."])
    await expect(page.locator("#config")).to_have_attribute("aria-activedescendant", "suggestions-0")
    await editor.type("<Enter>")
    await expect(editor.text).to_have_value("steps:\n  - ")
    await editor.type("<Control+Space>")
    await expect(editor.options.locator("b")).to_have_text(["name", "content", "type", "files", "when"])
    await editor.type("<ArrowUp>", "<Tab>")
    await expect(editor.text).to_have_value("steps:\n  - when:\n      ")
    await editor.type("sta", "<Enter>", "f", "<Enter>")
    await expect(editor.text).to_have_value("steps:\n  - when:\n      status: failure")
    await editor.type("<Enter>", "<Shift+Tab>", "co")
    await editor.options.get_by_text("content", exact=True).click()
    await expect(editor.text).to_be_focused()
    await editor.type("x", "<Enter>", "n", "<Escape>")
    await expect(page.get_by_role("listbox")).to_be_hidden()
    await editor.type("<Tab>")
    await expect(page.locator(".checks")).to_be_focused()
    assert (await editor.text.input_value()).startswith(
        "steps:\n  - when:\n      status: failure\n    content: x\n    n"
    )
    # In a word the whole word is replaced, and before a colon nothing is written twice.
    await editor.text.fill("xse: 1\n")
    await editor.text.evaluate("(one) => one.setSelectionRange(0, 1)")
    await editor.type("s", "t", "<Enter>")
    await expect(editor.text).to_have_value("steps: 1\n")
    await editor.text.fill(f"name: a\n{'#' * 20}\n" * 20)
    await editor.text.focus()
    await editor.type("<Control+End>", "o")
    box = await page.get_by_role("listbox").bounding_box()
    assert box is not None and box["y"] >= 0 and box["y"] + box["height"] <= 900


async def test_suggestions_know_where_the_cursor_stands(page: Page, editor: Editor):
    await editor.open()
    step = "name content type files when"
    rows = {
        "n^": "name network new_privileges notify",
        "name: x\nn^": "network new_privileges notify",
        "n^\nname: x": "network new_privileges notify",
        "steps:\n  ^": " ".join(f"- {key}" for key in step.split()),
        "steps:\n  - ^": step,
        "steps:\n- ^": step,
        "steps:\n  - name: a\n    ^": "content type files when",
        "steps:\n  - ^\n    name: a\n  - content: b": "content type files when",
        "steps:\n  - name: a\n  - n^": "name",
        "steps:\n  - name: a\n    when:\n      e^": "event",
        "steps:\n  - content: |\n      n^": "",
        "steps:\n  - content: |\n      x\n\n^": " ".join(name for name in PIPELINE if name != "steps"),
        "steps:\n  - type: ^": "bash sh",
        "steps: [{t^": "type",
        "steps: [{name: a, when: {^": "event branches tags paths status",
        "steps: [{when: {event: [push, t^": "tag",
        "steps: [{when: {event: push}, n^": "name",
        "steps: [{name: 'a, {', n^": "",
        "on: p^": "push pull_request",
        "on: [push, t^": "tag",
        "on:\n  ^": "push tag pull_request schedule",
        "on:\n  push:\n    b^": "branches",
        "on:\n  push:\n  ^": "tag pull_request schedule",
        "on:\n  schedule:\n    - c^": "cron",
        "on:\n  pull_request: {types: [o^": "opened",
        "on:\n  pull_request:\n    types:\n      - o^": "opened",
        "on:\n  pull_request:\n    draft: ^": "true false",
        "concurrency:\n  when_busy: r^": "replace",
        "notify:\n  - mail: a@b\n    ^": "webhook slack ntfy when",
        "jobs:\n  n^": "",
        "jobs:\n  test:\n    ma^": "matrix max_parallel",
        "jobs:\n  test: {needs: a, ma^": "matrix max_parallel",
        "jobs:\n  test:\n    matrix:\n      i^": "",
        "jobs: {test: {needs: [{o^": "optional",
        "jobs:\n  test:\n    steps:\n      - t^": "type",
        "jobs:\n  test:\n    services:\n      db:\n        re^": "ready ready_timeout",
        "services:\n  r^": "", "services: {db: {po^": "ports",
        "env:\n  n^": "", "name: n^": "", "# n^": "", "name: 'a\n  n^": "", "constructor:\n  n^": "",
        "language: ru^": "rust ruby", "steps:\n  # a: b\n\n  - t^": "type", "a:b n^": "",
        "steps: " + "[" * 21 + "n^": "", "a: " + "[" * 9_990 + "n^": "",
        "steps:\n" + "  # long\n" * 3_000 + "  - n^": "", "name: x\n" + "# long\n" * 3_000 + "ste^": "steps",
        '"on":\n  t^': "tag", "n:n^": "", "- n^": "", "image: {n^": "",
    }  # fmt: skip
    assert dict(zip(rows, await page.evaluate(CHOICES, list(rows)), strict=True)) == rows


async def test_definitions_are_coloured(page: Page, editor: Editor):
    await editor.open()
    rows = {
        "name: x # why": ["key name | comment # why"],
        "timeout: 90": ["key timeout | number 90"],
        "a: -1.5e3\nb: true\nc: 1.2.3": ["key a | number -1.5e3", "key b | number true", "key c"],
        "k: 'it''s' # c": ["key k | string 'it''s' | comment # c"],
        'k: "a\n  \\" b" #c': ['key k | string "a', 'string   \\" b" | comment #c'],
        "- content: |\n    a: b\n\n  name: c": ["key content", "block     a: b", "block ", "key name"],
        "- |-\n  # no\n- x: y": ["", "block   # no", "key x"],
        "a: {b: c, 'd': [1, e]} # f": ["key a | key b | key 'd' | number 1 | comment # f"],
        "a: {\n  b: 1\n}\nc: 2": ["key a", "key b | number 1", "", "key c | number 2"],
        '{"a":1,"b":"c"}': ['key "a" | number 1 | key "b" | string "c"'],
        "- http://a:80/#b": [""],
        "- echo 'a' | cat": [""],
        "a: &x !!str b\nc: *x": ["key a | tag &x | tag !!str", "key c | tag *x"],
        "k: >+2 # c\n   x\nj: 1": ["key k | comment # c", "block    x", "key j | number 1"],
    }
    assert dict(zip(rows, await page.evaluate(PIECES, list(rows)), strict=True)) == rows
    assert await page.evaluate(HOSTILE_LINES) == []
    await editor.text.fill("name: \u05d0 <b>\n")
    # A list, because the keys of the text before are there until the next frame.
    await expect(page.locator(".colours .y-key")).to_have_text(["name"])
    assert await page.locator(".colours").inner_text() == "name: \u05d0 <b>\n\u200b"


async def test_long_definitions_draw_only_what_is_in_sight(page: Page, editor: Editor):
    await editor.open()
    drawn = page.locator(".colours > div > div")
    await editor.text.evaluate(SET, "a: b\n" * 10_000)
    await expect(drawn.first).to_have_text("a: b")
    assert await drawn.count() <= 100
    await editor.type("<Enter>", "x")
    await expect(page.locator(".gutter span").nth(1)).to_have_text("2")
    await editor.type("<Control+End>", "z: |", "<Enter>", "y")
    await expect(page.locator(".colours .y-block")).to_have_text("  y")
    assert await drawn.count() <= 100
    # The number of the last line is beside it.
    await expect(page.locator(".gutter span").last).to_have_text(str(10_003))
    await page.wait_for_function(
        """() => {
          const text = document.getElementById("config");
          const last = [...document.querySelectorAll(".gutter span")].at(-1);
          const bottom = text.getBoundingClientRect().top + text.clientHeight;
          return Math.abs(last.getBoundingClientRect().bottom - bottom) < 12;
        }"""
    )
    # A line too long to be coloured is drawn by the field itself.
    await editor.text.evaluate(SET, "name: a\nsteps: ['" + "x: [" * 65_536 + "']\n")
    await expect(page.locator(".lines.coloured")).to_have_count(0)
    await expect(drawn.first).to_have_text("\u200b")
    await expect(page.locator(".gutter span")).to_have_text(["1", "2", "3"])
