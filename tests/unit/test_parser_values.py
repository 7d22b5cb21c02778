"""The pipeline language: values that are refused, each at its line and column."""

from __future__ import annotations

import pytest

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.parser import parse
from rapidflow_web.pipeline.variables import check_env_key, check_env_value

SMALLEST = "name: x\nsteps: [ls]\n"


def message(text: str) -> str:
    """The one thing that is said of a text that is not a pipeline."""
    with pytest.raises(Invalid) as caught:
        parse(text)
    (only,) = caught.value.problems
    return only.message


def files(lines: str) -> str:
    """A pipeline whose step has files; the first of `lines` is line 5."""
    return f"name: x\nsteps:\n  - content: ls\n    files:\n{lines}"


@pytest.mark.parametrize(
    ("line", "column", "expected"),
    [
        ("steps: ls", 8, "'steps' must be a list, such as \"- make test\", not a value"),
        ("steps: {a: b}", 8, "'steps' must be a list, such as \"- make test\", not a mapping"),
        ("steps: [[ls]]",
         9, "'[' begins a list; put a script that begins with it in quotes, or write it below '|'"),
        ("steps: [true]", 9, "a step must be text, not true or false; put it in quotes"),
        ("steps: [{content: 1}]", 19, "'content' must be text, not a number; put it in quotes"),
        ("steps: [{content: [ls]}]", 19, "'content' must be text, not a list; put text in quotes"),
        ("steps: [{content: ls, type: bsh}]", 29, "unknown step type 'bsh', did you mean 'bash'?"),
        ("steps: [{content: ls, type: zsh}]", 29, "unknown step type 'zsh', did you mean 'sh'?"),
        ("steps: [{content: ls, type: python}]", 29, "unknown step type 'python'; use bash or sh"),
        ("steps: [{content: ls, name: {a: b}}]",
         29, "'name' must be text, not a mapping; put text in quotes"),
        ("steps: [{content: ls, files: [a]}]",
         30, "'files' must be a mapping of keys to values, not a list"),
        ('steps: ["ls\\0"]', 9, "the script has a NUL character, which no shell can run"),
    ],
)  # fmt: skip
def test_a_wrong_step_is_refused_at_its_place(line: str, column: int, expected: str):
    assert message(f"name: x\n{line}") == f"line 2, column {column}: {expected}"


@pytest.mark.parametrize(
    ("line", "column", "expected"),
    [
        ("repo_name: 7", 12, "'repo_name' must be text, not a number; put it in quotes"),
        ("repo_name: [a]", 12, "'repo_name' must be text, not a list; put text in quotes"),
        ("repo_name: srv/repo",
         12, "'repo_name' must be a clone URL that begins with https://, ssh://, git:// or file://, "
         "or one like git@host:path, not 'srv/repo'"),
        ("repo_name: /srv/repo", 12, "'repo_name' must be a URL, not a path; use file:///srv/repo"),
        ("branch: {a: b}", 9, "'branch' must be text, not a mapping; put text in quotes"),
        ("branch: a..b", 9, "'a..b' is not the name of a branch"),
        ("folder: 2024-01-01", 9, "'folder' must be text, not a date; put it in quotes"),
        ("folder: /etc",
         9, "the folder '/etc' must be inside the repository; write it relative to it, without '..'"),
        ("folder: a/../../b",
         9, "the folder 'a/../../b' must be inside the repository; "
         "write it relative to it, without '..'"),
        ("folder: ''", 9, "the folder must be a path"),
        ('folder: "a\\0b"', 9, "the folder must be a path"),
        ('folder: "a\\nb"', 9, "the folder must be a path"),
        ("language: golng",
         11, "unknown language 'golng', did you mean 'golang'? Or name an 'image'"),
        ("version: 1 2",
         10, "'1 2' is not a version; use up to 128 letters, digits, '.', '_' and '-'"),
        ("version: [1]", 10, "'version' must be text, not a list; put text in quotes"),
        ("image: A",
         8, "'A' is not the name of an image; write one like golang:1.21 or "
         "registry.example.com:5000/team/image:tag, with the path in lower case"),
        ("expose_ports: 1", 15, "'expose_ports' must be true or false"),
        ("expose_ports: 'true'", 15, "'expose_ports' must be true or false"),
        ("expose_ports: [true]", 15, "'expose_ports' must be true or false"),
        ("expose_ports: !!bool [true]", 15, "'expose_ports' must be true or false"),
        ("expose_ports: !!bool maybe", 15, "'expose_ports' must be true or false"),
        ("new_privileges: please", 17, "'new_privileges' must be true or false"),
        ("on_node: gpu",
         10, "'on_node' must be a mapping of labels to values, such as gpu: yes, not a value"),
        ("on_node: {a b: 1}",
         11, "'a b' can't be a label; use up to 100 letters, digits, '_', '-', '.' and '/'"),
        ("on_node: {gpu: [1]}", 16, "'gpu' must be text, not a list; put text in quotes"),
        ("on_node: {gpu: }", 16, "'gpu' must be text, and nothing is there"),
        ('on_node: {gpu: "a\\nb"}',
         16, "the value of a label must be one line of up to 200 characters"),
        ("network: host",
         10, "'network' can only be none, for a build that is to reach nothing; else leave it out"),
        ("timeout: 0", 10, "'0' is not a duration; write one like 90s, 30m or 1h30m"),
        ("timeout: 1:30", 10, "'1:30' is not a duration; write one like 90s, 30m or 1h30m"),
        ("timeout: 169h", 10, "the timeout must be at most 168h"),
        ("silence_timeout: 1d", 18, "'1d' is not a duration; write one like 90s, 30m or 1h30m"),
        ("memory: lots", 9, "'lots' is not a size; write one like 512k, 2m or 1g"),
        ("memory: 1m", 9, "a build needs at least 6m of memory"),
        ("shm: 64k b", 6, "'64k b' is not a size; write one like 512k, 2m or 1g"),
        ("shm: 4k", 6, "shared memory must have at least 64k"),
        ("cpus: 0", 7, "'0' is not a number of CPUs; write one like 0.5 or 2"),
        ("cpus: 1.234", 7, "'1.234' is not a number of CPUs; write one like 0.5 or 2"),
        ("processes: 5",
         12, "'5' is not a number of processes; use a whole number from 16 to 4194304"),
        ("log_limit: 1k", 12, "a log must be allowed at least 64k"),
        ("timeout: [1]", 10, "'timeout' must be text, not a list; put text in quotes"),
        ("env: [A]", 6, "'env' must be a mapping of keys to values, not a list"),
        ("env: A=1", 6, "'env' must be a mapping of keys to values, not a value"),
        ("env: {A-B: 1}",
         7, "'A-B' is not a variable name; use letters, digits and _, but no digit first"),
        ("env: {A: [1]}", 10, "'A' must be text, not a list; put text in quotes"),
        ('env: {A: "a\\0b"}',
         10, "the value of A has a NUL character, which no process can be given"),
        ("? [a]\n: b", 3, "a key must be text, not a list"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_at_its_place(line: str, column: int, expected: str):
    assert message(f"{SMALLEST}{line}\n") == f"line 3, column {column}: {expected}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("''", "the name must not be empty"),
        ("' '", "the name must not be empty"),
        ("123", "'name' must be text, not a number; put it in quotes"),
        ('"a\\nb"', "the name must be one line without control characters"),
        ('"a\\x7fb"', "the name must be one line without control characters"),
        ("x" * 201, "the name has 201 characters; at most 200 are taken"),
    ],
)
def test_a_name_is_one_line_of_text(name: str, expected: str):
    assert message(f"name: {name}\nsteps: [ls]") == f"line 1, column 7: {expected}"
    step = f"name: x\nsteps:\n  - content: ls\n    name: {name}\n"
    assert message(step) == f"line 4, column 11: {expected}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/passwd",
         "the file '/etc/passwd' must be inside the working folder; write it relative to it, without '..'"),
        ("../a", "the file '../a' must be inside the working folder; write it relative to it, without '..'"),
        ("a/../../b",
         "the file 'a/../../b' must be inside the working folder; write it relative to it, without '..'"),
        ("''", "the file must be a path"),
        (".", "'.' is not the name of a file"),
        ("./", "'./' is not the name of a file"),
        (f"{'a' * 256}", f"a part of the file '{'a' * 57}...' has more than 255 bytes"),
        (f"{'a/' * 501}b", f"the file '{'a/' * 28}a...' has 1003 characters; at most 1000 are taken"),
    ],
)  # fmt: skip
def test_a_file_that_would_leave_the_working_folder_is_refused(path: str, expected: str):
    assert message(files(f"      ? {path}\n      : text\n")) == f"line 5, column 9: {expected}"


def test_two_names_of_one_file_are_refused():
    expected = "line 5, column 7: './a/b' and 'a//b' are the same file"
    assert message(files("      ./a/b: x\n      a//b: y\n")) == expected


def test_a_file_can_not_be_a_folder_as_well():
    expected = "line 5, column 7: 'a' can't be a file and a folder at once"
    assert message(files("      a: x\n      a-b: y\n      a/b/c: z\n")) == expected
    apart = parse(files("      a/b: x\n      a/c: y\n      ab: z\n")).steps[0].files
    assert apart == {"a/b": "x", "a/c": "y", "ab": "z"}


def test_files_are_text():
    expected = "the file 'port' must be text, not a number; put it in quotes"
    assert message(files("      port: 80\n")) == f"line 5, column 13: {expected}"
    expected = "the file 'a' must be text, and nothing is there"
    assert message(files("      a:\n")) == f"line 5, column 9: {expected}"
    assert parse(files("      a: ''\n")).steps[0].files == {"a": ""}


@pytest.mark.parametrize("key", ["A", "_", "a1", "PATH", "rf_home"])
def test_a_name_that_a_shell_can_export_is_taken(key: str):
    assert check_env_key(key) == key


@pytest.mark.parametrize(
    "key", ["", "A" * 256, "1A", "A-B", "A.B", "A B", "A=B", "Ä", "A\n", "A\0", "\ud800"]
)
def test_a_name_that_no_shell_can_export_is_refused_in_printable_words(key: str):
    with pytest.raises(ValueError, match="is not a variable name") as error:
        check_env_key(key)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("value", ["", "a\nb", "ü", "a=b", "\x1b[0m", "\t", "a" * 128_000])
def test_a_value_that_a_process_can_be_given_is_taken(value: str):
    assert check_env_value("A", value) == value


@pytest.mark.parametrize("value", ["a\0", "\ud800", "\udcff", "a" * 128_001, "ü" * 64_001])
def test_a_value_that_no_process_can_be_given_is_refused(value: str):
    with pytest.raises(ValueError, match="the value of A has") as error:
        check_env_value("A", value)
    assert str(error.value).isprintable()
