"""The `rapidflow` command where no server is asked, or none answers as it should."""

from __future__ import annotations

import http.server
import os
import re
import shlex
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.server import COMMAND, Server


def rapidflow(*arguments: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")}
    done = fork_server.run(*arguments, input=stdin, env={**kept, **settings}, timeout=60)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_validate_says_that_a_file_is_a_pipeline(tmp_path: Path) -> None:
    file = tmp_path / "build.yml"
    for steps, words in (("['true']", "1 step"), ("[a, b]", "2 steps")):
        file.write_text(f"name: fine\nrepo_name: file:///anywhere/repo\nsteps: {steps}\n")
        done = rapidflow("validate", str(file))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{file}: 'fine' is valid, {words}\n"
    file.write_text("name: fine\njobs:\n  a: {matrix: {n: [1, 2]}, steps: [a]}\n  b: {steps: [b]}\n")
    assert rapidflow("validate", str(file)).stdout == f"{file}: 'fine' is valid, 2 jobs, 3 parts\n"


def test_validate_says_what_starts_builds(tmp_path: Path) -> None:
    file = tmp_path / "p.yml"
    file.write_text(
        "name: x\nsteps: [ls]\non:\n  push: {branches: [main, r/**], paths: src/**}\n  tag:\n"
        "  pull_request: {draft: false}\n"
        "  schedule: [{name: nightly, cron: H 3 * * *, timezone: Europe/Berlin}, "
        "{cron: 0 0 * * 1, branch: a}]\n"
    )
    done = rapidflow("validate", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{file}: 'x' is valid, 1 step\n"
        "Builds are started by people, programs, and\n"
        "  a push to [main, r/**] that changes [src/**]\n"
        "  a tag, any name\n"
        "  a pull request into any branch (opened, synchronize, reopened, ready_for_review), "
        "unless it is a draft\n"
        "  the schedule 'nightly' at 'H 3 * * *' in Europe/Berlin, of the default branch\n"
        "  the schedule at '0 0 * * 1' in UTC, of a\n"
    )


def test_validate_names_every_problem_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "build.yml"
    file.write_text("name: x\nversoin: 1\nsteps:\n  - 7\n  - type: zsh\n    content: a\n")
    done = rapidflow("validate", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == f"{file}: line 2, column 1: unknown key 'versoin', did you mean 'version'?"
    assert [line.partition(": line ")[2].partition(":")[0] for line in lines] == [
        "2, column 1",
        "4, column 5",
        "5, column 11",
    ]


def test_validate_reads_standard_input() -> None:
    done = rapidflow("validate", "-", stdin="name: grüße\nsteps: [a]\n".encode())
    assert (done.returncode, done.stdout) == (0, "standard input: 'grüße' is valid, 1 step\n")
    done = rapidflow("validate", "-", stdin=b"")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "standard input: the pipeline is empty; it needs at least 'name' and 'steps'\n"


def test_validate_refuses_what_is_not_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "build.yml"
    file.write_bytes(b"name: \xff\n")
    done = rapidflow("validate", str(file))
    assert (done.returncode, done.stderr) == (1, f"{file}: this is not a text file in UTF-8\n")
    done = rapidflow("validate", "-", stdin=b"name: \xff\n")
    assert (done.returncode, done.stderr) == (1, "standard input: this is not a text file in UTF-8\n")


def test_validate_misses_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = rapidflow("validate", str(tmp_path / "nothing.yml"))
    assert done.returncode == 2
    assert done.stderr == f"rapidflow: {tmp_path}/nothing.yml: No such file or directory\n"


def test_serve_names_the_setting_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for variable, value in (
        ("RAPIDFLOW_BIND", "nonsense"),
        ("RAPIDFLOW_BIND", "203.0.113.1:3000"),
        ("RAPIDFLOW_EXECUTOR", "kubernetes"),
        ("RAPIDFLOW_DATA", f"{tmp_path}/file/below"),
    ):
        settings = {"RAPIDFLOW_DATA": f"{tmp_path}/data", "RAPIDFLOW_BIND": "127.0.0.1:0", variable: value}
        done = rapidflow("serve", **settings)
        assert (done.returncode, done.stdout) == (2, ""), variable
        assert done.stderr.startswith(f"rapidflow: {variable} is '{value}'")
        assert done.stderr.count("\n") == 1


def test_serve_leaves_the_port_and_the_data_of_another_server_alone(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    first = new_server(executor="process").start()
    taken = rapidflow("serve", RAPIDFLOW_BIND=f"127.0.0.1:{first.port}", RAPIDFLOW_DATA=f"{tmp_path}/other")
    assert taken.returncode == 2
    assert taken.stderr.startswith(
        f"rapidflow: RAPIDFLOW_BIND is '127.0.0.1:{first.port}', which can't be used: "
    )
    same = rapidflow(
        "serve", RAPIDFLOW_BIND="127.0.0.1:0", RAPIDFLOW_DATA=str(first.data), RAPIDFLOW_EXECUTOR="process"
    )
    assert same.returncode == 2
    assert same.stderr.splitlines()[-1] == (
        f"rapidflow: another server uses the data folder {first.data}; stop it, or set RAPIDFLOW_DATA."
    )
    assert first.get("/health").status == 200


@pytest.fixture
def nobody() -> str:
    """The address of a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs",),
        ("logs", "1"),
        ("logs", "-f", "1"),
        ("cancel", "1"),
        ("retry", "1"),
        ("run", "1"),
        ("run", "name"),
    ],
)
def test_a_server_that_never_was_there_is_not_waited_for(nobody: str, arguments: tuple[str, ...]) -> None:
    for done in (rapidflow(*arguments, RAPIDFLOW_URL=nobody), rapidflow("--url", nobody, *arguments)):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"rapidflow: {nobody} does not answer: Connection refused; "
            "start it, or name another with --url or RAPIDFLOW_URL\n"
        )


@pytest.mark.parametrize(
    "arguments",
    [("user", "list"), ("user", "remove", "anna"), ("token", "list"), ("token", "add", "anna", "ci")],
)
def test_a_command_on_accounts_makes_no_installation_where_there_is_none(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    data = tmp_path / "mistyped"
    done = rapidflow(*arguments, RAPIDFLOW_DATA=str(data))
    assert (done.returncode, done.stderr) == (
        2,
        f"rapidflow: there is no database {data}/rapidflow.db; set RAPIDFLOW_DATA as for the server.\n",
    )
    assert not data.exists()


def test_the_first_user_is_added_before_the_first_start(tmp_path: Path) -> None:
    data = {"RAPIDFLOW_DATA": str(tmp_path / "data")}
    for name, stdin, said in (
        ("anna", b"short\n", "use a password of 8 to 1024 characters"),
        (
            "an na",
            b"long enough\n",
            "'an na' is not a valid name; use at most 64 letters, digits and . _ - @",
        ),
    ):
        done = rapidflow("user", "add", name, stdin=stdin, **data)
        assert (done.returncode, done.stderr) == (2, f"rapidflow: {said}\n")
    done = rapidflow("user", "add", "anna", "--role", "admin", stdin=b"long enough\n", **data)
    assert (done.returncode, done.stdout) == (0, "admin anna added\n")
    assert done.stderr == (
        f"no installation is in {data['RAPIDFLOW_DATA']} yet, so this one is new\n"
        "From now on everybody logs in, and hooks and programs need a token ('rapidflow token add').\n"
    )
    assert rapidflow("user", "list", **data).stdout.split() == ["anna", "admin"]
    done = rapidflow("user", "add", "anna", stdin=b"long enough\n", **data)
    assert done.stderr == "rapidflow: there is a user anna already; 'rapidflow user set' changes it\n"
    done = rapidflow("user", "set", "anna", "--role", "viewer", **data)
    assert "anna is the last administrator" in done.stderr


def test_no_user_is_added_beside_a_database_that_is_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(32))
    done = rapidflow("user", "add", "nia", stdin=b"long enough\n", RAPIDFLOW_DATA=str(tmp_path))
    assert (done.returncode, done.stderr) == (
        2,
        f"rapidflow: the server of {tmp_path} has its database elsewhere; "
        "set RAPIDFLOW_DATABASE_URL as for the server\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_validate_asks_for_the_file_in_a_folder(tmp_path: Path) -> None:
    done = rapidflow("validate", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"rapidflow: {tmp_path} is a folder; name a file, such as {tmp_path / '.rapidflow.yml'}\n"
    )


def test_first_user_is_an_administrator(tmp_path: Path) -> None:
    data = {"RAPIDFLOW_DATA": str(tmp_path)}
    for role in ((), ("--role", "builder")):
        done = rapidflow("user", "add", "nia", *role, stdin=b"long enough\n", **data)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines()[-1] == (
            "rapidflow: the first user must be an administrator: rapidflow user add nia --role admin"
        )
    listed = rapidflow("user", "list", **data)
    assert (listed.stdout, listed.stderr) == ("", "there are no users\n")
    assert rapidflow("token", "list", **data).stderr == "there are no tokens\n"
    assert rapidflow("user", "add", "nia", "--role", "admin", stdin=b"long enough\n", **data).returncode == 0
    second = rapidflow("user", "add", "ole", stdin=b"long enough\n", **data)
    assert (second.stdout, second.stderr) == ("viewer ole added\n", "")


def test_a_token_that_would_never_be_valid_is_refused(tmp_path: Path) -> None:
    data = {"RAPIDFLOW_DATA": str(tmp_path)}
    rapidflow("user", "add", "nia", "--role", "admin", stdin=b"long enough\n", **data)
    for days in ("0", "-1", "3651", "9" * 30):
        done = rapidflow("token", "add", "nia", "ci", "--days", days, **data)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "rapidflow: --days is from 1 to 3650; leave it out for a token that never expires\n"
        )
    assert rapidflow("token", "add", "nia", "ci", "--days", "1", **data).returncode == 0
    assert ", never used  ci" in rapidflow("token", "list", **data).stdout
    with closing(sqlite3.connect(tmp_path / "rapidflow.db", isolation_level=None)) as database:
        database.execute("UPDATE token SET expires_at = 1")
    assert "expired 1970-01-01 00:00, never used" in rapidflow("token", "list", **data).stdout


def test_a_token_has_a_name_and_one_that_is_not_there_is_not_revoked(tmp_path: Path) -> None:
    data = {"RAPIDFLOW_DATA": str(tmp_path)}
    rapidflow("user", "add", "nia", "--role", "admin", stdin=b"long enough\n", **data)
    for name in ("", "  ", "n" * 65, "two\nlines", "\x1b[31m"):
        done = rapidflow("token", "add", "nia", name, **data)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "rapidflow: NAME: use 1 to 64 characters, without line breaks or other control characters\n"
        )
    assert rapidflow("token", "add", "nia", " ci ", **data).returncode == 0
    for number in ("0", "2", "9" * 30):
        done = rapidflow("token", "revoke", number, **data)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"rapidflow: there is no token {number}; 'rapidflow token list' shows all\n"
    assert rapidflow("token", "revoke", "1", **data).returncode == 0
    with closing(sqlite3.connect(tmp_path / "rapidflow.db")) as database:
        noted = database.execute("SELECT target FROM deed WHERE action LIKE 'token %' ORDER BY id").fetchall()
    assert noted == [("nia: ci",), ("nia: ci",)]


@pytest.mark.parametrize("arguments", [("user", "add", "nia", "--role", "admin"), ("token", "list")])
def test_users_are_not_added_to_a_default_folder_without_an_installation(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = rapidflow(*arguments, stdin=b"long enough\n", HOME=str(tmp_path))
    folder = tmp_path / ".local/share/rapidflow"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"rapidflow: no installation is in {folder}; name its folder with RAPIDFLOW_DATA\n"
    assert not folder.exists()


def test_the_usage_is_that_of_the_command(nobody: str) -> None:
    done = rapidflow("--url", nobody, "prune", "--dryrun")
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: rapidflow prune ")
    assert done.stderr.endswith("rapidflow: No such option '--dryrun'. Did you mean '--dry-run'?\n")


def test_the_port_that_the_server_was_told_is_the_one_that_is_asked(nobody: str) -> None:
    port = nobody.rpartition(":")[2]
    for host in ("127.0.0.1", "0.0.0.0", "[::]"):
        done = rapidflow("jobs", RAPIDFLOW_BIND=f"{host}:{port}")
        assert done.stderr.startswith(f"rapidflow: {nobody} does not answer"), host


@pytest.mark.parametrize(
    "url",
    ["", "ftp://host", "http://", "http://:3000", "http://host:port", "http://host:99999", "http://a b/",
     "http://[::1", "http://a..b", "http://" + "x" * 70],
)  # fmt: skip
def test_an_address_that_is_none_is_said_to_be_none(url: str) -> None:
    done = rapidflow("--url", url, "jobs")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == f"rapidflow: '{url}' is not the address of a server; write one like http://127.0.0.1:3000\n"
    )


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers like a web site, with the status and the subtype of text that the path begins with."""

    def do_GET(self) -> None:
        status, kind = self.path.split("/")[1:3]
        status = int(status)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "https://login.example.com/")
        self.send_header("Content-Type", f"text/{kind}")
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"<html>")

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "what answers at {url} is not RapidFlow"),
        (301, "{url} answered with status 301"),
        (
            302,
            "{url} answered with status 302 and leads to https://login.example.com/; "
            "name the server's own address with --url or RAPIDFLOW_URL",
        ),
        (
            404,
            "{url} answered with status 404, so it may not be RapidFlow; "
            "name the server's own address with --url or RAPIDFLOW_URL",
        ),
        (
            413,
            "{url} answered with status 413: a proxy in front takes no larger requests (client_max_body_size "
            "of nginx)",
        ),
        (502, "{url} answered with status 502: a proxy in front does not reach the server"),
    ],
)
@pytest.mark.parametrize("kind", ["html", "plain"])
def test_something_else_that_answers_is_no_traceback(
    stranger: str, status: int, words: str, kind: str
) -> None:
    url = f"{stranger}/{status}/{kind}"
    for arguments in (("jobs",), ("run", "1"), ("cancel", "1")):
        done = rapidflow("--url", url, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"rapidflow: {words.format(url=url)}\n"
    if 300 <= status < 500:
        # A log is only waited for where that can help.
        done = rapidflow("--url", url, "logs", "1")
        assert (done.returncode, done.stderr) == (2, f"rapidflow: {words.format(url=url)}\n")


@pytest.mark.parametrize("kind", ["html", "plain"])
@pytest.mark.parametrize("status", [301, 302, 403, 404])
def test_a_log_that_something_else_refuses_is_a_sentence_and_no_page(
    stranger: str, status: int, kind: str
) -> None:
    done = rapidflow("--url", f"{stranger}/{status}/{kind}", "logs", "-f", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"rapidflow: {stranger}/{status}/{kind} answered with status {status}")
    assert "<html>" not in done.stderr


def test_what_is_not_a_command_gets_help() -> None:
    for arguments in ((), ("dance",), ("run",), ("logs", "-n", "x", "1")):
        done = rapidflow(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("Usage: rapidflow")
    assert rapidflow("--version").stdout.startswith("rapidflow ")
    for command in ("serve", "run", "logs", "jobs", "cancel", "retry", "validate"):
        assert command in rapidflow("--help").stdout
        assert rapidflow(command, "--help").returncode == 0


def test_help_groups_the_commands():
    text = rapidflow("--help").stdout
    sections = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert sections == ["Options", "Builds", "Repositories", "Users and secrets", "Server", "Shell"]
    assert text.index("Builds:") < text.index("  retry ") < text.index("Server:") < text.index("  doctor ")


def test_bash_completes_commands_options_and_files(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "rapidflow"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    (tmp_path / "rapidflow.bash").write_text(rapidflow("completion", "bash").stdout)
    shell = """
    source rapidflow.bash
    for words in "re" "jobs --st" "jobs --status f" "token re" "run bi"; do
        line="rapidflow $words"
        COMP_WORDS=($line) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
        _rapidflow_completion rapidflow
        echo "$line: ${COMPREPLY[*]} $(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")"
    done
    """
    path = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", shell],
        cwd=tmp_path,
        env={**os.environ, **path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "rapidflow re: retry reject repositories replay restore ",
        "rapidflow jobs --st: --status ",
        "rapidflow jobs --status f: failed ",
        "rapidflow token re: revoke ",
        "rapidflow run bi:  bin",
    ], done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_completions(shell: str) -> None:
    script = rapidflow("completion", shell)
    assert script.returncode == 0
    assert f"_RAPIDFLOW_COMPLETE={shell}_complete" in script.stdout
    words = {"COMP_WORDS": "rapidflow doc", "COMP_CWORD": "1" if shell == "zsh" else "doc"}
    assert "doctor" in rapidflow(_RAPIDFLOW_COMPLETE=f"{shell}_complete", **words).stdout
