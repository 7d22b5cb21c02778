"""Which language the files of a repository ask for, and which of them tells the version."""

from __future__ import annotations

import json
import random

import pytest

from rapidflow_web.pipeline.images import (
    LANGUAGES,
    MAX_TEXT,
    Detected,
    check_image,
    check_version,
    detect,
    image_for,
)
from tests.support.cpu import cpu_seconds


def detected(files: dict[str, str]) -> Detected | None:
    """What is detected in a folder with these files."""
    return detect(files.get)


# Which language.


def test_nothing_is_detected_in_a_folder_that_says_nothing():
    assert detected({}) is None
    assert detected({"README.md": "# python 3", "Makefile": "all:\n"}) is None


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("go.mod", "golang"),
        ("go.work", "golang"),
        ("Cargo.toml", "rust"),
        ("build.sbt", "scala"),
        ("pom.xml", "java"),
        ("build.gradle", "java"),
        ("build.gradle.kts", "java"),
        ("settings.gradle", "java"),
        ("settings.gradle.kts", "java"),
        ("global.json", "dotnet"),
        ("Directory.Build.props", "dotnet"),
        ("Package.swift", "swift"),
        ("pubspec.yaml", "dart"),
        ("mix.exs", "elixir"),
        ("rebar.config", "erlang"),
        ("stack.yaml", "haskell"),
        ("cabal.project", "haskell"),
        ("Project.toml", "julia"),
        ("deps.edn", "clojure"),
        ("shard.yml", "crystal"),
        ("composer.json", "php"),
        ("Gemfile", "ruby"),
        ("pyproject.toml", "python"),
        ("Pipfile", "python"),
        ("setup.cfg", "python"),
        ("setup.py", "python"),
        ("requirements.txt", "python"),
        ("deno.json", "deno"),
        ("deno.jsonc", "deno"),
        ("bun.lock", "bun"),
        ("bun.lockb", "bun"),
        ("package.json", "node"),
        ("renv.lock", "r"),
        ("cpanfile", "perl"),
        ("CMakeLists.txt", "cpp"),
        (".go-version", "golang"),
        ("rust-toolchain", "rust"),
        ("rust-toolchain.toml", "rust"),
        (".java-version", "java"),
        (".sdkmanrc", "java"),
        (".python-version", "python"),
        ("runtime.txt", "python"),
        (".nvmrc", "node"),
        (".node-version", "node"),
        (".ruby-version", "ruby"),
        (".php-version", "php"),
        (".swift-version", "swift"),
        (".bun-version", "bun"),
    ],
)
@pytest.mark.parametrize("text", ["", "{[<\x00 not what it should be \"' =", "[" * 100_000, "{" * 300_000])
def test_a_malformed_file_tells_the_language_and_no_version(name: str, language: str, text: str):
    assert detected({name: text}) == Detected(language, None, name)


def test_every_file_of_the_table_is_covered_by_the_test_above():
    names = {name for language in LANGUAGES.values() for name in (*language.files, *language.pins)}
    mark = test_a_malformed_file_tells_the_language_and_no_version.pytestmark[-1]
    assert names - {name for name, _ in mark.args[1]} == {"project.clj", "Makefile.PL"}


@pytest.mark.parametrize(
    ("project", "also", "language"),
    [
        ("go.mod", "package.json", "golang"),
        ("Gemfile", "package.json", "ruby"),
        ("composer.json", "package.json", "php"),
        ("requirements.txt", "package.json", "python"),
        ("mix.exs", "package.json", "elixir"),
        ("deno.json", "package.json", "deno"),
        ("bun.lock", "package.json", "bun"),
        ("pyproject.toml", "CMakeLists.txt", "python"),
        ("Cargo.toml", "pyproject.toml", "rust"),
        ("pom.xml", "build.gradle", "java"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_project_with_a_front_end_or_extensions_keeps_its_language(
    project: str, also: str, language: str, turned: bool
):
    files = {also: "", project: ""} if turned else {project: "", also: ""}
    assert detected(files) == Detected(language, None, project)


def test_a_pin_of_another_languages_tool_does_not_change_the_language():
    files = {
        "go.mod": "go 1.21\n",
        ".nvmrc": "20",
        ".python-version": "3.12",
        ".tool-versions": "nodejs 18\n",
    }
    assert detected(files) == Detected("golang", "1.21", "go.mod")


def test_each_file_is_read_at_most_once():
    asked: list[str] = []

    def read(name: str) -> str | None:
        asked.append(name)
        return {"pyproject.toml": "", "requirements.txt": ""}.get(name)

    assert detect(read) == Detected("python", None, "pyproject.toml")
    assert len(asked) == len(set(asked))


# Which file tells the version.


def test_tool_versions_goes_before_everything_else():
    files = {".tool-versions": "python 3.10.1\n", ".python-version": "3.11", "pyproject.toml": ""}
    assert detected(files) == Detected("python", "3.10.1", ".tool-versions")


def test_a_pin_goes_before_a_project_file():
    files = {".nvmrc": "18", "package.json": '{"engines": {"node": "20"}}'}
    assert detected(files) == Detected("node", "18", ".nvmrc")


def test_a_file_that_says_no_version_leaves_it_to_the_next_one():
    files = {
        ".python-version": "system",
        "pyproject.toml": "[tool.ruff]",
        "setup.py": "python_requires='==3.9.*'",
    }
    assert detected(files) == Detected("python", "3.9", "setup.py")


def test_without_any_version_the_source_is_the_file_that_told_the_language():
    assert detected({".python-version": "system", "requirements.txt": "x"}) == Detected(
        "python", None, "requirements.txt"
    )


@pytest.mark.parametrize(
    ("line", "language", "version"),
    [
        ("golang 1.21.5", "golang", "1.21.5"),
        ("nodejs 20.10.0 18.1.0", "node", "20.10.0"),
        ("nodejs lts", "node", "lts"),
        ("nodejs lts-iron", "node", "iron"),
        ("nodejs latest", "node", "current"),
        ("python\t3.11.4   # the one in production", "python", "3.11.4"),
        ("python pypy3.10-7.3.12", "python", None),
        ("python system", "python", None),
        ("python miniconda3-4.7.12", "python", None),
        ("ruby 3.2.2", "ruby", "3.2.2"),
        ("ruby jruby-9.4.0.0", "ruby", None),
        ("java temurin-17.0.9+9", "java", "17"),
        ("java adoptopenjdk-8.0.392+8", "java", "8"),
        ("java graalvm-community-21.0.2", "java", "21"),
        ("java corretto-11.0.21.9.1", "java", "11"),
        ("java openjdk-12", "java", "17"),
        ("kotlin 1.9.22", "kotlin", None),
        ("elixir 1.15.7-otp-26", "elixir", "1.15.7"),
        ("erlang 26.2.1", "erlang", "26.2.1"),
        ("rust 1.75.0", "rust", "1.75.0"),
        ("rust stable", "rust", None),
        ("rust nightly", "rust", None),
        ("dotnet-core 8.0.404", "dotnet", "8.0.404"),
        ("scala 3.3.1", "scala", "3.3.1"),
        ("python ref:main", "python", None),
        ("python path:/etc/passwd", "python", None),
        ("python 3;rm", "python", None),
    ],
)
def test_a_line_of_tool_versions_tells_language_and_version(line: str, language: str, version: str | None):
    assert detected({".tool-versions": f"# tools\nterraform 1.5\n\n{line}\n"}) == Detected(
        language, version, ".tool-versions"
    )


@pytest.mark.parametrize("text", ["terraform 1.5\n", "", "python\n", "# python 3\n", "\n\n"])
def test_a_tool_versions_without_a_known_language_says_nothing(text: str):
    assert detected({".tool-versions": text}) is None


@pytest.mark.parametrize("text", ["nodejs 20\npython 3.12\n", "python 3.12\nnodejs 20\n"])
def test_of_several_tools_the_one_before_in_the_table_is_the_language(text: str):
    assert detected({".tool-versions": text}) == Detected("python", "3.12", ".tool-versions")


def test_a_project_file_chooses_among_the_tools():
    files = {".tool-versions": "python 3.12\nnodejs 20.1.0\n", "package.json": "{}"}
    assert detected(files) == Detected("node", "20.1.0", ".tool-versions")


def test_a_tool_named_twice_has_the_first_version():
    assert detected({".tool-versions": "ruby 3.1.0\nruby 3.2.0\n"}) == Detected(
        "ruby", "3.1.0", ".tool-versions"
    )


# What is read is untrusted.


def all_files() -> list[str]:
    return [".tool-versions", *(name for row in LANGUAGES.values() for name in (*row.files, *row.pins))]


PIECES = [
    "go ", "1.21", "3.", "9" * 40, "python ", "node", "lts/", "*", "x", ".", "^", "~>", ">=", "<", "||",
    "\n", "\r", " ", '"', "'", "{", "}", "[", "]", ":", "=", "<java.version>", "<!--", "-->", "ruby ",
    "elixir: ", "channel", "requires-python", "[project]\n", "$(id)", "`", "\x00", "\ud800", "é", "٣", "/",
    "sdk: ", "-", ",", " - ",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(300))
def test_whatever_a_repository_holds_gives_a_valid_version_or_none(seed: int):
    rng = random.Random(seed)
    for name in all_files():
        text = "".join(rng.choices(PIECES, k=rng.randrange(1, 20)))
        result = detected({name: text})
        assert result is None or result.version is None or check_version(result.version)


@pytest.mark.parametrize("seed", range(300))
def test_whatever_range_is_asked_for_gives_a_valid_version_or_none(seed: int):
    rng = random.Random(seed)
    atoms = [
        "18",
        "20.1",
        "3.11.4",
        "x",
        "*",
        "^",
        "~",
        "~>",
        ">=",
        "<=",
        "<",
        ">",
        "!=",
        " ",
        "||",
        "|",
        ",",
        " - ",
        "0",
    ]
    engine = "".join(rng.choices(atoms, k=rng.randrange(1, 9)))
    result = detected({"package.json": json.dumps({"engines": {"node": engine}})})
    assert result is not None and (result.version is None or check_version(result.version))


HOSTILE = [
    "a." * 120_000 + "a = 1",
    '"\u2028".' * 50_000 + "a = 1",
    "\n".join("a." * 99 + f"b{i} = 1" for i in range(1200)),
    "[" * 250_000,
    '{"a":' * 50_000,
    "<!--" * 60_000,
    "<java.version>" * 18_000,
    " " * 250_000,
    "\n" * 250_000,
    "\t\r" * 125_000,
    "1" * 250_000,
    "1." * 125_000,
    "-" * 250_000,
    "go " + "1" * 250_000 + "!",
    "sourceCompatibility " * 13_000,
    "sourceCompatibility" + " " * 240_000,
    "python_requires" + " " * 240_000,
    "channel" + " " * 240_000,
    "elixir:" + " " * 240_000,
    "ruby " + "'>= 1'," * 35_000,
    "go 1.21\n" * 500_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_file_is_done_with_quickly(text: str):
    with cpu_seconds(60):
        for name in all_files():
            detected({name: text})


@pytest.mark.parametrize("text", ["a-" * 250, "a." * 250, "a_" * 250, "a/" * 250, "-" * 500, "a" * 10**6])
def test_a_hostile_image_is_refused_quickly(text: str):
    with cpu_seconds(60), pytest.raises(ValueError, match="is not the name of an image"):
        check_image(text)


def test_a_file_that_is_too_long_still_tells_the_language():
    text = "go 1.21\n" + " " * MAX_TEXT
    assert detected({"go.mod": text}) == Detected("golang", None, "go.mod")
    assert detected({"go.mod": text[:MAX_TEXT]}) == Detected("golang", "1.21", "go.mod")


def test_what_is_detected_chooses_a_valid_image():
    for name, text in {
        "go.mod": "go 1.21",
        "pom.xml": "<java.version>1.8</java.version>",
        "bun.lock": "",
    }.items():
        result = detected({name: text})
        assert result is not None
        image = image_for(result.language, result.version, {})
        assert check_image(image) == image
