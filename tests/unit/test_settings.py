"""Settings from the environment."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from rapidflow_web.errors import SettingsError
from rapidflow_web.pipeline.limits import NO_LIMITS, Limits
from rapidflow_web.public_url import PublicUrl
from rapidflow_web.setting_values import Engine, MailServer, Sender
from rapidflow_web.settings import Bind, Settings, from_environment, misspelt, variable


def refusal(name: str, value: str) -> str:
    """The sentence with which a value is refused."""
    with pytest.raises(SettingsError) as error:
        from_environment({name: value})
    return str(error.value)


def test_without_variables_every_setting_has_its_default():
    settings = from_environment({})
    assert settings.bind == Bind("127.0.0.1", 3000)
    assert settings.data == Path.home() / ".local/share/rapidflow"
    assert settings.database_url == ""
    assert settings.executor == "docker"
    assert settings.concurrency >= 1
    assert settings.default_image == "debian:bookworm-slim"
    assert settings.default_limits == Limits(
        timeout=3600, memory=8 * 1024**3, shm=64 * 1024**2, processes=8192, log_limit=1024**3
    )
    assert settings.most_limits == NO_LIMITS
    assert settings.grace == 10
    assert settings.fetch_timeout == 600
    assert settings.pull_timeout == 1800
    assert settings.engine_timeout == 60
    assert settings.body_limit == 1024 * 1024
    assert settings.hook_body_limit == 25 * 1024**2
    assert settings.file_roots == ()
    assert settings.images == {}


def test_every_setting_is_read_from_its_variable():
    wanted = {
        "bind": ("[::1]:8080", Bind("::1", 8080)),
        "data": ("/srv/data", Path("/srv/data")),
        "database_url": ("sqlite:////srv/x.db", "sqlite:////srv/x.db"),
        "login": ("proxy", "proxy"),
        "hosts": ("build.example.org, ci", ("build.example.org", "ci")),
        "public_url": ("https://ci.example.com/x/", PublicUrl("https", "ci.example.com", "/x")),
        "proxy_header": ("Remote-User", "Remote-User"),
        "proxy_addresses": ("10.0.0.0/24", (ip_network("10.0.0.0/24"),)),
        "secrets_key": (f"{'A' * 43}=, {'B' * 43}=", (f"{'A' * 43}=", f"{'B' * 43}=")),
        "engines": ("a=unix:///run/a.sock", (Engine("a", "unix:///run/a.sock"),)),
        "executor": ("process", "process"),
        "swarm": ("tcp://10.0.0.1:2376", "tcp://10.0.0.1:2376"),
        "network": ("bridge", "bridge"),
        "dns": ("10.0.0.2, 10.0.0.3", ("10.0.0.2", "10.0.0.3")),
        "parked": ("0", 0),
        "connections": ("20", 20),
        "concurrency": ("7", 7),
        "waiting_builds": ("none", None),
        "waiting_builds_per_user": ("50", 50),
        "default_image": ("registry.local:5000/team/base:1", "registry.local:5000/team/base:1"),
        "timeout": ("2h", 7200),
        "silence_timeout": ("10m", 600),
        "memory": ("2g", 2 * 1024**3),
        "shm": ("128m", 128 * 1024**2),
        "cpus": ("1.5", 1.5),
        "processes": ("100", 100),
        "log_limit": ("10m", 10 * 1024**2),
        "max_timeout": ("3h", 10800),
        "max_silence_timeout": ("20m", 1200),
        "max_memory": ("none", None),
        "max_shm": ("2g", 2 * 1024**3),
        "max_cpus": ("4", 4.0),
        "max_processes": ("200", 200),
        "max_log_limit": ("20m", 20 * 1024**2),
        "grace": ("0", 0),
        "fetch_timeout": ("90", 90),
        "pull_timeout": ("1h30m", 5400),
        "engine_timeout": ("5s", 5),
        "source_hosts": (
            "git.Example.org:8443, 10.0.0.0/8, localhost",
            ("git.example.org:8443", ip_network("10.0.0.0/8"), "localhost"),
        ),
        "keep_age": ("90d", 90 * 24 * 3600),
        "keep_builds": ("100", 100),
        "keep_size": ("none", None),
        "keep_mirrors": ("5g", 5 * 1024**3),
        "keep_images": ("10g", 10 * 1024**3),
        "smtp_url": (
            "smtp://ci:p%40ss@mail.example.com",
            MailServer("mail.example.com", 587, "starttls", "ci", "p@ss"),
        ),
        "mail_from": ("Builds <ci@example.com>", Sender("Builds", "ci@example.com")),
        "log_format": ("json", "json"),
        "body_limit": ("512k", 512 * 1024),
        "hook_body_limit": ("5m", 5 * 1024**2),
        "upload_limit": ("100m", 100 * 1024**2),
        "file_roots": ("/srv/git:/opt/git", ("/srv/git", "/opt/git")),
    }
    # Where builds run is a choice of one.
    for others in ({"engines", "swarm"}, {"executor", "swarm"}, {"executor", "engines"}):
        chosen = {name: value for name, value in wanted.items() if name not in others}
        settings = from_environment({variable(name): text for name, (text, _) in chosen.items()})
        assert {name: getattr(settings, name) for name in chosen} == {
            name: value for name, (_, value) in chosen.items()
        }
    assert {field.name for field in fields(Settings)} == {*wanted, "images"}


def test_every_setting_says_what_it_is_for():
    for field in fields(Settings):
        assert field.metadata["doc"].rstrip("`.") != ""
        assert field.metadata["doc"].endswith(".")


def test_an_empty_variable_is_as_good_as_none():
    empty = {variable(field.name): "" for field in fields(Settings)} | {"RAPIDFLOW_IMAGE_GOLANG": ""}
    assert from_environment(empty) == from_environment({})


def test_variables_of_others_are_left_alone():
    others = {"BIND": "x", "RAPIDFLOWBIND": "x", "rapidflow_bind": "x", "RAPIDFLOW_EXECUTORS": "x"}
    assert from_environment(others) == from_environment({})


@pytest.mark.parametrize(
    ("text", "host", "port", "written"),
    [
        ("0.0.0.0:80", "0.0.0.0", 80, "0.0.0.0:80"),
        ("localhost:0", "localhost", 0, "localhost:0"),
        ("[::]:3000", "::", 3000, "[::]:3000"),
        ("::1:3000", "::1", 3000, "[::1]:3000"),
        ("host.example:65535", "host.example", 65535, "host.example:65535"),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int, written: str):
    bind = from_environment({"RAPIDFLOW_BIND": text}).bind
    assert bind == Bind(host, port)
    assert str(bind) == written


@pytest.mark.parametrize(
    "text",
    [
        "3000",
        ":3000",
        "host",
        "host:",
        "host:65536",
        "host:-1",
        "host:http",
        "host:8³",
        "[]:1",
        "http://host:1",
    ],
)
def test_a_wrong_address_is_refused(text: str):
    assert refusal("RAPIDFLOW_BIND", text) == (
        f"RAPIDFLOW_BIND is {text!r}: write it as host:port, for example 127.0.0.1:3000."
    )


def test_a_folder_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.chdir(tmp_path)
    assert from_environment({"RAPIDFLOW_DATA": "~/data"}).data == Path("/home/somebody/data")
    assert from_environment({"RAPIDFLOW_DATA": "data"}).data == tmp_path / "data"


def test_a_home_folder_that_nobody_has_is_refused():
    assert refusal("RAPIDFLOW_DATA", "~nobody-of-that-name/data") == (
        "RAPIDFLOW_DATA is '~nobody-of-that-name/data': '~' names no home folder; write the whole path."
    )


@pytest.mark.parametrize("text", ["", "podman", "Docker", "docker "])
def test_an_executor_is_one_that_there_is(text: str):
    if text:
        assert (
            refusal("RAPIDFLOW_EXECUTOR", text) == f"RAPIDFLOW_EXECUTOR is {text!r}: use docker or process."
        )
    else:
        assert from_environment({"RAPIDFLOW_EXECUTOR": text}).executor == "docker"


@pytest.mark.parametrize("text", ["0", "-1", "10001", "1.5", "many", "1_0", "²", " 1"])
def test_a_wrong_number_of_builds_is_refused(text: str):
    assert refusal("RAPIDFLOW_CONCURRENCY", text) == (
        f"RAPIDFLOW_CONCURRENCY is {text!r}: use a whole number from 1 to 10000."
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("100", 100), ("512k", 524_288), ("512K", 524_288), ("2m", 2_097_152), ("1g", 1_073_741_824)],
)
def test_a_size_is_in_bytes_or_has_a_unit(text: str, size: int):
    assert from_environment({"RAPIDFLOW_BODY_LIMIT": text}).body_limit == size


@pytest.mark.parametrize("text", ["0", "0k", "k", "1t", "1kb", "1 k", "-1k", "1.5m", "²k", "big"])
def test_a_wrong_size_is_refused(text: str):
    assert refusal("RAPIDFLOW_BODY_LIMIT", text) == (
        f"RAPIDFLOW_BODY_LIMIT is {text!r}: {text!r} is not a size; write one like 512k, 2m or 1g."
    )


@pytest.mark.parametrize("name", ["TIMEOUT", "GRACE", "FETCH_TIMEOUT", "PULL_TIMEOUT", "ENGINE_TIMEOUT"])
def test_a_wrong_duration_is_refused(name: str):
    assert refusal(f"RAPIDFLOW_{name}", "soon") == (
        f"RAPIDFLOW_{name} is 'soon': 'soon' is not a duration; write one like 90s, 30m or 1h30m."
    )


def test_only_the_grace_period_may_be_nothing():
    assert from_environment({"RAPIDFLOW_GRACE": "0s"}).grace == 0
    assert "is not a duration" in refusal("RAPIDFLOW_TIMEOUT", "0s")


def test_a_wrong_image_is_refused():
    assert refusal("RAPIDFLOW_DEFAULT_IMAGE", "Debian 12").startswith(
        "RAPIDFLOW_DEFAULT_IMAGE is 'Debian 12': 'Debian 12' is not the name of an image; write one like "
    )


def test_folders_of_repositories_are_absolute_and_made_plain():
    roots = from_environment({"RAPIDFLOW_FILE_ROOTS": "/srv/git/:/opt//a/../git::/"}).file_roots
    assert roots == ("/srv/git", "/opt/git", "/")
    assert refusal("RAPIDFLOW_FILE_ROOTS", "/srv:git") == (
        "RAPIDFLOW_FILE_ROOTS is '/srv:git': 'git' is not an absolute path."
    )


def test_images_of_languages_are_found_by_name_and_by_alias():
    images = from_environment(
        {
            "RAPIDFLOW_IMAGE_GOLANG": "registry.local/golang:{version}",
            "RAPIDFLOW_IMAGE_NODEJS": "registry.local/node:20",
        }
    ).images
    assert images == {"golang": "registry.local/golang:{version}", "node": "registry.local/node:20"}


def test_an_image_of_no_language_is_refused():
    assert refusal("RAPIDFLOW_IMAGE_GOLNG", "golang:1").startswith(
        "RAPIDFLOW_IMAGE_GOLNG is 'golang:1': unknown language 'golng', did you mean 'golang'?"
    )


@pytest.mark.parametrize(
    "image", ["Golang:{version}", "golang:{release}", "golang {version}", "golang:{version}{"]
)
def test_a_wrong_image_of_a_language_is_refused(image: str):
    assert refusal("RAPIDFLOW_IMAGE_GOLANG", image).startswith(f"RAPIDFLOW_IMAGE_GOLANG is {image!r}: ")


def test_a_misspelt_setting_is_found_with_what_was_meant():
    others = dict.fromkeys(("RAPIDFLOW_URL", "RAPIDFLOW_BIND", "RAPIDFLOW_JOB_ID", "MEMROY"), "x")
    assert misspelt({"RAPIDFLOW_MEMROY": "8g", **others}) == {"RAPIDFLOW_MEMROY": "RAPIDFLOW_MEMORY"}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("keep_age", "90 days", "write it as days like 90d, hours like 12h, or none"),
        ("keep_age", "0d", "write it as days like 90d, hours like 12h, or none"),
        ("keep_age", "d", "write it as days like 90d, hours like 12h, or none"),
        ("keep_builds", "0", "use a whole number from 1 to 1000000000, or none"),
        ("keep_builds", "many", "use a whole number from 1 to 1000000000, or none"),
        ("keep_size", "much", "'much' is not a size; write one like 512k, 2m or 1g"),
        ("log_format", "xml", "use text or json"),
    ],
)
def test_a_wrong_retention_or_format_is_refused(name: str, text: str, sentence: str):
    with pytest.raises(SettingsError) as error:
        from_environment({variable(name): text})
    assert str(error.value) == f"{variable(name)} is {text!r}: {sentence}."


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("smtp://mail", MailServer("mail", 587, "starttls")),
        ("smtp://localhost:25?starttls=never", MailServer("localhost", 25, "none")),
        ("smtp://[::1]:2525?starttls=always", MailServer("::1", 2525, "starttls")),
        ("smtps://a%40b:c%2Fd@mail/", MailServer("mail", 465, "implicit", "a@b", "c/d")),
    ],
)
def test_a_mail_server_is_a_url(text: str, server: MailServer) -> None:
    settings = from_environment({"RAPIDFLOW_SMTP_URL": text, "RAPIDFLOW_MAIL_FROM": "ci@example.com"})
    assert settings.smtp_url == server
    assert settings.mail_from == Sender("RapidFlow", "ci@example.com")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mail.example.com", "write it as smtp://user:password@host:587"),
        ("http://mail", "write it as"),
        ("smtp://", "write it as"),
        ("smtp://mail:x", "write it as"),
        ("smtp://ci:hunter2/x@mail", "are written as %2F"),
        ("smtp://ci@mail", "a user needs a password"),
        ("smtp://mail?starttls=maybe", "its only option is"),
        ("smtp://mail?tls=1", "its only option is"),
        ("smtps://ci:hunter2@mail?starttls=never", "leave out starttls"),
    ],
)
def test_a_wrong_mail_server_is_refused_without_its_password(text: str, why: str) -> None:
    said = refusal("RAPIDFLOW_SMTP_URL", text)
    assert said.startswith("RAPIDFLOW_SMTP_URL is not right: ") and why in said
    assert "hunter2" not in said


def test_a_mail_server_needs_a_sender() -> None:
    assert "RAPIDFLOW_MAIL_FROM is not" in refusal("RAPIDFLOW_SMTP_URL", "smtp://mail")
    for text in ("nobody", "a@b@c", "a b@c.d", "x <a@b>\nBcc: y@z", "<>", "a..b@c.de", ".a@c.de", "a@c..de"):
        assert "builds@example.com" in refusal("RAPIDFLOW_MAIL_FROM", text)


@pytest.mark.parametrize("text", ['"/srv/data"', "'/srv/data'"])
def test_quotes_are_no_part_of_a_folder(text: str) -> None:
    assert refusal("RAPIDFLOW_DATA", text) == f"RAPIDFLOW_DATA is {text!r}: write it without quotes."


def test_the_password_of_a_database_is_not_repeated() -> None:
    said = refusal("RAPIDFLOW_DATABASE_URL", "mysql://root:hunter2@localhost/builds")
    assert said.startswith("RAPIDFLOW_DATABASE_URL is not right: write it as sqlite:")
    assert "hunter2" not in said + repr(from_environment({"RAPIDFLOW_SMTP_URL": ""}))


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ("a#hunter2@host/builds", "a character like / or # in a password as %2F or %23"),
        ("a/hunter2@host/builds", "a character like / or # in a password as %2F or %23"),
        ("hunter2@host:70000/builds", "postgres://user:password@host:5432/name"),
        ("hunter2@host:x/builds", "postgres://user:password@host:5432/name"),
        ("hunter2@host/builds?sslmode=require", "its option 'sslmode' is not known; set the variables"),
    ],
)
def test_a_wrong_url_of_a_database_is_refused_without_its_password(rest: str, why: str) -> None:
    said = refusal("RAPIDFLOW_DATABASE_URL", f"postgres://builds:{rest}")
    assert said.startswith("RAPIDFLOW_DATABASE_URL is not right: ") and why in said
    assert "hunter2" not in said


@pytest.mark.parametrize("rest", ["p%2F%23@host/builds", "p@[::1]:5432/builds?schema=ci&ssl=true", "p@host"])
def test_a_url_of_a_database_is_taken_as_it_is(rest: str) -> None:
    url = f"postgres://builds:{rest}"
    assert from_environment({"RAPIDFLOW_DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    "text",
    [
        "docker.sock",
        "unix://docker.sock",
        "unix:///",
        "tcp://10.0.0.1",
        "tcp://10.0.0.1:x",
        "https://a:1",
        "ssh://a",
    ],
)
def test_swarm_is_a_socket_or_an_address(text: str) -> None:
    assert "write unix:///var/run/docker.sock or tcp://HOST:2376" in refusal("RAPIDFLOW_SWARM", text)
    assert from_environment({"RAPIDFLOW_SWARM": "unix:///run/a.sock"}).swarm == "unix:///run/a.sock"


def test_machines_are_listed_by_name_and_address():
    text = "build1=tcp://10.0.0.5:2376, build2=unix:///run/build2.sock\n"
    assert from_environment({"RAPIDFLOW_ENGINES": text}).engines == (
        Engine("build1", "tcp://10.0.0.5:2376"),
        Engine("build2", "unix:///run/build2.sock"),
    )
    assert from_environment({"RAPIDFLOW_ENGINES": " , "}).engines == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp://a:1", "write 'tcp://a:1' as name=address, such as build1=tcp://10.0.0.5:2376"),
        ("a b=unix:///x", "write 'a' as name=address, such as build1=tcp://10.0.0.5:2376"),
        ("a=ssh://x", "'ssh://x' is not the address of an engine; use tcp://host:port or unix:///path"),
        ("a=unix://x", "'unix://x' is not the address of an engine; use tcp://host:port or unix:///path"),
        ("a=tcp://x", "'tcp://x' is not the address of an engine; use tcp://host:port or unix:///path"),
        (
            "a=tcp://x:1/y",
            "'tcp://x:1/y' is not the address of an engine; use tcp://host:port or unix:///path",
        ),
        (
            "a=tcp://x:0x1",
            "'tcp://x:0x1' is not the address of an engine; use tcp://host:port or unix:///path",
        ),
        ("a=tcp://[x:1", "'tcp://[x:1' is not the address of an engine; use tcp://host:port or unix:///path"),
        ("a=unix:///x,a=unix:///y", "two engines have the name a"),
        ("a=unix:///x,b=unix:///x", "two engines have the address unix:///x"),
    ],
)
def test_a_list_of_machines_that_is_not_right_is_refused(text: str, expected: str):
    assert refusal("RAPIDFLOW_ENGINES", text) == f"RAPIDFLOW_ENGINES is {text!r}: {expected}."


@pytest.mark.parametrize(("name", "value"), [("ENGINES", "a=unix:///x"), ("SWARM", "unix:///x")])
def test_plain_processes_run_on_no_other_machine(name: str, value: str):
    with pytest.raises(SettingsError, match=f"RAPIDFLOW_EXECUTOR is 'process' and RAPIDFLOW_{name} is set"):
        from_environment({"RAPIDFLOW_EXECUTOR": "process", f"RAPIDFLOW_{name}": value})


def test_the_machines_come_from_one_inventory():
    with pytest.raises(SettingsError, match="RAPIDFLOW_ENGINES and RAPIDFLOW_SWARM are set"):
        from_environment({"RAPIDFLOW_ENGINES": "a=unix:///x", "RAPIDFLOW_SWARM": "unix:///x"})
