"""Secrets that a build lacks: all of them by name, with a form for those who may set them."""

from __future__ import annotations

from collections.abc import Callable

from playwright.async_api import Browser, Page, expect

from rapidflow_web.secrets.vault import LEAST_BYTES
from tests.support.server import Server
from tests.support.users import add_user, session_of

NAMES = ["FIRST", "SECOND", "THIRD_" * 30]


async def of_user(browser: Browser, server: Server, user: str, **options: bool) -> Page:
    """An empty page of a user, on a phone."""
    context = await browser.new_context(viewport={"width": 390, "height": 800}, **options)
    name, _, value = session_of(server, user).partition("=")
    await context.add_cookies([{"name": name, "value": value, "url": server.url}])
    return await context.new_page()


async def test_missing_secrets_are_named_at_once_and_set_with_one_form(
    browser: Browser, new_server: Callable[..., Server]
) -> None:
    server = new_server(executor="process").start()
    lengths = "; ".join(f"echo ${{#{name}}}" for name in NAMES)
    job = server.run({"name": "deploys", "secrets": NAMES, "steps": [lengths]})["job"]
    assert all(name in job["error"] for name in NAMES)
    for user, role in (("root", "admin"), ("bob", "builder"), ("vera", "viewer")):
        add_user(server, user, role)
    build, pipeline = f"/ui/jobs/{job['id']}", f"/ui/pipelines/{job['pipeline_id']}"

    bobs, veras = [await of_user(browser, server, user) for user in ("bob", "vera")]
    for path in (build, pipeline):
        for page in (bobs, veras):
            await page.goto(f"{server.url}{path}")
        notice = bobs.get_by_role("region", name="Missing secrets")
        await expect(notice).to_contain_text("3 secrets are missing, so builds fail.")
        await expect(notice).to_contain_text(f"{', '.join(NAMES)}. Only admins can set them.")
        await expect(notice.get_by_role("button")).to_have_count(0)
        await expect(veras.get_by_role("region", name="Missing secrets")).to_have_count(0)
    for page in (bobs, veras):
        await page.context.close()

    # Nothing is stored where one of them can't be; empty fields are ignored.
    page = await of_user(browser, server, "root", java_script_enabled=False)
    await page.goto(f"{server.url}{pipeline}")
    notice = page.get_by_role("region", name="Missing secrets")
    await notice.get_by_label("FIRST").fill("a value of the first")
    await notice.get_by_label("SECOND").fill("short")
    await notice.get_by_role("button", name="Save secrets").click()
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was stored: SECOND: a secret has")
    await expect(notice).to_contain_text("3 secrets are missing")
    await notice.get_by_label("FIRST").fill("a value of the first")
    await notice.get_by_role("button", name="Save secrets").click()
    await expect(notice).to_contain_text("2 secrets are missing")
    await page.context.close()

    page = await of_user(browser, server, "root")
    await page.goto(f"{server.url}{build}")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    notice = page.get_by_role("region", name="Missing secrets")
    await expect(notice.get_by_label("FIRST")).to_have_count(0)
    await notice.get_by_label(NAMES[2]).fill("a value of the third")
    # An answer of the server would not show the values.
    await notice.get_by_label("SECOND").fill("x" * (LEAST_BYTES - 1))
    await notice.get_by_role("button", name="Save and retry").click()
    assert await notice.get_by_label("SECOND").evaluate("(field) => field.matches(':invalid:focus')")
    await notice.get_by_label("SECOND").fill("y\n" + "x" * (LEAST_BYTES - 2))
    hidden = "(field) => getComputedStyle(field).webkitTextSecurity"
    assert await notice.get_by_label("SECOND").evaluate(hidden) == "disc"
    await notice.get_by_label("Show what I type").check()
    assert await notice.get_by_label("SECOND").evaluate(hidden) == "none"
    await notice.get_by_role("button", name="Save and retry").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(f"Build #{job['id'] + 1}")
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    await expect(page.get_by_role("region", name="Missing secrets")).to_have_count(0)
    await page.goto(f"{server.url}/ui/audit")
    for name in NAMES:
        await expect(page.locator("tbody tr").filter(has_text=f"/secrets ({name})")).to_have_count(1)
    await page.context.close()
