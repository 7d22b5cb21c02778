"""Which image a build runs in: from a language and a version, or from the files of the repository.

Pure: `detect` is given a function that reads. What it reads is untrusted, so every pattern takes linear time,
sizes are bounded, and a file that can't be understood only means that it says no version.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

Read = Callable[[str], str | None]  # from the name of a file to its text
Reader = Callable[[str], str | None]  # from the text of a file to what it says of the version: `1.21`, `>=18`

MAX_TEXT = 256 * 1024  # characters; a longer file still tells the language, not the version
MAX_REQUIREMENT = 200  # characters

_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PATH = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
# What is before the first slash is a registry only with a dot or a port, or as localhost; else it is a user.
_REGISTRY = rf"(?:localhost|{_HOST}(?:\.{_HOST})+|(?:{_HOST}|\[[0-9a-fA-F:]+\])(?=:))(?::\d{{1,5}})?"
_IMAGE = re.compile(
    rf"(?![a-f0-9]{{64}}\Z)"  # Docker takes that for an image id
    rf"(?P<name>(?:{_REGISTRY}/)?{_PATH}(?:/{_PATH})*)(?::{_VERSION.pattern})?(?:@sha256:[a-f0-9]{{64}})?"
)


def check_language(text: str) -> str:
    """The text, if it is a language or an alias, in any case. Raises ValueError."""
    if text.lower() not in _KEYS:
        close = difflib.get_close_matches(text.lower()[:60], _KEYS, n=1)
        hint = f", did you mean '{close[0]}'? Or name" if close else "; name"
        raise ValueError(f"unknown language {_short(text)}{hint} an 'image'")
    return text


def check_version(text: str) -> str:
    """The text, if it can be the tag of an image. Raises ValueError."""
    if not _VERSION.fullmatch(text):
        raise ValueError(f"{_short(text)} is not a version; use up to 128 letters, digits, '.', '_' and '-'")
    return text


def check_image(text: str) -> str:
    """The text, if Docker takes it as the reference of an image. Raises ValueError."""
    match = _IMAGE.fullmatch(text) if len(text) <= 500 else None
    if not match or len(match["name"]) > 255:
        raise ValueError(
            f"{_short(text)} is not the name of an image; write one like golang:1.21 or "
            "registry.example.com:5000/team/image:tag, with the path in lower case"
        )
    return text


def language_key(language: str) -> str:
    """The name under which `LANGUAGES` has the language. Raises ValueError for one it does not have."""
    return _KEYS[check_language(language).lower()]


def image_for(language: str, version: str | None, overrides: Mapping[str, str]) -> str:
    """The image of a language; empty for bash, which has none of its own and runs in the default image.

    `overrides` maps names of `LANGUAGES` to templates that go before those of the table. No version, or one
    that only says "the newest", means the default version. Raises ValueError for an unknown language.
    """
    key = language_key(language)
    known = LANGUAGES[key]
    if not version or (version in ("latest", "stable", "lts") and version not in known.words):
        tag = known.default
    else:
        tag = known.tag(re.sub(r"^v(?=\d)", "", version)) or known.default
    return overrides.get(key, known.image).replace("{version}", tag)


@dataclass(frozen=True, slots=True)
class Detected:
    """What a repository is written in. `source` is the file that told the version, or else the language."""

    language: str
    version: str | None
    source: str


def detect(read: Read) -> Detected | None:
    """The language and version that the files in a working folder name, or None.

    `read` gives the text of a file, or None where there is none; it is called at most once for each name.

    The language is the first in `LANGUAGES` that has a project file there. Only where none has do the files
    that pin versions decide, `.tool-versions` first: they often name the versions of mere tools too, like the
    Node of a Go project. The version then comes from the first file that says one: `.tool-versions`, the
    language's own pin (`.nvmrc`), its project files. A pin is what developers run, a project file is what
    they support.

    A version that is named without an operator is taken as it is, also where the file means a minimum (`go`
    in `go.mod`, `rust-version`): it is what the author vouches for. Of a range it is the default version, as
    without any file, if all that the default may stand for is in the range; or else the newest that the
    range's own numbers lead to: `>=16 <21` is 20, `>=3.9,<3.12` is 3.11, `18 || 20` is 20, `~3.10` is 3.10.
    """
    read = functools.cache(read)
    tools = _tools(read(".tool-versions") or "")
    by_file = (key for key, language in LANGUAGES.items() if _first(read, language.files))
    by_tool = (key for key in LANGUAGES if key in tools)
    by_pin = (key for key, language in LANGUAGES.items() if _first(read, language.pins))
    key = next(by_file, None) or next(by_tool, None) or next(by_pin, None)
    if key is None:
        return None
    language = LANGUAGES[key]
    pins = dict.fromkeys((".tool-versions", *language.pins), language.exact)
    for name, reader in {**pins, **language.files}.items():
        text = tools.get(key) if name == ".tool-versions" else read(name)
        if text is not None and (version := _version(language, reader, text)):
            return Detected(key, version, name)
    pin = ".tool-versions" if key in tools else _first(read, language.pins)
    return Detected(key, None, cast(str, _first(read, language.files) or pin))


def _first(read: Read, names: Iterable[str]) -> str | None:
    return next((name for name in names if read(name) is not None), None)


def _tools(text: str) -> dict[str, str]:
    """The languages of a `.tool-versions`, each with the first version that its line names."""
    lines = [line.partition("#")[0].lower().split() for line in text[:MAX_TEXT].splitlines()]
    return {_KEYS[line[0]]: line[1] for line in reversed(lines) if line[1:] and line[0] in _KEYS}


def _version(language: Language, reader: Reader, text: str) -> str | None:
    try:
        said = reader(text.removeprefix("\ufeff")) if len(text) <= MAX_TEXT else None
    except (ValueError, RecursionError):  # malformed, or nested without end
        return None
    tag = language.tag(_resolve(said, language) or "") if said else ""
    return tag if _VERSION.fullmatch(tag) else None


# Ranges. A version is three numbers; a tag of fewer stands for the newest that begins with them.

Numbers = tuple[int, ...]
Span = tuple[bool, Numbers, Numbers]  # inside or outside of: from, and up to but not including

_MANY = 10**7
_EXACT = re.compile(r"\d+(?:\.\d+){0,3}(?:-?(?:a|b|rc|beta)\.?\d+)?")
_TERM = re.compile(
    r"(?P<operator>\^|~>|~=|~|[<>]=?|!=|={1,3})? *"
    r"v?(?P<numbers>(?:\d{1,6}|[*xX])(?:\.(?:\d{1,6}|[*xX])){0,3})(?:(?<=\d)[-+a-z][\w.+-]*)?"
)


def _resolve(requirement: str, language: Language) -> str | None:
    """The one tag that `detect` promises for a requirement, or None where no tag is known to meet it."""
    text = requirement.strip().strip("\"'")
    if text in language.words or _EXACT.fullmatch(text):
        return text
    if len(text) > MAX_REQUIREMENT:
        return None
    text = re.sub(r"(\S+) - (\S+)", r">=\1 <=\2.x", text).replace(" and ", " ")
    choices: list[list[Span]] = []
    tags: set[Numbers] = set()
    for choice in re.split(r"\|\|?| or ", text):
        if not choice.strip(" ,") or _TERM.sub("", choice).strip(" ,"):
            return None
        choices.append([])
        for term in _TERM.finditer(choice):
            parts = term["numbers"].split(".")[:3]
            numbers = tuple(int(part) for part in parts if part.isdigit())
            choices[-1].append(_span(term["operator"] or "=", numbers, whole=len(numbers) == len(parts)))
            for i, number in enumerate(numbers):
                named = number + 1 if term["operator"] == ">" else number
                tags |= {(*numbers[:i], named), (*numbers[:i], max(number - 1, 0))}

    def fits(tag: Numbers) -> bool:
        version = _newest(tag)
        return any(all(inside == (low <= version < high) for inside, low, high in spans) for spans in choices)

    stands_for = language.stands_for or (language.default,)
    if all(fits(tuple(map(int, re.findall(r"\d+", version)))) for version in stands_for):
        return language.default
    best = max(filter(fits, tags), key=_newest, default=())
    return ".".join(map(str, best)) or None


def _span(operator: str, numbers: Numbers, *, whole: bool) -> Span:
    low, fixed = (*numbers, 0, 0, 0)[:3], len(numbers)
    if not numbers:
        return operator != "!=", low, (_MANY,)
    if operator in (">=", ">"):
        return True, low if operator == ">=" else _after(numbers), (_MANY,)
    if operator == "<":
        return True, (0,), low
    if operator == "<=":  # to most tools 3.11.4 is over `<=3.11`; only npm reads that as `<=3.11.x`
        return True, (0,), _after(low if whole else numbers)
    if operator == "^":
        fixed = next((i for i, number in enumerate(numbers, 1) if number), fixed)
    elif operator == "~":
        fixed = min(fixed, 2)
    elif operator in ("~>", "~="):
        fixed = max(fixed - 1, 1)
    return operator != "!=", low, _after(numbers[:fixed])


def _after(numbers: Numbers) -> Numbers:
    return (*numbers[:-1], numbers[-1] + 1, 0, 0)[:3]


def _newest(tag: Numbers) -> Numbers:
    return (*tag, _MANY, _MANY, _MANY)[:3]


def _only(*names: str) -> dict[str, Reader]:
    """Files that tell the language and no version."""
    return dict.fromkeys(names, lambda text: None)


def _find(*patterns: str) -> Reader:
    """A reader that gives the first group of the first pattern that is found anywhere."""
    compiled = [re.compile(pattern, re.MULTILINE) for pattern in patterns]
    return lambda text: next((match[1] for pattern in compiled if (match := pattern.search(text))), None)


# What a pin names: `3.11.4`, `v20`, `go1.22`, `ruby-3.2.2`, `1.15.7-otp-26`.
_exact = _find(rf"^(?:v|go|python-|ruby-)?({_EXACT.pattern})(?:-(?:dev|otp-\d+|p\d+))?[ \t\r]*(?:#.*)?$")


def _nvmrc(text: str) -> str | None:
    word = text.strip().lower()
    if word.startswith("lts"):  # `lts`, `lts/*`, `lts/iron`, `lts-iron`
        return word.replace("*", "")[4:] or "lts"
    return "current" if word in ("node", "stable", "current", "latest") else _exact(word)


def _pom(text: str) -> str | None:
    head, *rest = text.split("<!--")
    names = ("maven.compiler.release", "java.version", "maven.compiler.source", "release", "source")
    properties = _find(*(rf"<{re.escape(name)}>[ \t]{{0,9}}{_JDK}" for name in names))
    return properties(head + "".join(part.partition("-->")[2] for part in rest))


def _data(load: Callable[[str], object], *paths: str) -> Reader:
    """A reader of the first of the paths, keys with a slash between, that leads to a string."""

    def reader(text: str) -> str | None:
        data = load(text)
        return next(filter(None, (_string(data, path) for path in paths)), None)

    return reader


def _string(data: object, path: str) -> str | None:
    for key in path.split("/"):
        data = cast(dict[str, object], data).get(key) if isinstance(data, dict) else None
    return data if isinstance(data, str) else None


def _toml(text: str) -> object:
    # tomllib takes time and memory with the square of a dotted key's length.
    if any(line.count(".") > 100 for line in text.split("\n")):
        raise ValueError("a line with too many dots")
    return tomllib.loads(text)


def _package_json(text: str) -> str | None:
    said = _data(json.loads, "volta/node", "engines/node")(text) or ""
    return re.sub(r"<= *(\d+(?:\.\d+)*)(?!\.?[\d*xX])", r"<=\1.x", said[: MAX_REQUIREMENT + 1])


def _gemfile(text: str) -> str | None:
    line = _find(r"^[ \t]*ruby[ \t(]+([^\n#]*)")(text) or ""
    return ",".join(re.findall(r"[\"']([\d.<>=!~ ]+)[\"']", line.partition("engine")[0]))


def _java_tag(version: str) -> str:
    """`1.8` is 8, `17.0.9` is 17; below 17, where only 8 and 11 have images, the next that has one."""
    match = re.fullmatch(r"(?:1\.)?(\d{1,3})(?:\.[\d._]+)?((?:-[\w.-]+)?)", version)
    if not match:
        return ""
    major = int(match[1])
    return f"{next((jdk for jdk in (8, 11, 17) if major <= jdk), major)}{match[2]}"


@dataclass(frozen=True, slots=True)
class Language:
    """A row of the table. A template without `{version}` has a build tool that fetches the right version."""

    image: str
    default: str  # a moving tag
    aliases: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()  # files that only name a version
    files: Mapping[str, Reader] = field(default_factory=dict[str, Reader])  # every project has one of these
    exact: Reader = _exact  # reads the pins, and the version in `.tool-versions`
    tag: Callable[[str], str] = str  # from a version to what tags call it; empty: the default
    words: tuple[str, ...] = ()  # tags that are not numbers and mean something of their own
    stands_for: tuple[str, ...] = ()  # where the default is a word, the oldest and newest that it may be


_JDK = r"(?:1[._](?=\d))?(\d{1,3})(?!\d)"  # 8 in `1.8` and in `VERSION_1_8`, 17 in `17.0.9`
_GRADLE = _find(
    rf"(?:JavaLanguageVersion\.of|jvmToolchain)\([\"']?{_JDK}",
    rf"options\.release(?: ?= ?|\.set\(){_JDK}",
    rf"sourceCompatibility[ \t]{{0,9}}=?[ \t]{{0,9}}(?:JavaVersion\.(?:VERSION_|toVersion\())?[\"']?{_JDK}",
)
# rustup is in the image and fetches what `stable` and `nightly` mean.
_CHANNEL = _find(r"^[ \t]*(?:channel[ \t]*=[ \t]*[\"'])?(\d+\.\d+(?:\.\d+)?)(?![\w.])")
_PYTHON_REQUIRES = _find(r"python_requires[ \t]{0,9}=[ \t]{0,9}[\"']?([^\"'\n#]+)")
# Not the toolchain line: it is a suggestion, which the image (GOTOOLCHAIN=local) does not follow.
_GO = _find(r"^go[ \t]+(\d[\w.]*)[ \t\r]*(?://|$)")

# In the order of detection. Node is late because projects in other languages often have a package.json for
# their front end, and C++ because they have extensions in it.
LANGUAGES: dict[str, Language] = {
    "golang": Language("golang:{version}", "1", ("go",), (".go-version",), {"go.mod": _GO, "go.work": _GO}),
    "rust": Language(
        "rust:{version}", "1", ("rs",), ("rust-toolchain.toml", "rust-toolchain"), exact=_CHANNEL,
        files={"Cargo.toml": _data(_toml, "package/rust-version", "workspace/package/rust-version")},
    ),
    "scala": Language(  # there are no moving tags
        "sbtscala/scala-sbt:eclipse-temurin-21.0.6_7_1.10.11_3.6.4", "3", ("sbt",),
        files={"build.sbt": _find(r"scalaVersion[ \t]{0,9}:=[ \t]{0,9}\"([\d.]+)\"")},
    ),
    "java": Language(
        "maven:3-eclipse-temurin-{version}", "21", ("jdk", "jvm"), (".java-version", ".sdkmanrc"),
        {
            "pom.xml": _pom, "build.gradle.kts": _GRADLE, "build.gradle": _GRADLE,
            **_only("settings.gradle.kts", "settings.gradle"),
        },
        exact=_find(rf"^(?:java=)?(?:[a-z_-]+-)?{_JDK}"), tag=_java_tag,
    ),
    "kotlin": Language(  # the tag is the JDK; Gradle fetches the Kotlin that the project asks for, 1.x or 2.x
        "gradle:jdk{version}", "21", ("kt",),
        tag=lambda version: "" if re.match(r"[12](\.|$)", version) else _java_tag(version),
    ),
    "dotnet": Language(
        "mcr.microsoft.com/dotnet/sdk:{version}", "10.0",
        (".net", "dotnet-core", "csharp", "c#", "cs", "fsharp", "f#"),
        files={
            "global.json": lambda text: _find(r"(\d+\.\d+)")(_data(json.loads, "sdk/version")(text) or ""),
            "Directory.Build.props": _find(r"<TargetFrameworks?>net(\d+\.\d+)"),
        },
        tag=lambda version: f"{version}.0" if version.isdigit() else version,
    ),
    "swift": Language(
        "swift:{version}", "latest", (), (".swift-version",),
        {"Package.swift": _find(r"^//[ \t]*swift-tools-version[ \t]*:[ \t]*(\d+(?:\.\d+)*)")},
    ),
    "dart": Language(
        "dart:{version}", "3", files={"pubspec.yaml": _find(r"^[ \t]+sdk:[ \t]*[\"']?([\d^<>=][^\"'\n#]*)")}
    ),
    "elixir": Language(
        "elixir:{version}", "latest", ("ex",),
        files={"mix.exs": _find(r"elixir:[ \t]{0,9}\"([^\"\n]+)\"")}, stands_for=("1",),
    ),
    "erlang": Language("erlang:{version}", "latest", ("erl",), files=_only("rebar.config")),
    "haskell": Language("haskell:{version}", "9", ("ghc", "hs"), files=_only("stack.yaml", "cabal.project")),
    "julia": Language("julia:{version}", "1", ("jl",), files=_only("Project.toml")),
    "clojure": Language(  # the tool is the tag, and fetches the Clojure that the project asks for
        "clojure:{version}", "tools-deps", ("clj",), words=("lein",),
        files={"project.clj": lambda text: "lein", **_only("deps.edn")},
        tag=lambda version: "" if version[:1].isdigit() else version,
    ),
    "crystal": Language("crystallang/crystal:{version}", "latest", files=_only("shard.yml")),
    "php": Language(  # Composer's ~8.1 allows 8.2
        "php:{version}", "8", (), (".php-version",),
        {"composer.json": lambda text: re.sub(r"~(?!>)", "~>", _data(json.loads, "require/php")(text) or "")},
    ),
    "ruby": Language("ruby:{version}", "3", ("rb",), (".ruby-version",), {"Gemfile": _gemfile}),
    "python": Language(
        "python:{version}", "3", ("python3", "py"), (".python-version", "runtime.txt"),
        {
            "pyproject.toml": _data(_toml, "project/requires-python", "tool/poetry/dependencies/python"),
            "Pipfile": _data(_toml, "requires/python_full_version", "requires/python_version"),
            "setup.cfg": _PYTHON_REQUIRES, "setup.py": _PYTHON_REQUIRES, **_only("requirements.txt"),
        },
    ),
    "deno": Language("denoland/deno:{version}", "latest", files=_only("deno.json", "deno.jsonc")),
    "bun": Language("oven/bun:{version}", "1", (), (".bun-version",), _only("bun.lock", "bun.lockb")),
    "node": Language(
        "node:{version}", "lts", ("nodejs", "javascript", "typescript", "js", "ts"),
        (".nvmrc", ".node-version"), {"package.json": _package_json}, exact=_nvmrc, stands_for=("24", "30"),
        words=("lts", "current", "latest", "fermium", "gallium", "hydrogen", "iron", "jod", "krypton"),
    ),
    "r": Language("rocker/r-ver:{version}", "4", files={"renv.lock": _data(json.loads, "R/Version")}),
    "perl": Language("perl:{version}", "5", files=_only("cpanfile", "Makefile.PL")),
    "lua": Language("nickblah/lua:{version}-luarocks", "5"),
    "cpp": Language("gcc:{version}", "latest", ("c++", "c", "gcc"), files=_only("CMakeLists.txt")),
    "bash": Language("", "", ("shell", "sh")),
}  # fmt: skip

_KEYS = {alias: key for key, language in LANGUAGES.items() for alias in (key, *language.aliases)}


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
