"""The source of a build over ssh: the keys of hosts are checked, and who minds them is told what to do."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.source import ssh
from rapidflow_web.source.mirrors import Mirrors
from tests.support.repos import Repo
from tests.support.sources import refusal
from tests.support.sshd import Sshd


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "sshd")
    yield server
    server.stop()


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    (tmp_path / "mirrors").mkdir()
    return Mirrors(tmp_path / "mirrors", [], timeout=30)


class User:
    """The ssh configuration of the server's user, in which `options` stand first."""

    def __init__(self, folder: Path, sshd: Sshd) -> None:
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.touch()
        self._config = folder / "ssh_config"
        self._sshd = sshd
        self.configure()

    @property
    def command(self) -> str:
        """The ssh that reads it: the real one of the tests' user is none of our business."""
        return f"ssh -F {self._config}"

    def configure(self, *options: str) -> None:
        """Writes the configuration."""
        lines = [*options, f"IdentityFile {self._sshd.identity}", f"UserKnownHostsFile {self.known_hosts}"]
        self._config.write_text("\n".join([*lines, "GlobalKnownHostsFile /dev/null", ""]))


@pytest.fixture
def user(tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> User:
    made = User(tmp_path, sshd)
    monkeypatch.setenv("GIT_SSH_COMMAND", made.command)
    return made


def run(command: str) -> bytes:
    """What a command prints that we told the administrator to run."""
    return subprocess.run(shlex.split(command), capture_output=True, check=True).stdout


async def test_from_a_host_whose_key_is_known_it_is_fetched(
    sshd: Sshd, user: User, origin: Repo, mirrors: Mirrors
):
    commit = origin.commit({"a": "1"})
    user.known_hosts.write_text(sshd.known())
    assert (await mirrors.fetch(sshd.url(origin.path))).commit == commit


async def test_what_the_sentence_on_an_unknown_key_says_helps(
    sshd: Sshd, user: User, origin: Repo, mirrors: Mirrors
):
    commit = origin.commit({"a": "1"})
    reason = await refusal(mirrors, sshd.url(origin.path))
    home = Path.home()
    assert reason == (
        f"the ssh key of the host {sshd.host} is not known here; as the user of the server run "
        f"'ssh-keyscan -p {sshd.port} 127.0.0.1', compare what it prints with what the owner of the host "
        f"publishes, and add it to {home}/.ssh/known_hosts"
    )
    (scan,) = re.findall("'(ssh-keyscan.*?)'", reason)
    user.known_hosts.write_bytes(run(scan))
    assert (await mirrors.fetch(sshd.url(origin.path))).commit == commit


async def test_what_the_sentence_on_a_changed_key_says_helps(
    sshd: Sshd, user: User, origin: Repo, mirrors: Mirrors
):
    commit = origin.commit({"a": "1"})
    user.known_hosts.write_text(sshd.known())
    sshd.change_key()
    reason = await refusal(mirrors, sshd.url(origin.path))
    assert f"the ssh key of the host {sshd.host} is not the one that is known here" in reason
    remove, scan = re.findall("'(ssh-key.*?)'", reason)
    run(f"{remove} -f {user.known_hosts}")
    user.known_hosts.write_bytes(run(scan))
    assert (await mirrors.fetch(sshd.url(origin.path))).commit == commit


@pytest.mark.parametrize("lax", ["no", "off", "accept-new", "ask"])
@pytest.mark.parametrize("where", ["configuration", "environment", "git"])
async def test_no_configuration_makes_an_unknown_key_do(
    sshd: Sshd,
    user: User,
    origin: Repo,
    mirrors: Mirrors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    lax: str,
):
    origin.commit({"a": "1"})
    if where == "configuration":
        user.configure(f"StrictHostKeyChecking {lax}")
    elif where == "environment":
        monkeypatch.setenv("GIT_SSH_COMMAND", f"{user.command} -o StrictHostKeyChecking={lax}")
    else:
        monkeypatch.delenv("GIT_SSH_COMMAND")
        config = tmp_path / "gitconfig"
        config.write_text(f"[core]\n\tsshCommand = {user.command} -o StrictHostKeyChecking={lax}\n")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    assert "is not known here" in await refusal(mirrors, sshd.url(origin.path))
    assert user.known_hosts.read_text() == ""


async def test_a_command_that_is_configured_for_some_repositories_counts_for_them(
    sshd: Sshd,
    user: User,
    origin: Repo,
    mirrors: Mirrors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    commit = origin.commit({"a": "1"})
    user.known_hosts.write_text(sshd.known())
    monkeypatch.delenv("GIT_SSH_COMMAND")
    (tmp_path / "more").write_text(f"[core]\n\tsshCommand = {user.command}\n")
    config = tmp_path / "gitconfig"
    config.write_text(
        f'[includeIf "hasconfig:remote.*.url:{sshd.url(origin.path)}"]\n\tpath = {tmp_path}/more\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    assert (await mirrors.fetch(sshd.url(origin.path))).commit == commit


@pytest.mark.parametrize(
    ("configured", "environment", "command"),
    [
        (None, {}, "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"),
        ("/opt/bin/ssh -i key", {}, "/opt/bin/ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -i key"),
        ("ssh -4", {"GIT_SSH_COMMAND": "ssh -6"}, "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -6"),
        (None, {"GIT_SSH": "/opt/ssh"}, "/opt/ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"),
        ("plink -batch", {}, None),
        (None, {"GIT_SSH": "/opt/own-program"}, None),
    ],
)
def test_ssh_is_told_to_be_strict_and_other_programs_are_called_as_they_are(
    configured: str | None, environment: dict[str, str], command: str | None
):
    expected = {"GIT_SSH_COMMAND": command} if command is not None else {}
    assert ssh.strict(configured, environment) == expected


def test_other_words_stay_as_they_are():
    assert ssh.explained("fatal: Host key verification failed.") == "fatal: Host key verification failed."
