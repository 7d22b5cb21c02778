"""Which version the files of a repository ask for, file by file."""

from __future__ import annotations

import json

import pytest

from rapidflow_web.pipeline.images import Detected, detect


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
