"""Finding builds and pipelines: by typing, by filters, by keys."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.server import Server
from tests.support.users import add_user, session_of


def add_rows(server: Server, pipelines: int) -> None:
    """Pipelines and builds as rows, while the server does not run."""
    with closing(sqlite3.connect(server.data / "rapidflow.db")) as database, database:
        for number in range(1, pipelines + 1):
            name = f"service-{number:03}"
            database.execute("INSERT INTO definition(id, name, config) VALUES (?, ?, '')", (number, name))
            database.execute(
                "INSERT INTO pipeline(id, definition_id, created_at, updated_at) VALUES (?, ?, 1, 1)",
                (number, number),
            )


def add_build(server: Server, pipeline: int, **columns: object) -> None:
    """A build that has ended."""
    row = {
        "pipeline_id": pipeline, "definition_id": pipeline, "status": "success", "started_by": "api",
        "created_at": 1_700_000_000_000, "started_at": 1_700_000_000_000, "finished_at": 1_700_000_009_000,
        "expose_ports": 0, "cancelled": 0, "timeline": "[]", "log_size": 0, **columns,
    }  # fmt: skip
    with closing(sqlite3.connect(server.data / "rapidflow.db")) as database, database:
        places = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO job({', '.join(row)}) VALUES ({places})", list(row.values()))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """500 pipelines, and some builds."""
    server = Server(tmp_path_factory.mktemp("many") / "data", executor="process").start()
    server.stop()
    add_rows(server, 500)
    add_build(server, 7, branch="feature/Straße-1", author="Grace Hopper", started_by="webhook")
    add_build(server, 7, branch="main", started_by="ada", status="failed", error="the build timed out")
    add_build(server, 300, branch="FEATURE/two", started_by="ada")
    add_build(
        server,
        300,
        branch="main",
        started_by="api",
        created_at=4_000_000_000_000,
        repo_name="https://example.com/team/shop",
    )
    server.start()
    yield server
    server.stop()


async def test_a_pipeline_among_500_is_found_by_its_first_letters(page: Page, many: Server):
    await page.goto(many.url)
    await page.keyboard.press("/")
    await page.keyboard.type("service-42")
    await expect(page.locator("#pipelines tbody tr")).to_have_count(10)
    await expect(page).to_have_url(f"{many.url}/?q=service-42")
    await page.keyboard.type("3")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("service-423")


async def test_all_pipelines_are_on_one_page_and_found_by_repository(page: Page, many: Server):
    await page.goto(f"{many.url}/ui/pipelines")
    await expect(page.locator("tbody tr")).to_have_count(500)
    # What fails comes first.
    await expect(page.locator("tbody tr").first).to_have_attribute("id", "pipeline-7")
    await page.keyboard.press("/")
    # Which pipeline would an empty field open?
    await page.keyboard.press("Enter")
    await page.keyboard.type("team SHOP")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("form.finding [role=status]")).to_have_text("1 pipeline matches")
    await expect(page).to_have_url(f"{many.url}/ui/pipelines?q=team+SHOP")
    await page.reload()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.keyboard.press("/")
    await page.keyboard.type("nothing like it")
    await expect(page.locator(".empty")).to_contain_text("No pipelines match.")


async def test_favourites_come_first(page: Page, many: Server):
    await page.goto(f"{many.url}/ui/pipelines?q=service")
    star = page.get_by_role("button", name="Favourite service-499")
    await star.click()
    await expect(page.locator("tbody tr").first).to_have_attribute("id", "pipeline-499")
    await expect(page).to_have_url(f"{many.url}/ui/pipelines?q=service")
    await expect(star).to_have_attribute("aria-pressed", "true")
    await page.goto(many.url)
    await expect(page.locator("#pipelines tbody tr").first).to_have_attribute("id", "pipeline-499")
    await page.goto(f"{many.url}/ui/pipelines")
    await star.click()
    await expect(page.locator("tbody tr").first).to_have_attribute("id", "pipeline-7")


async def test_without_scripts_pipelines_are_found(browser: Browser, many: Server):
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{many.url}/ui/pipelines")
    await page.get_by_label("Find by name, label, repository or file").fill("service-300")
    await page.get_by_role("button", name="Find").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await context.close()


async def test_filters_of_builds_act_on_change_and_are_in_the_address(page: Page, many: Server):
    await page.goto(many.url)
    await page.get_by_role("link", name="Builds", exact=True).click()
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(4)
    await page.get_by_label("Branch").fill("feature/")
    await expect(rows).to_have_count(2)
    await page.get_by_label("Branch").fill("STRASSE")
    await expect(rows).to_have_count(1)
    await expect(page).to_have_url(f"{many.url}/ui/builds?branch=STRASSE")
    await page.reload()
    await expect(rows).to_have_count(1)
    await page.get_by_label("Branch").fill("")
    await expect(rows).to_have_count(4)
    await page.get_by_label("Person").fill("grace")
    await expect(rows).to_have_count(1)
    await page.get_by_label("Person").fill("ADA")
    await expect(rows).to_have_count(2)
    await page.get_by_label("Status").select_option("failed")
    await expect(rows).to_have_count(1)
    await page.get_by_label("Status").select_option("")
    await page.get_by_label("Pipeline").fill("300")
    await expect(rows).to_have_count(1)
    await expect(page).to_have_url(f"{many.url}/ui/builds?pipeline=300&who=ADA")
    await page.get_by_role("link", name="Clear").click()
    await expect(rows).to_have_count(4)
    await page.get_by_label("Since").select_option("Last 24 hours")
    await expect(rows).to_have_count(1)


async def test_branches_and_people_are_suggested(page: Page, many: Server):
    await page.goto(f"{many.url}/ui/builds")
    branches = await page.locator("#branches-known option").evaluate_all("all => all.map((one) => one.value)")
    assert branches == ["main", "FEATURE/two", "feature/Straße-1"]
    people = await page.locator("#people-known option").evaluate_all("all => all.map((one) => one.value)")
    assert people == ["api", "ada", "webhook", "Grace Hopper"]


async def test_a_new_build_appears_in_the_list(page: Page, server: Server):
    pipeline = server.pipeline({"name": "Appears later", "steps": ["true"]})
    await page.goto(f"{server.url}/ui/builds?pipeline=appears+LATER")
    await expect(page.locator(".empty")).to_be_visible()
    job = server.start_build(pipeline)
    await expect(page.locator(f"#build-{job}")).to_contain_text("success")


async def test_nothing_is_suggested_or_found_that_may_not_be_seen(new_server: Callable[..., Server]):
    server = new_server(executor="process").start()
    add_user(server, "root", "admin")
    add_user(server, "eve", "viewer")
    root, eve = session_of(server, "root"), session_of(server, "eve")
    made = server.request(
        "POST", "/pipelines", "name: hidden-name\nbranch: hidden-branch\nsteps: ['true']\n",
        {"Cookie": root, "Content-Type": "application/yaml"},
    )  # fmt: skip
    number = made.json["id"]
    server.request(
        "PUT", f"/pipelines/{number}/visibility", '{"restricted": true}',
        {"Cookie": root, "Content-Type": "application/json"},
    )  # fmt: skip
    job = server.request("POST", f"/pipelines/{number}/jobs", headers={"Cookie": root}).json["id"]
    assert f"build-{job}" in server.get("/ui/builds", {"Cookie": root}).text
    for path in (
        "/ui/builds",
        "/ui/builds?branch=hidden&pipeline=hidden",
        "/ui/pipelines",
        "/ui/pipelines?q=h",
        "/?q=h",
    ):
        seen = server.get(path, {"Cookie": eve})
        assert seen.status == 200
        assert not re.search("hidden-(name|branch)", seen.text), path
        assert f"build-{job}" not in seen.text and f"/ui/jobs/{job}" not in seen.text
    assert "hidden-branch" in server.get("/ui/builds", {"Cookie": root}).text
    # A favourite is kept by the browser alone: there is nothing to be audited.
    answer = server.request(
        "POST", f"/ui/pipelines/{number}/favourite", "q=a%26b",
        {"Cookie": root, "Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert (answer.status, answer.headers["location"]) == (303, "/ui/pipelines?q=a%26b")
    assert "favourite" not in server.get("/ui/audit", {"Cookie": root}).text


@pytest.mark.parametrize(
    "query", ["branch=%00", "branch=%ff", "q=%25", "since=x", "before=-1", "branch=" + "x" * 3000]
)
async def test_odd_queries_find_nothing_or_all(many: Server, query: str):
    for path in ("/ui/builds", "/ui/pipelines", "/"):
        assert many.get(f"{path}?{query}").status == 200


@pytest.mark.parametrize("wildcard", ["%25", "_", "%5C"])
async def test_wildcards_of_the_database_are_none(many: Server, wildcard: str):
    assert "No pipelines match." in many.get(f"/ui/pipelines?q={wildcard}").text
    for name in ("branch", "pipeline", "who"):
        assert 'id="build-' not in many.get(f"/ui/builds?{name}={wildcard}").text


@pytest.mark.parametrize(
    ("cookie", "first"),
    [("", 7), ("1.x.-3", 1), ("9" * 5000, 7), ("300." * 1000, 300), ("\xb2", 7), ("300.0.12", 12)],
)
async def test_any_cookie_of_favourites_is_read(many: Server, cookie: str, first: int):
    answer = many.get("/ui/pipelines", {"Cookie": f"rapidflow_favourites={cookie}"})
    assert answer.status == 200
    found = re.search(r'<tr id="pipeline-(\d+)"', answer.text)
    assert found is not None and int(found[1]) == first


async def test_labels_are_shown_and_lead_to_the_pipelines_that_have_them(page: Page, server: Server):
    label = "a <b> & 100%"
    for name in ("labelled one", "labelled two"):
        server.pipeline({"name": name, "labels": [label, "x" * 50], "steps": ["true"]})
    server.pipeline({"name": "not labelled", "steps": ["true"]})
    await page.goto(f"{server.url}/ui/pipelines?q=labelled+one")
    await page.get_by_role("link", name="labelled one", exact=True).click()
    await page.locator("h1 + .labels").get_by_role("link", name=label, exact=True).click()
    await expect(page.get_by_label("Find by name, label, repository or file")).to_have_value(label)
    await expect(page.locator("#results .at-name a[data-found]")).to_have_text(
        ["labelled one", "labelled two"]
    )
    await page.set_viewport_size({"width": 390, "height": 800})
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
