"""The pages below a path of a proxy, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

from playwright.async_api import Page, expect

from tests.support.prefix_proxy import PrefixProxy
from tests.support.server import Server
from tests.support.users import PASSWORD, add_user


async def test_a_build_is_started_and_followed_through_a_proxy(page: Page, new_server: Callable[..., Server]):
    proxy = PrefixProxy("/team/rapidflow", strip=True)
    server = new_server(executor="process", public_url=proxy.url).start()
    proxy.lead_to(server.port)
    go = server.data.parent / "go"
    server.pipeline(
        {"name": "Seen", "steps": [f"echo first; until [ -e {go} ]; do sleep 0.1; done; echo last"]}
    )
    add_user(server, "root", "admin")

    await page.goto(f"{proxy.url}/")
    await page.get_by_label("Name").fill("root")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(f"{proxy.url}/")
    await page.get_by_role("button", name="Start Seen").click()
    await expect(page).to_have_url(f"{proxy.url}/ui/jobs/1")
    await expect(page.locator("#log")).to_contain_text("first")
    await expect(page.locator("h1")).to_contain_text("running")
    go.touch()
    await expect(page.locator("#log")).to_contain_text("last")
    await expect(page.locator("h1")).to_contain_text("success")
    icon = page.locator('link[rel="icon"]')
    await expect(icon).to_have_js_property("href", f"{proxy.url}/static/icons/success.svg")
    await page.keyboard.press("g")
    await page.keyboard.press("d")
    await expect(page).to_have_url(f"{proxy.url}/")
    proxy.close()
