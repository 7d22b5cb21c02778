"""Settings from the environment, typed and checked once, at the start.

Each field of `Settings` is one variable; its metadata is its documentation, which `docs/settings.md` repeats
(a test compares the two).
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rapidflow_web import setting_values as values
from rapidflow_web.errors import SettingsError
from rapidflow_web.pipeline import images, limits
from rapidflow_web.pipeline.durations import parse_duration
from rapidflow_web.pipeline.limits import Limits
from rapidflow_web.public_url import PublicUrl, parse_public_url
from rapidflow_web.setting_values import Bind, Engine, MailServer, Sender

PREFIX = "RAPIDFLOW_"
IMAGE_PREFIX = "RAPIDFLOW_IMAGE_"
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _setting(parse: Callable[[str], Any], default: str, doc: str, *, secret: bool = False) -> Any:
    """A field that `parse` makes from the variable's text, or from `default` where it is not set."""
    return field(repr=not secret, metadata={"parse": parse, "default": default, "doc": doc})


def _limit(name: str, default: str, what: str) -> Any:
    """A field for the limit `name` of pipelines that don't set it."""
    return _setting(_or_none(name), default, f"{what} if its pipeline sets no `{name}`.")


def _most(name: str) -> Any:
    """A field for what pipelines may set the limit `name` to."""
    return _setting(_or_none(name), "none", f"The largest `{name}` that a pipeline may set.")


def _or_none(name: str) -> Callable[[str], Any]:
    return lambda text: None if text == "none" else limits.PARSERS[name](text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Durations are in seconds, sizes in bytes."""

    bind: Bind = _setting(values.bind, "127.0.0.1:3000", "The address and port to listen on.")
    data: Path = _setting(
        values.folder,
        "~/.local/share/rapidflow",
        "The data folder: database, logs, git mirrors, work folders.",
    )
    database_url: str = _setting(
        values.database_url,
        "",
        "`sqlite:///absolute/path` or `postgres://user:password@host/name`. "
        "Default: SQLite in the data folder.",
        secret=True,
    )
    login: str = _setting(
        values.one_of("users", "proxy"),
        "users",
        "How users are authenticated: `users` for the server's own accounts (optional on a loopback "
        "address), `proxy` for a proxy in front.",
    )
    hosts: tuple[str, ...] = _setting(
        values.host_names,
        "",
        "Host names of the server, separated by commas. `localhost`, the machine's name and IP addresses are "
        "always accepted.",
    )
    public_url: PublicUrl | None = _setting(
        parse_public_url,
        "",
        "The URL of the server in browsers, such as `https://ci.example.com/rapidflow`, if a proxy gives it "
        "another host or a path. Default: what each request asks for.",
    )
    proxy_header: str = _setting(
        values.header,
        "X-Forwarded-User",
        "With `RAPIDFLOW_LOGIN=proxy`, the header in which the proxy names the user.",
    )
    proxy_addresses: tuple[_Network, ...] = _setting(
        values.networks,
        "127.0.0.1, ::1",
        "IP addresses or networks of trusted proxies, separated by commas. Only their `X-Forwarded-For` and "
        "login are believed. `RAPIDFLOW_LOGIN=proxy` requires this setting, as these addresses can act as "
        "any user.",
    )
    secrets_key: tuple[str, ...] = _setting(
        values.keys,
        "",
        "The key that encrypts secrets. During a change of keys, several, separated by commas, the newest "
        "first. Default: `secrets.key` in the data folder.",
        secret=True,
    )
    executor: str = _setting(
        values.one_of("docker", "process"),
        "docker",
        "Where builds run: `docker`, or `process` for plain processes on this machine, without isolation.",
    )
    swarm: str = _setting(
        values.swarm,
        "",
        "The engine of a manager of a Docker Swarm on whose machines builds run (see "
        "[Many machines](cluster.md)): `unix:///var/run/docker.sock`, or `tcp://host:2376` with the keys in "
        "`DOCKER_CERT_PATH`. Default: none.",
    )
    engines: tuple[Engine, ...] = _setting(
        values.engines,
        "",
        "The Docker engines of [several machines](cluster.md#a-list-of-engines), separated by commas: "
        "`build1=tcp://10.0.0.5:2376, build2=unix:///run/build2.sock`. Default: the engine of `DOCKER_HOST`.",
    )
    network: str = _setting(
        values.network,
        "closed",
        "The Docker network of builds: `closed`, in which they can't reach other builds, this server or "
        "cloud metadata, or an existing network, such as `bridge`.",
    )
    dns: tuple[str, ...] = _setting(
        values.address_list, "", "Name servers of builds, separated by commas. Default: the engine's."
    )
    parked: int = _setting(
        values.whole(0, 200),
        "10",
        "The maximum number of containers kept ready on a machine for builds like the last ones, until half "
        "an hour after them. Each takes some 4 MB of memory, with the engine's process for it.",
    )
    connections: int = _setting(
        values.whole(1, 10_000), "4096", "The maximum number of connected clients; more are refused."
    )
    concurrency: int = _setting(
        values.whole(1, 10_000),
        str(os.cpu_count() or 1),
        "The maximum number of running builds; with many machines, of each. Default: the number of cores.",
    )
    waiting_builds: int | None = _setting(
        values.builds, "1000", "The maximum number of waiting builds; more are refused. `none`: no limit."
    )
    waiting_builds_per_user: int | None = _setting(
        values.builds, "200", "The maximum number of waiting builds of one user. `none`: no limit."
    )
    default_image: str = _setting(
        images.check_image,
        "debian:bookworm-slim",
        "The image of builds if neither the pipeline nor the repository names a language.",
    )
    timeout: int | None = _limit("timeout", "60m", "The time limit of a build")
    silence_timeout: int | None = _limit("silence_timeout", "none", "How long a step may print nothing")
    memory: int | None = _limit("memory", "8g", "The memory limit of a build")
    shm: int | None = _limit("shm", "64m", "The size of `/dev/shm` in a build")
    cpus: float | None = _limit("cpus", "none", "The CPUs that a build may use")
    processes: int | None = _limit(
        "processes", "8192", "The maximum number of processes and threads of a build"
    )
    log_limit: int | None = _limit(
        "log_limit", "1g", "The log size above which only the end of each step's output is kept,"
    )
    max_timeout: int | None = _most("timeout")
    max_silence_timeout: int | None = _most("silence_timeout")
    max_memory: int | None = _most("memory")
    max_shm: int | None = _most("shm")
    max_cpus: float | None = _most("cpus")
    max_processes: int | None = _most("processes")
    max_log_limit: int | None = _most("log_limit")
    grace: int = _setting(
        values.grace, "10s", "The time between SIGTERM and SIGKILL in which a cancelled step can clean up."
    )
    fetch_timeout: int = _setting(
        parse_duration, "10m", "The time limit for fetching the source, and again for checking it out."
    )
    pull_timeout: int = _setting(parse_duration, "30m", "The time limit for pulling an image.")
    engine_timeout: int = _setting(
        parse_duration, "60s", "How long running builds wait for an engine that does not answer."
    )
    keep_age: int | None = _setting(
        values.age, "none", "The age at which finished builds are removed, such as `90d`."
    )
    keep_builds: int | None = _setting(
        values.builds, "none", "The number of finished builds kept for each pipeline."
    )
    keep_size: int | None = _setting(
        values.size, "20g", "The total size of logs on disk above which the oldest builds are removed."
    )
    keep_mirrors: int | None = _setting(
        values.size, "20g", "The total size of git mirrors above which the least recently used are removed."
    )
    keep_images: int | None = _setting(
        values.size,
        "50g",
        "The total size of images pulled by builds above which the least recently used are removed.",
    )
    smtp_url: MailServer | None = _setting(
        values.mail_server,
        "",
        "The mail server for notifications: `smtp://user:password@host:587` encrypts with STARTTLS, "
        "`smtps://user:password@host` from the start, `smtp://host:25?starttls=never` not at all. "
        "Default: none.",
        secret=True,
    )
    mail_from: Sender | None = _setting(
        values.sender,
        "",
        "The sender of notifications, such as `RapidFlow <builds@example.com>`. `RAPIDFLOW_SMTP_URL` "
        "requires this setting.",
    )
    log_format: str = _setting(
        values.one_of("text", "json"), "text", "The format of the server's own log: `text` or `json`."
    )
    body_limit: int = _setting(limits.parse_size, "1m", "The maximum size of a request body.")
    hook_body_limit: int = _setting(
        limits.parse_size, "25m", "The maximum size of the body of a webhook delivery."
    )
    upload_limit: int = _setting(
        values.uploads,
        "500m",
        "The maximum size of an uploaded working tree (`rapidflow run .`), packed by git. `off` refuses "
        "uploads.",
    )
    file_roots: tuple[str, ...] = _setting(
        values.roots, "", "Folders with `file://` repositories, separated by `:`. Default: none."
    )
    source_hosts: tuple[_Network | str, ...] = _setting(
        values.source_hosts,
        "",
        "Trusted git hosts, separated by commas: names, `name:port`, IP addresses or networks. Submodules "
        "and redirects can lead to them, also at private addresses, with the git credentials of the "
        "server's user.",
    )
    images: Mapping[str, str] = field(
        default_factory=dict[str, str],
        metadata={
            "name": f"{IMAGE_PREFIX}<LANGUAGE>",
            "default": "",
            "doc": "The image of a language: `RAPIDFLOW_IMAGE_GOLANG=registry.local/golang:{version}`.",
        },
    )

    @property
    def url(self) -> str:
        """The URL of the server, for whoever is told of it."""
        return str(self.public_url) if self.public_url is not None else f"http://{self.bind}"

    @property
    def default_limits(self) -> Limits:
        """The limits of builds whose pipelines set none."""
        return Limits(**{name: getattr(self, name) for name in limits.PARSERS})

    @property
    def most_limits(self) -> Limits:
        """The limits that no pipeline may exceed."""
        return Limits(**{name: getattr(self, f"max_{name}") for name in limits.PARSERS})


def variable(name: str) -> str:
    """The environment variable of the field `name`."""
    return f"{PREFIX}{name.upper()}"


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings that `environment` holds. Raises `SettingsError` that names the variable and the mend."""
    parsed: dict[str, Any] = {}
    for setting in fields(Settings):
        if setting.name == "images":
            continue
        name = variable(setting.name)
        text = environment.get(name, "") or setting.metadata["default"]
        try:
            parsed[setting.name] = setting.metadata["parse"](text)
        except ValueError as error:
            said = repr(text) if setting.repr else "not right"
            raise SettingsError(f"{name} is {said}: {error}.") from None
    if parsed["login"] == "proxy" and not environment.get(variable("proxy_addresses")):
        raise SettingsError(
            "RAPIDFLOW_LOGIN is 'proxy' and RAPIDFLOW_PROXY_ADDRESSES is not set: name the addresses from "
            "which the proxy connects, such as 127.0.0.1 where only the proxy can connect from this machine."
        )
    clusters = [variable(name) for name in ("engines", "swarm") if parsed[name]]
    if len(clusters) > 1:
        raise SettingsError(
            f"{' and '.join(clusters)} are set: the machines come from one of them; unset one."
        )
    if clusters and parsed["executor"] == "process":
        raise SettingsError(
            f"RAPIDFLOW_EXECUTOR is 'process' and {clusters[0]} is set: builds on other machines run in "
            "containers; unset one of them."
        )
    if parsed["smtp_url"] is not None and parsed["mail_from"] is None:
        raise SettingsError(
            "RAPIDFLOW_SMTP_URL is set and RAPIDFLOW_MAIL_FROM is not: name the sender of mails, such as "
            "builds@example.com."
        )
    return Settings(**parsed, images=_images(environment))


def misspelt(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like settings and are none, each with the setting that was probably meant."""
    known = [setting.name for setting in fields(Settings) if setting.name != "images"]
    found: dict[str, str] = {}
    for name in environment:
        word = name.removeprefix(PREFIX).lower()
        if name.startswith(PREFIX) and word not in known and not name.startswith(IMAGE_PREFIX):
            for meant in difflib.get_close_matches(word, known, n=1, cutoff=0.8):
                found[name] = variable(meant)
    return found


def _images(environment: Mapping[str, str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for name, image in environment.items():
        if not name.startswith(IMAGE_PREFIX) or not image:
            continue
        try:
            language = images.check_language(name.removeprefix(IMAGE_PREFIX).lower())
            images.check_image(image.replace("{version}", "1"))
        except ValueError as error:
            raise SettingsError(f"{name} is {image!r}: {error}.") from None
        chosen[images.language_key(language)] = image
    return chosen
