"""Which language and version the files of a repository ask for."""

from __future__ import annotations

import json
import random
import time

import pytest

from rapidflow_web.pipeline import images
from rapidflow_web.pipeline.images import (
    LANGUAGES,
    Detected,
    check_image,
    check_version,
    detect,
    image_for,
)


def detected(files: dict[str, str]) -> Detected | None:
    """What is detected in a folder with these files."""
    return detect(files.get)


def node(engine: str) -> str | None:
    result = detected({"package.json": json.dumps({"engines": {"node": engine}})})
    assert result is not None and result.language == "node" and result.source == "package.json"
    return result.version


def python(requires: str) -> str | None:
    result = detected({"pyproject.toml": f'[project]\nname = "x"\nrequires-python = "{requires}"\n'})
    assert result is not None and result.language == "python"
    return result.version


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


# Versions, file by file.


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("module x\n\ngo 1.21\n", "1.21"),
        ("module x\r\n\r\ngo 1.21\r\n", "1.21"),
        ("go 1.22.3 // because", "1.22.3"),
        ("go 1.24rc1\n", "1.24rc1"),
        ("module x\n\ngo 1.21\n\ntoolchain go1.22.3\n", "1.21"),
        ("module x\n\nrequire go.uber.org/zap v1.26.0\n", None),
        ("go latest\n", None),
        ("// go 1.20\nmodule x\n", None),
        ("go 1.21;rm\n", None),
    ],
)
def test_the_go_line_of_go_mod_is_the_version(text: str, version: str | None):
    assert detected({"go.mod": text}) == Detected("golang", version, "go.mod")


def test_a_go_workspace_has_a_go_line_too():
    assert detected({"go.work": "go 1.22\nuse ./a\n"}) == Detected("golang", "1.22", "go.work")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("3.11.4\n", "3.11.4"),
        ("3.12", "3.12"),
        ("# ours\n\n3.12  # best\r\n", "3.12"),
        ("3.13.0rc1", "3.13.0rc1"),
        ("3.13-dev", "3.13"),
        ("python-3.11", "3.11"),
        ("pypy3.10\n3.11\n", "3.11"),
        ("3.13t", None),
        ("system", None),
        ("3.11/../../evil", None),
        ("٣.١١", None),
        ("1" * 200, None),
    ],
)
def test_a_python_version_file_names_the_version(text: str, version: str | None):
    assert detected({".python-version": text}) == Detected("python", version, ".python-version")


def test_runtime_txt_names_the_version():
    assert detected({"runtime.txt": "python-3.11.4\n", "requirements.txt": "flask"}) == Detected(
        "python", "3.11.4", "runtime.txt"
    )


@pytest.mark.parametrize(
    ("requires", "version"),
    [
        (">=3.9", "3"),
        (">= 3.9", "3"),
        (">3.8", "3"),
        (">=3", "3"),
        (">=3.9,<4", "3"),
        (">=3.9,<4.0", "3"),
        (">=3.9, !=3.9.7", "3"),
        ("~=3.9", "3"),
        ("*", "3"),
        ("3.11", "3.11"),
        ("==3.11.4", "3.11.4"),
        ("==3.11.*", "3.11"),
        ("===3.11.4", "3.11.4"),
        ("~=3.11.2", "3.11"),
        (">=3.9,<3.12", "3.11"),
        (">=3.9,<3.12.0", "3.11"),
        (">=3.10,<3.11", "3.10"),
        ("<3.12", "3.11"),
        (">=3.9,<=3.12", "3.11"),  # 3.12.1 is over <=3.12, and pip refuses it
        (">=3.9,<3.13,!=3.12.*", "3.11"),
        (">=2.7,<3", "2"),
        (">=2.7,!=3.0.*,!=3.1.*", "3"),
        (">=4", "4"),
        ("<3.9,>=3.10", None),
        ("yes", None),
        ("", None),
        (">=", None),
        (">=3.9 ; rm", None),
        (">=3." + "9" * 500, None),
    ],
)
def test_requires_python_becomes_one_tag(requires: str, version: str | None):
    assert python(requires) == version


@pytest.mark.parametrize(
    ("requires", "version"),
    [("^3.9", "3"), ("^2.7 || ^3.6", "3"), ("~3.10", "3.10"), (">=3.8,<3.11", "3.10"), ("3.11.*", "3.11")],
)
def test_poetrys_python_becomes_one_tag(requires: str, version: str):
    text = f'[tool.poetry.dependencies]\npython = "{requires}"\n'
    assert detected({"pyproject.toml": text}) == Detected("python", version, "pyproject.toml")


@pytest.mark.parametrize(
    ("name", "text", "version"),
    [
        ("Pipfile", '[requires]\npython_version = "3.11"\n', "3.11"),
        ("Pipfile", '[requires]\npython_version = "3.11"\npython_full_version = "3.11.4"\n', "3.11.4"),
        ("setup.py", "setup(\n    python_requires='>=3.8, <3.12',\n)", "3.11"),
        ("setup.py", 'setup(python_requires=">=3.8")', "3"),
        ("setup.py", "setup(python_requires=REQUIRES)", None),
        ("setup.cfg", "[options]\npython_requires = >=3.8,<3.10\n", "3.9"),
    ],
)
def test_other_python_files_are_read_too(name: str, text: str, version: str | None):
    assert detected({name: text}) == Detected("python", version, name)


@pytest.mark.parametrize("value", ["3", "[]", "{}", "true", "1979-05-27"])
def test_a_value_of_the_wrong_type_says_nothing(value: str):
    assert detected({"pyproject.toml": f"project = {value}\n"}) == Detected("python", None, "pyproject.toml")
    text = f"[project]\nrequires-python = {value}\n"
    assert detected({"pyproject.toml": text}) == Detected("python", None, "pyproject.toml")


@pytest.mark.parametrize(
    ("engine", "version"),
    [
        (">=18", "lts"),
        (">= 18.0.0", "lts"),
        (">18", "lts"),
        ("*", "lts"),
        ("x", "lts"),
        ("^18 || >=20", "lts"),
        ("18", "18"),
        ("18.x", "18"),
        ("18.*", "18"),
        ("18.17.0", "18.17.0"),
        ("=18.17.0", "18.17.0"),
        ("v18.17.0", "18.17.0"),
        ("^20.1", "20"),
        ("^20.1.0", "20"),
        ("~18.1.0", "18.1"),
        ("~18", "18"),
        (">=16 <21", "20"),
        (">=16 <21.0.0", "20"),
        (">=16.0.0 <=20", "20"),
        (">=16.0.0 <= 20.x", "20"),
        (">=16 <=18.19", "18.19"),
        (">=16 <=18.19.1", "18.19.1"),
        ("14 - 16", "16"),
        ("14.1.0 - 16.2", "16.2"),
        ("18 || 20", "20"),
        ("20||18", "20"),
        ("^16.13.0 || ^18.0.0", "18"),
        ("<19", "18"),
        (">=18 <25", "24"),
        (">=99", "99"),
        (">98", "99"),
        (">16 <21", "20"),
        (">16 <18", "17"),
        ("<=18.17.0 >=18.17", "18.17.0"),
        ("lts", "lts"),
        (">=20 <18", None),
        ("latest-ish", None),
        ("xyz", None),
        ("", None),
        ("||", None),
        (">=18 ||", None),
        ("18; rm -rf /", None),
        ("18 " * 100_000, None),
        ("<=18" + "8" * 100_000, None),
    ],
)
def test_a_range_of_node_becomes_one_tag(engine: str, version: str | None):
    assert node(engine) == version


@pytest.mark.parametrize(
    "text",
    [
        "{}", '{"engines": {}}', '{"engines": {"npm": "9"}}', '{"engines": ["node"]}',
        '{"engines": {"node": 18}}', '{"engines": {"node": null}}', "[]", "null", '"x"',
    ],
)  # fmt: skip
def test_a_package_json_without_engines_is_node_without_a_version(text: str):
    assert detected({"package.json": text}) == Detected("node", None, "package.json")


def test_a_package_json_with_a_byte_order_mark_is_read():
    assert detected({"package.json": '\ufeff{"engines": {"node": "18"}}'}) == Detected(
        "node", "18", "package.json"
    )


def test_the_node_that_volta_pins_goes_before_engines():
    text = '{"volta": {"node": "18.16.0"}, "engines": {"node": ">=16"}}'
    assert detected({"package.json": text}) == Detected("node", "18.16.0", "package.json")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v20.1.0\n", "20.1.0"),
        ("20", "20"),
        ("lts/*", "lts"),
        ("lts/hydrogen\n", "hydrogen"),
        ("lts/Iron", "iron"),
        ("node", "current"),
        ("stable", "current"),
        ("lts/-1", None),
        ("lts/made-up", None),
        ("default", None),
        ("iojs-3", None),
    ],
)
@pytest.mark.parametrize("name", [".nvmrc", ".node-version"])
def test_an_nvmrc_names_a_version_or_a_release_line(name: str, text: str, version: str | None):
    assert detected({name: text}) == Detected("node", version, name)


@pytest.mark.parametrize(
    ("properties", "version"),
    [
        ("<maven.compiler.release>17</maven.compiler.release>", "17"),
        ("<maven.compiler.source>11</maven.compiler.source>", "11"),
        ("<java.version>21</java.version>", "21"),
        ("<java.version>1.8</java.version>", "8"),
        ("<java.version> 17 </java.version>", "17"),
        ("<java.version>17.0.2</java.version>", "17"),
        ("<maven.compiler.source>1.7</maven.compiler.source>", "8"),
        ("<maven.compiler.source>10</maven.compiler.source>", "11"),
        ("<java.version>22</java.version>", "22"),
        ("<configuration><source>1.8</source></configuration>", "8"),
        ("<configuration><release>17</release></configuration>", "17"),
        ("<java.version>17</java.version><source>${java.version}</source>", "17"),
        ("<source>8</source><maven.compiler.release>21</maven.compiler.release>", "21"),
        ("<!-- <java.version>8</java.version> --><java.version>17</java.version>", "17"),
        ("<!-- <java.version>8</java.version>", None),
        ("<version>17</version>", None),
        ("<java.version>${jdk}</java.version>", None),
        ("<java.version>2023</java.version>", None),
    ],
)
def test_a_pom_names_the_jdk(properties: str, version: str | None):
    text = f"<project>\n  <properties>{properties}</properties>\n</project>"
    assert detected({"pom.xml": text}) == Detected("java", version, "pom.xml")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("java { toolchain { languageVersion = JavaLanguageVersion.of(17) } }", "17"),
        ('languageVersion.set(JavaLanguageVersion.of("21"))', "21"),
        ("kotlin { jvmToolchain(17) }", "17"),
        ("sourceCompatibility = '1.8'", "8"),
        ("sourceCompatibility = 11", "11"),
        ("sourceCompatibility JavaVersion.VERSION_17", "17"),
        ("sourceCompatibility = JavaVersion.VERSION_1_8", "8"),
        ('sourceCompatibility = JavaVersion.toVersion("17")', "17"),
        ("options.release = 11", "11"),
        ("options.release.set(17)", "17"),
        ("sourceCompatibility = 8\nJavaLanguageVersion.of(21)", "21"),
        ("plugins { id 'java' }", None),
    ],
)
@pytest.mark.parametrize("name", ["build.gradle", "build.gradle.kts"])
def test_a_gradle_build_names_the_jdk(name: str, text: str, version: str | None):
    assert detected({name: text}) == Detected("java", version, name)


@pytest.mark.parametrize(
    ("name", "text", "version"),
    [
        (".java-version", "17\n", "17"),
        (".java-version", "1.8", "8"),
        (".java-version", "temurin-21.0.1", "21"),
        (".sdkmanrc", "# sdkman\ngradle=8.5\njava=17.0.9-tem\n", "17"),
        (".sdkmanrc", "gradle=8.5\n", None),
    ],
)
def test_a_pin_of_java_names_the_jdk(name: str, text: str, version: str | None):
    assert detected({name: text}) == Detected("java", version, name)


@pytest.mark.parametrize(
    ("name", "text", "version"),
    [
        ("Cargo.toml", '[package]\nrust-version = "1.70"\n', "1.70"),
        ("Cargo.toml", '[workspace.package]\nrust-version = "1.70.0"\n', "1.70.0"),
        ("Cargo.toml", "[package]\nrust-version.workspace = true\n", None),
        ("Cargo.toml", '[package]\nedition = "2021"\n', None),
        ("rust-toolchain.toml", '[toolchain]\nchannel = "1.75.0"\ncomponents = ["clippy"]\n', "1.75.0"),
        ("rust-toolchain.toml", '[toolchain]\nchannel = "nightly-2024-01-01"\n', None),
        ("rust-toolchain", "1.75\n", "1.75"),
        ("rust-toolchain", "stable\n", None),
    ],
)
def test_a_rust_file_names_the_version(name: str, text: str, version: str | None):
    assert detected({name: text}) == Detected("rust", version, name)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("ruby '3.2.2'", "3.2.2"),
        ('source "x"\n\nruby "3.2"\n', "3.2"),
        ("ruby '~> 3.2.0'", "3.2"),
        ("ruby '~> 3.2'", "3"),
        ("ruby '>= 3.0'", "3"),
        ("ruby('>= 3.0')", "3"),
        ("ruby '>= 2.7', '< 3.3'", "3.2"),
        ("ruby '~> 2.7'", "2"),
        ("ruby '3.1.4', engine: 'jruby', engine_version: '9.4.0.0'", "3.1.4"),
        ("ruby file: '.ruby-version'", None),
        ("ruby ENV['RUBY']", None),
        ("# ruby '3.2.2'", None),
        ("gem 'rails', '7.1.0'", None),
    ],
)
def test_the_ruby_line_of_a_gemfile_becomes_one_tag(text: str, version: str | None):
    assert detected({"Gemfile": text}) == Detected("ruby", version, "Gemfile")


@pytest.mark.parametrize(
    ("text", "version"),
    [("3.2.2\n", "3.2.2"), ("ruby-3.2.2", "3.2.2"), ("ruby-2.7.0-p0", "2.7.0"), ("jruby-9.4", None)],
)
def test_a_ruby_version_file_names_the_version(text: str, version: str | None):
    assert detected({".ruby-version": text}) == Detected("ruby", version, ".ruby-version")


@pytest.mark.parametrize(
    ("requires", "version"),
    [
        ("^8.1", "8"),
        (">=7.2.5", "8"),
        ("^7.4 || ^8.0", "8"),
        ("^7.4|^8.0", "8"),
        ("~8.1", "8"),
        ("~8.1.0", "8.1"),
        ("8.1.*", "8.1"),
        ("^7.3", "7"),
        (">=8.1 <8.4", "8.3"),
        (">=8.1,<8.4", "8.3"),
        ("8.1 - 8.3", "8.3"),
        ("8.2.10", "8.2.10"),
        ("self.version", None),
    ],
)
def test_the_php_of_composer_json_becomes_one_tag(requires: str, version: str | None):
    text = json.dumps({"require": {"php": requires, "ext-json": "*"}})
    assert detected({"composer.json": text}) == Detected("php", version, "composer.json")


@pytest.mark.parametrize(
    ("name", "text", "language", "version"),
    [
        ("global.json", '{"sdk": {"version": "8.0.100"}}', "dotnet", "8.0"),
        ("global.json", '{"sdk": {"version": "10.0.100-preview.1.2"}}', "dotnet", "10.0"),
        ("global.json", '{"msbuild-sdks": {}}', "dotnet", None),
        ("Directory.Build.props", "<TargetFramework>net9.0</TargetFramework>", "dotnet", "9.0"),
        ("Directory.Build.props", "<TargetFramework>netstandard2.0</TargetFramework>", "dotnet", None),
        ("build.sbt", 'ThisBuild / scalaVersion := "3.3.1"\n', "scala", "3.3.1"),
        ("mix.exs", 'elixir: "~> 1.14",', "elixir", "latest"),
        ("mix.exs", 'elixir: "~> 1.14.0",', "elixir", "1.14"),
        ("mix.exs", 'elixir: ">= 1.14.0 and < 1.17.0"', "elixir", "1.16"),
        ("mix.exs", 'elixir: "~> 1.14.0 or ~> 1.15.0"', "elixir", "1.15"),
        ("Package.swift", "// swift-tools-version:5.9\nimport PackageDescription", "swift", "5.9"),
        ("Package.swift", "// swift-tools-version: 6.0\n", "swift", "6.0"),
        ("pubspec.yaml", "name: x\nenvironment:\n  sdk: '>=2.17.0 <4.0.0'\n", "dart", "3"),
        ("pubspec.yaml", "environment:\n  sdk: ^3.5.0\n", "dart", "3"),
        ("pubspec.yaml", 'environment:\n  sdk: ">=2.12.0 <3.0.0"\n', "dart", "2"),
        ("pubspec.yaml", "dependencies:\n  flutter:\n    sdk: flutter\n", "dart", None),
        ("project.clj", "(defproject x)", "clojure", "lein"),
        ("renv.lock", '{"R": {"Version": "4.3.1"}}', "r", "4.3.1"),
        (".bun-version", "1.1.30", "bun", "1.1.30"),
        (".swift-version", "5.9.2", "swift", "5.9.2"),
        (".php-version", "8.2", "php", "8.2"),
    ],
)
def test_other_languages_files_name_the_version(name: str, text: str, language: str, version: str | None):
    assert detected({name: text}) == Detected(language, version, name)


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
    version = node("".join(rng.choices(atoms, k=rng.randrange(1, 9))))
    assert version is None or check_version(version)


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
    slowest = 0.0
    for name in all_files():
        start = time.perf_counter()
        detected({name: text})
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 3


@pytest.mark.parametrize("text", ["a-" * 250, "a." * 250, "a_" * 250, "a/" * 250, "-" * 500, "a" * 10**6])
def test_a_hostile_image_is_refused_quickly(text: str):
    start = time.perf_counter()
    with pytest.raises(ValueError, match="is not the name of an image"):
        check_image(text)
    assert time.perf_counter() - start < 1


def test_a_file_that_is_too_long_still_tells_the_language():
    text = "go 1.21\n" + " " * images.MAX_TEXT
    assert detected({"go.mod": text}) == Detected("golang", None, "go.mod")
    assert detected({"go.mod": text[: images.MAX_TEXT]}) == Detected("golang", "1.21", "go.mod")


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
