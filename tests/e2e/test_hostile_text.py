"""What builds print and people type is text in the browser: it runs, loads and becomes nothing."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Dialog, Error, Page, expect

from rapidflow_web.web.security_headers import FIRST_SCRIPT
from tests.e2e.conftest import Console
from tests.support.repos import Repo
from tests.support.server import Server
from tests.support.users import PASSWORD, add_user, as_, token_of

# One line that breaks out of text, attributes, titles and text areas, and then tries what runs or loads.
NAME = (
    "\"'></title></textarea></pre><x-hostile><img src=x onerror=alert(1)><script>alert(2)</script>"
    '<iframe src=https://evil.example></iframe>\u202e\u2066" data-hostile=1 hx-get=https://evil.example'
)
# The same for where no spaces may be, and for where there is little room.
WORD = "\"'></pre><x-hostile><svg/onload=alert(3)><img/src=x/onerror=alert(4)>"
SHORT = "\"'><x-hostile><img src=x onerror=alert(5)>"
FILE = "\"'><x-hostile onclick=alert(6)><img src=x onerror=alert(7)>"

ESCAPE = "\x1b"
LINES = [
    NAME,
    '<meta http-equiv=refresh content="0;url=https://evil.example"><base href="https://evil.example">',
    '<form action="https://evil.example"><button autofocus onfocus=alert(8)>x</button></form>',
    f"{ESCAPE}]8;;javascript:alert(9){ESCAPE}\\link{ESCAPE}]8;;{ESCAPE}\\",
    f"{ESCAPE}]8;;data:text/html,<script>alert(10)</script>\x07link{ESCAPE}]8;;\x07",
    f'{ESCAPE}]8;;https://evil.example/" onclick="alert(11)" x="\x07link{ESCAPE}]8;;\x07',
    f"{ESCAPE}]0;<x-hostile>a title\x07 after a title",
    f"{ESCAPE}]52;c;YWxlcnQoMTIp\x07 after a clipboard",
    f"{ESCAPE}[{'9' * 100_000}C{ESCAPE}[{'1;' * 50_000}m far too wide",
    f"{ESCAPE}[{'9' * 1000}C{ESCAPE}[{'1;' * 500}m wide",
    f"{ESCAPE}[38;2;1);background:url(https://evil.example);x:(m coloured",
    f"{ESCAPE}[2J{ESCAPE}[H{ESCAPE}[?1049h{ESCAPE}c cleared",
    "\0\0 NULs \x00<x-hostile>\x00 \x1e0 marker \x9b31m \u202e\u2066 bidi \u2028 \ufeff",
    "javascript:alert(13) https://evil.example/<x-hostile>\"onmouseover=alert(14) http://evil.example/'x'",
    "::group::<x-hostile><img src=x onerror=alert(15)>",
    f"error: <x-hostile>{ESCAPE}]never ended <img src=x onerror=alert(16)>",
    "::endgroup::",
]
OUTPUT = "\n".join(LINES).encode() + b"\n\xff\xfe<x-hostile>\xc3\n"

LISTEN = """addEventListener("securitypolicyviolation", (event) =>
  console.error(`blocked ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));"""

# Elements that no page has, attributes that run or load something, addresses that lead elsewhere.
SCAN = """(first) => {
  const elements = new Set(`html head meta title link script body a header main nav aside section p h1 h2
    div span strong ul ol li dl dt dd table caption thead tbody tr th td pre code kbd time progress output
    form fieldset legend label input textarea select option datalist button details summary dialog noscript
    svg path circle rect line canvas`.split(/\\s+/));
  const found = [];
  const note = (element, { name, value }) => found.push(`${element.localName} with ${name}=${value}`);
  for (const element of document.querySelectorAll("*")) {
    const tag = element.localName.replace(/^svg:/, "");
    if (!elements.has(tag) && !(tag === "title" && element.closest("svg"))) found.push(`<${tag}>`);
    const ours = element.src?.startsWith?.(`${location.origin}/static/`);
    if (tag === "script" && !ours && element.textContent !== first) found.push("a script inside");
    if (tag === "meta" && element.httpEquiv) found.push(`meta ${element.httpEquiv}`);
    for (const attribute of element.attributes) {
      const { name, value } = attribute;
      if (/^on|hostile|^srcdoc$|^formaction$/.test(name)) note(element, attribute);
      if (/^hx-(get|post|put|delete)$/.test(name) && !value.startsWith("/ui/")) note(element, attribute);
      // An address that is none leads nowhere.
      if (!/^(href|src|action)$/.test(name) || !URL.canParse(value, location.href)) continue;
      const { origin, protocol } = new URL(value, location.href);
      const printed = tag === "a" && element.closest(".log .text") && /^https?:$/.test(protocol);
      if (origin !== location.origin && !printed) note(element, attribute);
    }
  }
  return found;
}"""
SHOWN = """() => document.documentElement.textContent.includes("x-hostile")
  || [...document.querySelectorAll("input, textarea")].some((field) => field.value.includes("x-hostile"))"""


@dataclass
class Watch:
    """What pages do that they should not."""

    server: str
    seen: list[str] = field(default_factory=list)

    def on(self, page: Page) -> None:
        """Watches a page."""
        page.on("dialog", self._dialog)
        page.on("request", lambda request: self._asked(request.url))
        page.on("popup", lambda popup: self.seen.append(f"opened {popup.url}"))
        page.on("framenavigated", lambda frame: self._asked(frame.url))

    async def _dialog(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":  # the browser's own, about edits that are not saved
            await dialog.accept()
            return
        self.seen.append(f"dialog: {dialog.message}")
        with contextlib.suppress(Error):  # another may have come, or the page have gone
            await dialog.dismiss()

    def _asked(self, url: str) -> None:
        if not url.startswith((f"{self.server}/", "about:blank")):
            self.seen.append(f"asked for {url}")

    async def scan(self, page: Page, *, shows: bool = True) -> None:
        """Looks for what should not be there; and what is hostile must be, as text, or nothing is tested."""
        await page.wait_for_load_state()
        self.seen += [f"{urlsplit(page.url).path}: {one}" for one in await page.evaluate(SCAN, FIRST_SCRIPT)]
        if shows:
            assert await page.evaluate(SHOWN), f"{page.url} shows nothing hostile"


@pytest_asyncio.fixture(loop_scope="session")
async def tab(context: BrowserContext, console: Console, hostile: Hostile) -> AsyncIterator[Page]:
    """A page in which nothing but the pages themselves may do anything."""
    await context.add_init_script(LISTEN)
    page = await context.new_page()
    console.watch(page)
    watch = Watch(hostile.server.url)
    watch.on(page)
    page.watch = watch  # type: ignore[attr-defined]
    yield page
    assert watch.seen == []


@dataclass
class Hostile:
    """A server full of hostile names and output."""

    server: Server
    pipeline: int
    job: int
    failed: int


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    folder = tmp_path_factory.mktemp("hostile")
    server = Server(folder / "data", executor="process", grace="1s", file_roots=str(folder)).start()
    repo = Repo(folder / "repo")
    repo.commit({f"{FILE}/{FILE}": "x"}, NAME)
    repo.git("checkout", "--quiet", "-b", WORD)
    said = base64.b64encode(OUTPUT).decode()
    steps: list[Any] = [
        {"name": NAME, "content": f"cat '{said[:8]}'* | base64 -d || true", "files": {f"{said[:8]}": said}},
        {"name": SHORT, "content": "ls; head -c 1000000 /dev/zero | tr '\\0' '<'; echo; echo '<x-hostile>'"},
        f"echo {json.dumps(NAME)} >&2; exit 3 # {SHORT}",
    ]
    config = {"name": NAME, "repo_name": repo.url, "branch": WORD, "folder": FILE, "env": {"A": NAME}}
    pipeline = server.pipeline({**config, "steps": steps})
    job = server.start_build(pipeline, environments={"B": NAME})
    server.wait_finished(job)
    gone = {"name": NAME, "repo_name": f"https://127.0.0.1:1/{WORD}", "steps": [NAME]}
    failed = server.run(gone)["job"]["id"]
    assert "x-hostile" in server.job(failed)["error"]
    add_user(server, "root", "admin")
    admin = as_(token_of(server, "root"))
    # The audit log has the address of what was refused, and calls users that there are not by no name.
    assert server.request("DELETE", f"/secrets/{quote(SHORT, safe='')}", headers=admin).status == 404
    for name in (NAME, "root"):
        form = urlencode({"name": name, "password": "wrong"})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert server.request("POST", "/login", form, headers).status == 401
    body = json.dumps({"environments": {FILE: "x"}})
    refused = server.request(
        "POST",
        f"/pipelines/{pipeline}/jobs?{quote(NAME)}",
        body,
        {**admin, "Content-Type": "application/json"},
    )
    assert refused.status in (400, 422)
    yield Hostile(server, pipeline, job, failed)
    server.stop()


async def log_in(page: Page, server: Server) -> None:
    """Logs in as the administrator."""
    await page.goto(f"{server.url}/login")
    await page.get_by_label("Name").fill("root")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")


async def test_hostile_output_is_text(tab: Page, hostile: Hostile):
    await log_in(tab, hostile.server)
    shown = NAME.replace("\u202e", r"\u202e").replace("\u2066", r"\u2066")  # as everywhere on pages
    title = f"#{hostile.job} failed · {shown}"
    for fragment in ("", "#step:1", "#step:1:6", "#step:2:2", "#step:3:1"):
        await tab.goto("about:blank")
        await tab.goto(f"{hostile.server.url}/ui/jobs/{hostile.job}{fragment}")
        await expect(tab.locator(".output .row").first).to_be_visible()
        await tab.watch.scan(tab)
        assert " ".join((await tab.title()).split()) == " ".join(title.split())
    await tab.get_by_role("button", name="Times").click()
    await tab.get_by_role("button", name="Collapse all").click()
    await tab.watch.scan(tab)
    links = await tab.locator(".output .text a").evaluate_all("all => all.map((a) => a.protocol)")
    assert set(links) <= {"http:", "https:"}


async def test_every_line_of_hostile_output_is_shown_as_it_is(tab: Page, hostile: Hostile):
    await log_in(tab, hostile.server)
    for number, words in (
        (1, "<script>alert(2)</script>"),
        (4, "link"),
        (7, "after a title"),
        (9, "far too wide"),
        (10, "wide"),
        (12, "cleared"),
        (14, 'https://evil.example/<x-hostile>"onmouseover=alert(14)'),
        (18, "<x-hostile>"),
    ):
        await tab.goto("about:blank")
        await tab.goto(f"{hostile.server.url}/ui/jobs/{hostile.job}#step:1:{number}")
        row = tab.locator(f'.output .row:has(a.number[href="#step:1:{number}"])')
        await expect(row).to_contain_text(words)
        await tab.watch.scan(tab)


async def test_a_search_for_hostile_text_finds_it_and_runs_nothing(
    tab: Page, hostile: Hostile, console: Console
):
    console.allow("400")
    await log_in(tab, hostile.server)
    await tab.goto(f"{hostile.server.url}/ui/jobs/{hostile.job}")
    await expect(tab.locator(".output .row").first).to_be_visible()
    await tab.get_by_role("button", name="Search").click()
    query = tab.get_by_label("Search the log")
    for typed, said in (("<x-hostile><img", "of"), (f"{NAME} nowhere", "Nothing found")):
        await query.fill(typed)
        await query.press("Enter")
        await expect(tab.locator("output")).to_contain_text(said)
        await tab.watch.scan(tab)
    await tab.get_by_label("Regular expression").check()
    await query.fill(f"({SHORT}")
    await query.press("Enter")
    await expect(tab.locator("output")).not_to_be_empty()
    await tab.watch.scan(tab)


async def test_hostile_names_are_text_on_every_page(tab: Page, hostile: Hostile):
    await log_in(tab, hostile.server)
    for address in (
        "/",
        f"/ui/pipelines/{hostile.pipeline}",
        f"/ui/jobs/{hostile.job}",
        f"/ui/jobs/{hostile.failed}",
        "/ui/audit",
    ):
        await tab.goto(f"{hostile.server.url}{address}")
        await tab.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        await tab.watch.scan(tab, shows=address != "/ui/audit")
    # What a page asks for again, too.
    await tab.goto(hostile.server.url)
    async with tab.expect_response("**/ui/overview"):
        pass
    await tab.watch.scan(tab)


async def test_hostile_names_are_text_without_scripts(tab: Page, hostile: Hostile):
    await log_in(tab, hostile.server)
    await tab.context.add_init_script("")
    browser = tab.context.browser
    assert browser is not None
    context = await browser.new_context(
        java_script_enabled=False, storage_state=await tab.context.storage_state()
    )
    page = await context.new_page()
    tab.watch.on(page)
    for address in ("/", f"/ui/pipelines/{hostile.pipeline}", f"/ui/jobs/{hostile.job}", "/ui/audit"):
        await page.goto(f"{hostile.server.url}{address}")
        await tab.watch.scan(page, shows=address != "/ui/audit")
    await context.close()


async def test_hostile_addresses_and_filters_are_text(tab: Page, hostile: Hostile, console: Console):
    console.allow("404")
    await log_in(tab, hostile.server)
    everything = urlencode(
        dict.fromkeys(("status", "branch", "before", "user", "page", "done", "next"), NAME)
    )
    for address, shows in (
        (f"/?{everything}", True),
        (f"/ui/pipelines/{hostile.pipeline}?{everything}", True),
        (f"/ui/audit?{everything}", True),
        (f"/ui/account?{everything}", False),
        (f"/ui/users?{everything}", False),
        (f"/login?{everything}", False),
        (f"/ui/jobs/{quote(SHORT)}", True),
        (f"/ui/pipelines/{quote(SHORT)}", True),
        (f"/ui/users/{quote(SHORT)}", True),
        (f"/{quote(NAME, safe='')}", False),
        (f"/ui/jobs/{hostile.job}#{quote(NAME)}", True),
        (f"/ui/jobs/{hostile.job}#step:1:1{quote(SHORT)}", True),
        (f"/ui/account#{quote(NAME)}", False),
    ):
        await tab.goto(f"{hostile.server.url}{address}")
        await tab.watch.scan(tab, shows=shows)


async def test_a_hostile_definition_is_refused_in_words(tab: Page, hostile: Hostile, console: Console):
    console.allow("422")
    await log_in(tab, hostile.server)
    wrong = {
        NAME: 1,
        "name": f"{NAME}{'x' * 200}",
        "repo_name": f"{WORD}://x",
        "branch": NAME,
        "folder": f"../{FILE}",
        "language": NAME,
        "version": NAME,
        "image": NAME,
        "env": {NAME: "x"},
        "steps": [{"type": SHORT, "content": "x", "files": {f"../{FILE}": "x", FILE: 3}}, {SHORT: 1}],
    }
    await tab.goto(f"{hostile.server.url}/ui/pipelines/new")
    await tab.get_by_label("Definition, in YAML").fill(json.dumps(wrong))
    await expect(tab.locator(".problems li").nth(8)).to_contain_text("x-hostile")
    await tab.watch.scan(tab)
    await tab.get_by_role("button", name="Save", exact=True).click()
    await tab.wait_for_url("**/ui/pipelines")
    await tab.watch.scan(tab)
    await tab.goto(f"{hostile.server.url}/ui/pipelines/{hostile.pipeline}")
    await tab.locator("#branch").fill(WORD)
    await tab.locator("#environment").fill(f"A={NAME}\n{FILE}")
    await tab.get_by_role("button", name="Start", exact=True).click()
    await expect(tab.get_by_role("alert")).to_contain_text("x-hostile")
    await tab.watch.scan(tab)


async def test_hostile_accounts_are_text(tab: Page, hostile: Hostile, console: Console):
    console.allow("422")
    console.allow("401")
    await tab.goto(f"{hostile.server.url}/login")
    await tab.get_by_label("Name").fill(NAME)
    await tab.get_by_label("Password").fill("wrong")
    await tab.get_by_role("button", name="Log in").click()
    await expect(tab.get_by_role("alert")).to_be_visible()
    await tab.watch.scan(tab)
    await log_in(tab, hostile.server)
    await tab.goto(f"{hostile.server.url}/ui/users")
    await tab.locator("#name").fill(SHORT)
    await tab.locator("#password").fill(PASSWORD)
    await tab.get_by_role("button", name="Add user").click()
    await expect(tab.get_by_role("alert")).to_contain_text("x-hostile")
    await tab.watch.scan(tab)
    for address in ("/ui/secrets", f"/ui/pipelines/{hostile.pipeline}"):
        await tab.goto(f"{hostile.server.url}{address}?{urlencode({'secret': NAME})}")
        await tab.watch.scan(tab)
        await tab.locator("#secret-value").fill(NAME)
        await tab.locator("form:has(#secret-value)").evaluate("(form) => (form.noValidate = true)")
        await tab.get_by_role("button", name="Save secret").click()
        await expect(tab.get_by_role("alert")).to_contain_text("is not a variable name")
        await tab.watch.scan(tab)
    await tab.goto(f"{hostile.server.url}/ui/account")
    await tab.locator("#token-name").fill(SHORT)
    await tab.get_by_text("Only for some pipelines").click()
    await tab.get_by_role("checkbox").first.check()
    await tab.get_by_role("button", name="Create token").click()
    await expect(tab.locator("#made")).to_contain_text("x-hostile")
    await tab.watch.scan(tab)
    await tab.goto(f"{hostile.server.url}/ui/audit")
    await expect(tab.locator("#main")).to_contain_text("make token")
    await tab.watch.scan(tab)


async def test_who_a_proxy_says_somebody_is_is_text(
    context: BrowserContext, console: Console, tmp_path: Path
):
    console.allow("403")
    server = Server(tmp_path / "data", executor="process", login="proxy", proxy_header="Remote-User")
    server.set(proxy_addresses="127.0.0.1")
    server.start()
    name = SHORT.replace("alert(5)", "alert(17)")
    await context.set_extra_http_headers({"Remote-User": name})
    page = await context.new_page()
    console.watch(page)
    watch = Watch(server.url)
    watch.on(page)
    for address in ("/", "/ui/account", "/ui/users"):
        await page.goto(f"{server.url}{address}")
        await watch.scan(page)
    server.stop()
    assert watch.seen == []


async def test_these_tests_notice_a_hole(context: BrowserContext):
    """The same watch over a page that puts what is hostile into itself as it is, and has no policy."""
    page = await context.new_page()
    hole = "http://localhost:9/hole"
    text = f'<title>{NAME}</title><p>{SHORT}</p><a href="javascript:alert(18)">x</a>'
    await page.route("**/*", lambda route: route.abort())
    await page.route(hole, lambda route: route.fulfill(body=text, content_type="text/html"))
    watch = Watch("http://localhost:9")
    watch.on(page)
    await page.goto(hole)
    await watch.scan(page, shows=False)
    said = "\n".join(watch.seen)
    for one in (
        "dialog: 1", "dialog: 2", "asked for https://evil.example", "<x-hostile>", "<img>", "<iframe>",
        "a script inside", "img with onerror", "a with href=javascript:alert(18)",
    ):  # fmt: skip
        assert one in said, one
