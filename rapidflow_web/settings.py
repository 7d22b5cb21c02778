"""Settings from the environment, typed and checked once, at the start.

Each field of `Settings` is one variable; its metadata is its documentation, which `docs/settings.md` repeats
(a test compares the two).
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rapidflow_web import addresses
from rapidflow_web.errors import SettingsError
from rapidflow_web.pipeline import images, limits
from rapidflow_web.pipeline.durations import parse_duration
from rapidflow_web.pipeline.limits import Limits
from rapidflow_web.public_url import PublicUrl, parse_public_url

PREFIX = "RAPIDFLOW_"
IMAGE_PREFIX = "RAPIDFLOW_IMAGE_"


@dataclass(frozen=True, slots=True)
class Bind:
    """Where the server listens. Port 0 lets the system choose one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return addresses.parse(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _bind(text: str) -> Bind:
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("write it as host:port, for example 127.0.0.1:3000")
    return Bind(host, int(port))


def _folder(text: str) -> Path:
    if not text:
        raise ValueError("name a folder")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("there is no home folder that '~' could stand for") from None


def _roots(text: str) -> tuple[str, ...]:
    roots = [part for part in text.split(":") if part]
    for root in roots:
        if not root.startswith("/"):
            raise ValueError(f"'{root}' is not an absolute path")
    return tuple(posixpath.normpath("/" + root.strip("/")) for root in roots)


def _database_url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if text and not ((scheme == "postgres" and rest) or (scheme == "sqlite" and rest.startswith("/"))):
        raise ValueError("write it as sqlite:///absolute/path or postgres://user:password@host/name")
    return text


def _executor(text: str) -> str:
    if text not in ("docker", "process"):
        raise ValueError("use docker or process")
    return text


def _network(text: str) -> str:
    if text in ("host", "none", "default"):
        raise ValueError("use closed, or the name of a network that the engine has, such as bridge")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise ValueError("use closed, or the name of a network, which has letters, digits, '_', '.' and '-'")
    return text


def _addresses(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_address(part.strip())) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"{error}; write addresses like 10.0.0.2") from None


def _spare(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 100:
        raise ValueError("use a whole number from 0 to 100")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise ValueError("use a whole number from 1 to 10000")
    return int(text)


def _builds(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= 1_000_000_000:
        raise ValueError("use a whole number from 1, or none")
    return int(text)


def _age(text: str) -> int | None:
    if text == "none":
        return None
    if text.endswith("d") and text[:-1].isascii() and text[:-1].isdigit() and int(text[:6].rstrip("d")) >= 1:
        return int(text[:6].rstrip("d")) * 24 * 3600
    try:
        # A number alone would be seconds, where days were meant.
        return parse_duration("" if text.isdigit() else text)
    except ValueError:
        raise ValueError("write it as days like 90d, hours like 12h, or none") from None


def _size(text: str) -> int | None:
    return None if text == "none" else limits.parse_size(text)


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    if not all(re.fullmatch(r"[A-Za-z0-9_-]{43}=", key) for key in keys):
        raise ValueError("it is no key; make one with 'rapidflow secret key'")
    return keys


def _login(text: str) -> str:
    if text not in ("users", "proxy"):
        raise ValueError("use users or proxy")
    return text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise ValueError(f"'{name}' is no name of a host; write names like build.example.org")
    return names


def _header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", text):
        raise ValueError("name a header, such as X-Forwarded-User")
    return text


def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(addresses.parse_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"{error}; write addresses like 10.0.0.2 or 10.0.0.0/24") from None


def _source_hosts(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network | str, ...]:
    found: list[ipaddress.IPv4Network | ipaddress.IPv6Network | str] = []
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError:
            if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]{1,5})?", part):
                raise ValueError(
                    f"'{part}' is no host; write hosts like git.example.org, example.org:8443 or 10.0.0.0/24"
                ) from None
            found.append(part)
    return tuple(found)


def _log_format(text: str) -> str:
    if text not in ("text", "json"):
        raise ValueError("use text or json")
    return text


def _grace(text: str) -> int:
    return 0 if text in ("0", "0s") else parse_duration(text)


def _said(parse: Callable[[str], Any], default: str, doc: str) -> dict[str, Any]:
    return {"parse": parse, "default": default, "doc": doc}


def _limit(name: str, default: str, what: str) -> Any:
    """A field for the limit `name` of pipelines that don't set it."""
    return field(metadata=_said(_or_none(name), default, f"{what} when its pipeline sets no `{name}`."))


def _most(name: str) -> Any:
    """A field for what pipelines may set the limit `name` to."""
    return field(metadata=_said(_or_none(name), "none", f"The most that a pipeline may set `{name}` to."))


def _or_none(name: str) -> Callable[[str], Any]:
    return lambda text: None if text == "none" else limits.PARSERS[name](text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Durations are in seconds, sizes in bytes."""

    bind: Bind = field(metadata=_said(_bind, "127.0.0.1:3000", "Address and port to listen on."))
    data: Path = field(
        metadata=_said(
            _folder,
            "~/.local/share/rapidflow",
            "The folder that holds everything: database, logs, git mirrors, work folders.",
        )
    )
    database_url: str = field(
        metadata=_said(
            _database_url,
            "",
            "`sqlite:///absolute/path` or `postgres://user:password@host/name`. "
            "Default: SQLite in the data folder.",
        )
    )
    login: str = field(
        metadata=_said(
            _login,
            "users",
            "Who finds out who somebody is: the server, by its `users` (none needed on a loopback address), "
            "or a `proxy` in front.",
        )
    )
    hosts: tuple[str, ...] = field(
        metadata=_said(
            _names,
            "",
            "Names by which browsers reach the server, separated by commas; `localhost`, the machine's name "
            "and addresses in numbers need not be named.",
        )
    )
    public_url: PublicUrl | None = field(
        default=None,
        metadata=_said(
            parse_public_url,
            "",
            "The URL under which browsers see the server, such as `https://ci.example.com/rapidflow`, where "
            "a proxy in front gives it another host or a path. Default: what each request asks for.",
        ),
    )
    proxy_header: str = field(
        metadata=_said(
            _header, "X-Forwarded-User", "The header in which a proxy that does the login names the user."
        )
    )
    proxy_addresses: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = field(
        metadata=_said(
            _networks,
            "127.0.0.1, ::1",
            "The addresses or networks, separated by commas, from which proxies connect whose "
            "`X-Forwarded-For` and login count. `RAPIDFLOW_LOGIN=proxy` needs it to be set: whoever connects "
            "from there can be any user.",
        )
    )
    secrets_key: tuple[str, ...] = field(
        repr=False,
        metadata=_said(
            _keys,
            "",
            "The key that secrets are encrypted with; while it is changed several, separated by commas, the "
            "newest first. Default: `secrets.key` in the data folder.",
        ),
    )
    executor: str = field(
        metadata=_said(
            _executor,
            "docker",
            "Where builds run: `docker`, or `process` for plain processes on this machine, "
            "without isolation.",
        )
    )
    network: str = field(
        metadata=_said(
            _network,
            "closed",
            "The network of builds in Docker: `closed`, in which they reach neither each other nor this "
            "server nor a cloud's metadata, or the name of one that the engine has, such as `bridge`.",
        )
    )
    dns: tuple[str, ...] = field(
        metadata=_said(
            _addresses,
            "",
            "The name servers of builds in Docker, separated by commas. Default: those of the engine.",
        )
    )
    spare_networks: int = field(
        metadata=_said(
            _spare,
            "2",
            "How many networks are kept ready for the next builds, for ten minutes after the last; each is a "
            "container that does nothing.",
        )
    )
    connections: int = field(
        default=4096,
        metadata=_said(_count, "4096", "Clients that may be connected at once; more are refused."),
    )
    concurrency: int = field(
        metadata=_said(_count, str(os.cpu_count() or 1), "Builds at once. Default: the number of cores.")
    )
    waiting_builds: int | None = field(
        metadata=_said(_builds, "1000", "How many builds may wait; more are refused, or `none` for no limit.")
    )
    waiting_builds_per_user: int | None = field(
        metadata=_said(_builds, "200", "How many builds of one user may wait; more are refused, or `none`.")
    )
    default_image: str = field(
        metadata=_said(
            images.check_image,
            "debian:bookworm-slim",
            "The image of a build for which neither the pipeline nor its repository names a language.",
        )
    )
    timeout: int | None = _limit("timeout", "60m", "How long a build may run")
    silence_timeout: int | None = _limit("silence_timeout", "none", "How long a step may print nothing")
    memory: int | None = _limit("memory", "8g", "The memory that a build may use")
    shm: int | None = _limit("shm", "64m", "The size of `/dev/shm` in a build")
    cpus: float | None = _limit("cpus", "none", "The CPUs that a build may use")
    processes: int | None = _limit("processes", "8192", "The processes and threads that a build may have")
    log_limit: int | None = _limit("log_limit", "1g", "The size of a log from which on only its end is kept")
    max_timeout: int | None = _most("timeout")
    max_silence_timeout: int | None = _most("silence_timeout")
    max_memory: int | None = _most("memory")
    max_shm: int | None = _most("shm")
    max_cpus: float | None = _most("cpus")
    max_processes: int | None = _most("processes")
    max_log_limit: int | None = _most("log_limit")
    grace: int = field(
        metadata=_said(_grace, "10s", "How long a cancelled step may clean up, between SIGTERM and SIGKILL.")
    )
    fetch_timeout: int = field(
        metadata=_said(parse_duration, "10m", "How long fetching the source may take.")
    )
    pull_timeout: int = field(metadata=_said(parse_duration, "30m", "How long pulling an image may take."))
    engine_timeout: int = field(
        metadata=_said(
            parse_duration, "60s", "How long a running build waits for a container engine that went away."
        )
    )
    keep_age: int | None = field(
        metadata=_said(_age, "none", "The age, such as `90d`, from which on finished builds are removed.")
    )
    keep_builds: int | None = field(
        metadata=_said(_builds, "none", "How many finished builds of each pipeline are kept.")
    )
    keep_size: int | None = field(
        metadata=_said(
            _size, "20g", "The size of all logs on the disk, above which the oldest builds are removed."
        )
    )
    keep_mirrors: int | None = field(
        metadata=_said(
            _size, "20g", "The size of all git mirrors, above which the longest unused are removed."
        )
    )
    keep_images: int | None = field(
        metadata=_said(
            _size,
            "50g",
            "The size of the images that builds pulled, above which the longest unused are removed.",
        )
    )
    log_format: str = field(
        metadata=_said(_log_format, "text", "How the server writes its own log: `text` or `json`.")
    )
    body_limit: int = field(
        metadata=_said(limits.parse_size, "1m", "The largest request body that is taken.")
    )
    file_roots: tuple[str, ...] = field(
        metadata=_said(
            _roots,
            "",
            "Folders, separated by `:`, below which `file://` repositories may lie. Default: none.",
        )
    )
    source_hosts: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network | str, ...] = field(
        default=(),
        metadata=_said(
            _source_hosts,
            "",
            "Hosts that submodules and redirects may lead to like the repository's own, also at private "
            "addresses and with the git credentials of the server's user: names, `name:port`, addresses or "
            "networks, separated by commas.",
        ),
    )
    images: Mapping[str, str] = field(
        default_factory=dict[str, str],
        metadata={
            "name": f"{IMAGE_PREFIX}<LANGUAGE>",
            "default": "",
            "doc": "The image of a language, e.g. `RAPIDFLOW_IMAGE_GOLANG=registry.local/golang:{version}`.",
        },
    )

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
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        if setting.name == "images":
            continue
        name = variable(setting.name)
        text = environment.get(name, "") or setting.metadata["default"]
        try:
            values[setting.name] = setting.metadata["parse"](text)
        except ValueError as error:
            said = "not right" if setting.name == "secrets_key" else repr(text)
            raise SettingsError(f"{name} is {said}: {error}.") from None
    if values["login"] == "proxy" and not environment.get(variable("proxy_addresses")):
        raise SettingsError(
            "RAPIDFLOW_LOGIN is 'proxy' and RAPIDFLOW_PROXY_ADDRESSES is not set: name the addresses from "
            "which the proxy connects, such as 127.0.0.1 where only the proxy can connect from this machine."
        )
    return Settings(**values, images=_images(environment))


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
