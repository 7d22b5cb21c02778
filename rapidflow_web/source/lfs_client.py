"""Downloads from a Git LFS server, with the credentials that git has for it.

Every connection goes through the proxy that git is given, which decides to where it leads: the addresses of
downloads and redirects are the server's own choice. git-lfs connects to this machine past any proxy.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import netrc
import os
import ssl
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urljoin, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from rapidflow_web.pipeline.clone_credentials import origin
from rapidflow_web.progress import ByteCount, about, untold
from rapidflow_web.source.git import GitError, GitOptions, git, plain, without_credentials
from rapidflow_web.source.remote import http_settings

_JSON = "application/vnd.git-lfs+json"
_BATCH = 100
_AT_ONCE = 4
_CHUNK = 1024 * 1024
_LARGEST_ANSWER = 2 * 1024 * 1024
_REDIRECTS = 5
_FALSE = ("false", "no", "off", "0")
_SILENCE = 60.0
"""Seconds that a server may say nothing."""


@dataclass(frozen=True, slots=True)
class LfsObject:
    """A file in LFS: its SHA-256 in hexadecimal digits, and its bytes."""

    oid: str
    size: int

    def path(self, storage: Path) -> Path:
        """Where git-lfs keeps it below its storage."""
        return storage / "objects" / self.oid[:2] / self.oid[2:4] / self.oid


async def download(
    url: str,
    wanted: Sequence[LfsObject],
    storage: Path,
    cwd: Path,
    options: GitOptions,
    headers: Mapping[str, str],
) -> None:
    """Downloads objects from the LFS server at `url` to where git-lfs keeps them. Raises `GitError`.

    `options` are those with which git would connect to it from the folder `cwd`, with whom to tell of the
    progress; it gets `headers` as well.
    """
    settings = await http_settings(cwd, url, options)
    try:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=_AT_ONCE, ssl=await asyncio.to_thread(_tls, settings, options)
            ),
            proxy=_proxy(options),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE),
        ) as session:
            name, colon, value = settings.get("http.extraheader", "").partition(":")
            own = {**({name.strip(): value.strip()} if colon else {}), **headers}
            server = _Server(url, session, cwd, options, own, sum(item.size for item in wanted))
            for some in _batches(wanted):
                await server.download(some, storage)
    except TimeoutError:
        raise GitError(f"{_shown(url)} does not answer") from None
    except aiohttp.ClientError as error:
        raise GitError(f"unable to access '{_shown(url)}': {_shown(str(error))}") from None
    except (ssl.SSLError, ValueError) as error:
        # An address or a header of a download is none, for example.
        raise GitError(f"{_shown(url)} can't be used: {_shown(str(error))}") from None


class _Server:
    """An LFS server; `own` are headers that only it is sent, `total` the bytes of all downloads."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        cwd: Path,
        options: GitOptions,
        own: dict[str, str],
        total: int,
    ) -> None:
        told = about("downloading Git LFS files", options.progress or untold)
        self._bytes = ByteCount(told, total)
        self._url = url
        self._session = session
        self._cwd = cwd
        self._options = options
        self._own = own

    async def download(self, wanted: Sequence[LfsObject], storage: Path) -> None:
        actions = await self._actions(wanted)
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(item: LfsObject, href: str, headers: dict[str, str]) -> None:
            async with slots, self._requested("GET", href, headers, None) as response:
                await _store(response, item, storage, self._bytes.add)

        try:
            async with asyncio.TaskGroup() as group:
                for item, (href, headers) in actions.items():
                    group.create_task(one(item, href, headers))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _actions(self, wanted: Sequence[LfsObject]) -> dict[LfsObject, tuple[str, dict[str, str]]]:
        """From where each is downloaded, and with which headers."""
        asked = {"operation": "download", "transfers": ["basic"], "hash_algo": "sha256"}
        objects = [{"oid": item.oid, "size": item.size} for item in wanted]
        body = json.dumps({**asked, "objects": objects}).encode()
        answer = await self._answer(f"{self._url.rstrip('/')}/objects/batch", body)
        by_oid = {str(entry.get("oid")): entry for entry in map(_mapping, _list(answer.get("objects")))}
        actions: dict[LfsObject, tuple[str, dict[str, str]]] = {}
        for item in wanted:
            entry = by_oid.get(item.oid, {})
            action = _mapping(_mapping(entry.get("actions")).get("download"))
            href = action.get("href")
            if not isinstance(href, str):
                said = "" if self._options.quiet else str(_mapping(entry.get("error")).get("message", ""))
                words = f"missing object {item.oid[:12]} on {_shown(self._url)}"
                raise GitError(f"{words}: {plain(said)[:200]}" if said else words)
            headers = {name: str(value) for name, value in _mapping(action.get("header")).items()}
            actions[item] = urljoin(self._url, href), headers
        return actions

    async def _answer(self, url: str, body: bytes) -> dict[str, Any]:
        headers = {"Accept": _JSON, "Content-Type": _JSON}
        async with contextlib.AsyncExitStack() as stack:
            response = await stack.enter_async_context(self._requested("POST", url, headers, body))
            if response.status == 401:
                async for login in self._logins():
                    self._own["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
                    response = await stack.enter_async_context(self._requested("POST", url, headers, body))
                    if response.status != 401:
                        break
            if response.status != 200:
                raise GitError(f"{_shown(url)} answers with the status {response.status}")
            text = bytearray()
            async for chunk in response.content.iter_any():
                text += chunk
                if len(text) > _LARGEST_ANSWER:
                    raise GitError(f"{_shown(url)} answers with more than {_LARGEST_ANSWER // 1024**2} MiB")
        try:
            return _mapping(json.loads(text))
        except (ValueError, RecursionError):
            raise GitError(f"{_shown(url)} does not answer like a Git LFS server") from None

    async def _logins(self) -> AsyncGenerator[str]:
        """Each `user:password` for the server that is known, in git's own order."""
        parts = urlsplit(self._url)
        if found := await asyncio.to_thread(_in_netrc, parts.hostname or "", self._options):
            yield found
        path = parts.path.strip("/").removesuffix("/info/lfs")
        user, at, host = parts.netloc.rpartition("@")
        asked = f"protocol=https\nhost={host}\npath={path}\n" + (f"username={user}\n" if at else "")
        filled = await git("credential", "fill", cwd=self._cwd, options=self._options, text=f"{asked}\n")
        lines = {name: value for name, _, value in (line.partition("=") for line in filled.splitlines())}
        yield f"{lines.get('username', '')}:{lines.get('password', '')}"

    @contextlib.asynccontextmanager
    async def _requested(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The answer after redirects, of which none to another server takes headers along."""
        first = origin(url)
        for _ in range(_REDIRECTS):
            if (there := origin(url)) is None:
                raise GitError(f"{_shown(self._url)} leads to a URL that is not https")
            sent = CIMultiDict({"Accept-Encoding": "identity"})
            sent.update(self._own if there == origin(self._url) else {})
            sent.update(headers if there == first else {})
            where = URL(url, encoded=True)
            if there == origin(self._url):
                where = where.with_user(None)  # its login is a header, and there can't be both
            async with self._session.request(
                method, where, headers=sent, data=body, allow_redirects=False
            ) as response:
                if response.status not in (301, 302, 303, 307, 308):
                    yield response
                    return
                url = urljoin(url, response.headers.get("Location", ""))
        raise GitError(f"{_shown(self._url)} redirects too often")


async def _store(
    response: aiohttp.ClientResponse, item: LfsObject, storage: Path, came: Callable[[int], None]
) -> None:
    if response.status != 200:
        raise GitError(f"the download of {item.oid[:12]} fails with the status {response.status}")
    path = item.path(storage)
    digest, size = hashlib.sha256(), 0
    # What a killed server leaves of that name is cleared away with the mirror's own.
    file = _new_file(path.parent)  # in no thread, which would leave it when this is cancelled
    try:
        async for chunk in response.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > item.size:
                break
            await asyncio.to_thread(_add, file, digest, chunk)
            came(len(chunk))
        if size != item.size or digest.hexdigest() != item.oid:
            raise GitError(f"what was downloaded is not the object {item.oid[:12]}")
        await asyncio.to_thread(file.close)
        await asyncio.to_thread(Path(file.name).replace, path)
    except BaseException:
        # It may have its place already, when this is cancelled.
        Path(file.name).unlink(missing_ok=True)  # noqa: ASYNC240
        with contextlib.suppress(OSError):  # on a full disk it can't be written even now
            file.close()
        raise


def _new_file(folder: Path) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=folder, prefix="tmp_", delete=False)


def _add(file: IO[bytes], digest: Any, chunk: bytes) -> None:
    digest.update(chunk)
    file.write(chunk)


def _proxy(options: GitOptions) -> str:
    proxy = dict(options.settings).get("http.proxy", "")  # the last one, as for git
    if not proxy:
        raise GitError("Git LFS files are fetched by https only")
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise GitError("Git LFS files are not fetched through a proxy of that kind; configure one by http://")
    return proxy


def _tls(settings: Mapping[str, str], options: GitOptions) -> ssl.SSLContext:
    """As git has it: the variables count for more than the settings."""
    variables = {**os.environ, **options.variables}

    def said(variable: str, setting: str) -> str | None:
        value = variables.get(variable) or settings.get(setting)
        return str(Path(value).expanduser()) if value else None

    try:
        context = ssl.create_default_context(
            cafile=said("GIT_SSL_CAINFO", "http.sslcainfo"), capath=said("GIT_SSL_CAPATH", "http.sslcapath")
        )
        if certificate := said("GIT_SSL_CERT", "http.sslcert"):
            # With an empty password, OpenSSL asks nobody for one.
            context.load_cert_chain(certificate, said("GIT_SSL_KEY", "http.sslkey"), password="")
    except OSError as error:
        raise GitError(f"the certificates of git's configuration can't be read: {error.strerror}") from None
    if variables.get("GIT_SSL_NO_VERIFY") or settings.get("http.sslverify", "").lower() in _FALSE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _in_netrc(host: str, options: GitOptions) -> str | None:
    if "HOME" in options.variables or options.has_login:
        return None  # nothing of the server's user counts, or the pipeline's own login does
    try:
        found = netrc.netrc(Path("~/.netrc").expanduser()).authenticators(host)
    except (OSError, RuntimeError, netrc.NetrcParseError, UnicodeDecodeError):
        return None
    return f"{found[0]}:{found[2]}" if found else None


def _batches(wanted: Sequence[LfsObject]) -> list[Sequence[LfsObject]]:
    return [wanted[start : start + _BATCH] for start in range(0, len(wanted), _BATCH)]


def _mapping(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else []


def _shown(url: str) -> str:
    return plain(without_credentials(url))[:300]
