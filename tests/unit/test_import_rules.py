"""The contracts in pyproject.toml say which room imports which; here they notice what they forbid."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

FORBIDDEN = [
    ("errors", "rapidflow_web.settings"),
    ("cli.client", "rapidflow_web.builds.service"),
    ("pipeline.parser", "rapidflow_web.settings"),
    ("settings", "rapidflow_web.data_folder"),
    ("logs.log", "rapidflow_web.db.models"),
    ("source.git", "rapidflow_web.logs.log"),
    ("forges.base", "rapidflow_web.db.models"),
    ("db.jobs", "rapidflow_web.builds.service"),
    ("executors.process.executor", "rapidflow_web.db.jobs"),
    ("builds.service", "rapidflow_web.web.responses"),
    ("web.responses", "rapidflow_web.api.representations"),
    ("api.lists", "rapidflow_web.pages.blueprint"),
    ("pages.dashboard", "rapidflow_web.api.representations"),
    ("web.gate", "rapidflow_web.server.run"),
    ("builds.supervisor", "aiodocker"),
    ("server.app", "aiodocker"),
    ("builds.supervisor", "quart"),
    ("executors.process.executor", "werkzeug"),
    ("db.models", "quart_schema"),
    ("server.run", "quart"),
]


def copied(folder: Path) -> Path:
    """`folder` with a copy of the package and of the contracts."""
    package = CHECKOUT / "rapidflow_web"
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """lint-imports over the copy in `folder`."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a package in which every import of FORBIDDEN is made."""
    folder = copied(tmp_path_factory.mktemp("broken"))
    for module, imported in FORBIDDEN:
        with (folder / "rapidflow_web" / f"{module.replace('.', '/')}.py").open("a") as file:
            file.write(f"\nimport {imported}\n")
    linted = lint(folder)
    assert linted.returncode != 0
    return linted.stdout


def test_the_rooms_keep_the_contracts(tmp_path: Path) -> None:
    linted = lint(copied(tmp_path))

    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(("module", "imported"), FORBIDDEN)
def test_a_forbidden_import_is_noticed(broken: str, module: str, imported: str) -> None:
    assert re.search(rf"rapidflow_web\.{module} -> {imported} \(", broken), broken


def test_a_room_without_a_place_is_noticed(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "rapidflow_web" / "attic.py").write_text("")

    linted = lint(folder)

    assert linted.returncode != 0
    assert "attic" in linted.stdout


def test_the_documentation_gives_each_room_the_line_that_it_has_in_the_contract() -> None:
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    lines = enumerate(contracts[0]["layers"], start=1)
    expected = [(room, str(number)) for number, line in lines for room in line.split(" | ")]

    text = (CHECKOUT / "docs" / "development.md").read_text()
    described = re.findall(r"(?m)^\| `(\w+)(?:/|\.py)` \| (\d+) \|", text)

    assert described == expected


def test_one_module_alone_touches_private_parts_of_the_docker_client() -> None:
    package = CHECKOUT / "rapidflow_web" / "executors" / "docker"
    touched = {
        path.name
        for path in package.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }

    # The attachment reads an HTTP connection as bytes, for which it needs a private part of aiohttp.
    assert touched == {"engine_client.py", "attachment.py"}


def test_commands_that_ask_a_server_do_not_load_the_language_of_pipelines() -> None:
    program = "import sys, rapidflow_web.cli.main; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    rooms = {name.removeprefix("rapidflow_web.") for name in loaded.stdout.split()}
    assert not rooms & {"pipeline.definition", "pipeline.triggers", "pipeline.parser", "db", "forges.base"}
