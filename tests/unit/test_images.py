"""Which image a build runs in: what may be asked for."""

from __future__ import annotations

import pytest

from rapidflow_web.pipeline.images import (
    LANGUAGES,
    check_image,
    check_language,
    check_version,
    image_for,
    language_key,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4


# Languages.


@pytest.mark.parametrize("text", ["golang", "Go", "PYTHON", "c++", "C#", ".net", "TypeScript", "bash", "r"])
def test_a_language_or_an_alias_is_taken_unchanged_in_any_case(text: str):
    assert check_language(text) == text


def test_a_near_miss_is_told_the_language_that_was_probably_meant():
    with pytest.raises(ValueError) as error:
        check_language("golng")
    assert str(error.value) == "unknown language 'golng', did you mean 'golang'? Or name an 'image'"


def test_an_unknown_language_is_told_to_name_an_image():
    with pytest.raises(ValueError) as error:
        check_language("brainfuck9000")
    assert str(error.value) == "unknown language 'brainfuck9000'; name an 'image'"


@pytest.mark.parametrize("text", ["", " ", "go ", "golang\n", "python:3", "x" * 100_000, "\x00"])
def test_what_is_not_exactly_a_language_is_refused_in_one_short_line(text: str):
    with pytest.raises(ValueError, match="unknown language") as error:
        check_language(text)
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value) and "\x00" not in str(error.value)


@pytest.mark.parametrize(
    ("alias", "key"),
    [
        ("go", "golang"), ("golang", "golang"), ("GO", "golang"),
        ("nodejs", "node"), ("javascript", "node"), ("typescript", "node"), ("js", "node"), ("ts", "node"),
        (".net", "dotnet"), ("csharp", "dotnet"), ("C#", "dotnet"), ("fsharp", "dotnet"),
        ("c", "cpp"), ("c++", "cpp"), ("shell", "bash"), ("python3", "python"),
    ],
)  # fmt: skip
def test_an_alias_leads_to_the_canonical_name(alias: str, key: str):
    assert language_key(alias) == key


def test_the_key_of_an_unknown_language_is_an_error_that_helps():
    with pytest.raises(ValueError, match="did you mean 'python'"):
        language_key("pyhton")


def test_no_alias_means_two_languages_and_all_are_lower_case():
    names = [name for key, language in LANGUAGES.items() for name in (key, *language.aliases)]
    assert len(names) == len(set(names))
    assert names == [name.lower() for name in names]


def test_every_canonical_name_can_be_part_of_an_environment_variable():
    assert all(key.isalnum() for key in LANGUAGES)


# Versions.


@pytest.mark.parametrize("text", ["1", "1.21", "3.12-slim", "lts", "_x", "A.b_C-9", "x" * 128])
def test_a_version_that_can_be_a_tag_is_taken_unchanged(text: str):
    assert check_version(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 ",
        " 1",
        "1\n",
        ".1",
        "-1",
        "1:2",
        "1/2",
        "1@2",
        "lts/*",
        ">=1",
        "1;rm",
        "$x",
        "é",
        "١",
        "x" * 129,
    ],
)
def test_a_version_that_can_not_be_a_tag_is_refused_in_one_line(text: str):
    with pytest.raises(ValueError, match="is not a version") as error:
        check_version(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


# Images.


@pytest.mark.parametrize(
    "text",
    [
        "golang",
        "golang:1.21-bookworm",
        "user/app",
        "a/b/c/d",
        "docker.io/library/golang:1.21",
        "registry.example.com:5000/team/image:tag",
        "Registry.Example.com/team/image",
        "localhost/image",
        "localhost:5000/image",
        "registry:5000/image",
        "127.0.0.1:5000/image:1",
        "[::1]:5000/image",
        f"golang@{DIGEST}",
        f"golang:1.21@{DIGEST}",
        f"ghcr.io/a/b-c__d.e_f:V1@{DIGEST}",
        "a--b/c---d",
        "image:" + "x" * 128,
        "x" * 255,
    ],
)
def test_a_reference_that_docker_takes_is_taken_unchanged(text: str):
    assert check_image(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "golang ",
        "golang\n",
        "gol ang",
        "Golang",
        "user/App",
        "User/app",
        "registry.example.com/Team/image",
        "-golang",
        "golang-",
        "a..b",
        "a___b",
        "/golang",
        "golang/",
        "a//b",
        "golang:",
        "golang:-1",
        "golang:1:2",
        "golang:" + "x" * 129,
        "golang@",
        "golang@sha256:abc",
        f"golang@{DIGEST.upper()}",
        f"golang@{DIGEST}0",
        f"golang@md5:{'0' * 32}",
        "-registry.example.com/image",
        "registry.example.com:/image",
        "registry.example.com:123456/image",
        "https://example.com/image",
        "golang;rm -rf /",
        "--privileged",
        "0123456789abcdef" * 4,
        "x" * 256,
        "x/" * 1000 + "x",
        "gölang",
    ],
)
def test_what_docker_would_not_take_is_refused_in_one_line_that_shows_how(text: str):
    with pytest.raises(ValueError, match="is not the name of an image; write one like golang:") as error:
        check_image(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


# From language and version to an image.


@pytest.mark.parametrize(
    ("language", "version", "image"),
    [
        ("golang", "1.21", "golang:1.21"),
        ("Go", "1.21", "golang:1.21"),
        ("python", "3.12-slim", "python:3.12-slim"),
        ("typescript", "20", "node:20"),
        ("java", "17", "maven:3-eclipse-temurin-17"),
        ("kotlin", "17", "gradle:jdk17"),
        ("rust", "1.75", "rust:1.75"),
        ("ruby", "3.2.2", "ruby:3.2.2"),
        ("php", "8.3", "php:8.3"),
        ("csharp", "8.0", "mcr.microsoft.com/dotnet/sdk:8.0"),
        ("elixir", "1.17", "elixir:1.17"),
        ("c++", "14", "gcc:14"),
        ("r", "4.4.1", "rocker/r-ver:4.4.1"),
        ("lua", "5.4", "nickblah/lua:5.4-luarocks"),
    ],
)
def test_language_and_version_choose_the_image(language: str, version: str, image: str):
    assert image_for(language, version, {}) == image


@pytest.mark.parametrize(
    ("language", "image"),
    [
        ("golang", "golang:1"),
        ("python", "python:3"),
        ("node", "node:lts"),
        ("java", "maven:3-eclipse-temurin-21"),
        ("kotlin", "gradle:jdk21"),
        ("rust", "rust:1"),
        ("ruby", "ruby:3"),
        ("php", "php:8"),
        ("dotnet", "mcr.microsoft.com/dotnet/sdk:10.0"),
        ("elixir", "elixir:latest"),
        ("bun", "oven/bun:1"),
        ("clojure", "clojure:tools-deps"),
    ],
)
def test_without_a_version_the_default_is_taken(language: str, image: str):
    assert image_for(language, None, {}) == image


def test_scala_has_one_image_because_sbt_fetches_the_version_that_the_project_asks_for():
    assert image_for("scala", "2.13.14", {}) == image_for("scala", None, {})
    assert image_for("scala", None, {}).startswith("sbtscala/scala-sbt:")


def test_bash_has_no_image_of_its_own():
    assert image_for("bash", None, {}) == image_for("shell", "5.2", {}) == ""


@pytest.mark.parametrize("key", [key for key in LANGUAGES if key != "bash"])
@pytest.mark.parametrize("version", [None, "1", "8", "latest", "x.y-z"])
def test_every_language_gives_a_valid_image(key: str, version: str | None):
    image = image_for(key, version, {})
    assert check_image(image) == image
    assert "{" not in image


@pytest.mark.parametrize(
    ("language", "version", "image"),
    [
        ("java", "1.8", "maven:3-eclipse-temurin-8"),
        ("java", "17.0.9", "maven:3-eclipse-temurin-17"),
        ("java", "21-alpine", "maven:3-eclipse-temurin-21-alpine"),
        ("java", "1.7", "maven:3-eclipse-temurin-8"),
        ("java", "15", "maven:3-eclipse-temurin-17"),
        ("java", "18", "maven:3-eclipse-temurin-18"),
        ("java", "latest", "maven:3-eclipse-temurin-21"),
        ("java", "lts", "maven:3-eclipse-temurin-21"),
        ("kotlin", "1.9.22", "gradle:jdk21"),
        ("kotlin", "2", "gradle:jdk21"),
        ("kotlin", "11", "gradle:jdk11"),
        ("dotnet", "8", "mcr.microsoft.com/dotnet/sdk:8.0"),
        ("dotnet", "8.0.404", "mcr.microsoft.com/dotnet/sdk:8.0.404"),
        ("rust", "stable", "rust:1"),
        ("golang", "v1.21", "golang:1.21"),
        ("golang", "latest", "golang:1"),
        ("node", "lts", "node:lts"),
        ("node", "latest", "node:latest"),
        ("node", "current", "node:current"),
        ("python", "", "python:3"),
        ("clojure", "1.11", "clojure:tools-deps"),
        ("clojure", "lein", "clojure:lein"),
        ("lua", "latest", "nickblah/lua:5-luarocks"),
    ],
)
def test_a_version_as_people_write_it_becomes_a_tag_that_exists(language: str, version: str, image: str):
    assert image_for(language, version, {}) == image


@pytest.mark.parametrize(
    ("language", "version", "template", "image"),
    [
        ("golang", "1.21", "registry.local/go:{version}", "registry.local/go:1.21"),
        ("go", None, "registry.local/go:{version}", "registry.local/go:1"),
        ("go", "1.21", "registry.local/go", "registry.local/go"),
        ("java", "1.8", "registry.local/jdk:{version}", "registry.local/jdk:8"),
        ("go", "1.21", "{x}/{version}{version}", "{x}/1.211.21"),
    ],
)
def test_an_override_goes_before_the_table(language: str, version: str | None, template: str, image: str):
    assert image_for(language, version, {language_key(language): template}) == image


def test_an_override_of_another_language_changes_nothing():
    assert image_for("go", "1.21", {"rust": "registry.local/rust"}) == "golang:1.21"


def test_an_unknown_language_has_no_image():
    with pytest.raises(ValueError, match="unknown language 'klingon'"):
        image_for("klingon", None, {})
