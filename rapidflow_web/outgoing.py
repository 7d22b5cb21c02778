"""HTTP requests to forges and webhooks: their limits, certificates and proxies. No cookies are kept.

Files in Git LFS are fetched as git would do it, so `source/lfs_client.py` makes sessions of its own.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import ssl
from collections.abc import Mapping

import aiohttp
from yarl import URL

TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)


async def session(headers: Mapping[str, str] = {}) -> aiohttp.ClientSession:
    """A session, for an `async with`. `headers` are those of each request."""
    connector = aiohttp.TCPConnector(ssl=await asyncio.to_thread(trusting))
    return aiohttp.ClientSession(
        connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar(), timeout=TIMEOUT
    )


def proxy_of(url: URL) -> str | None:
    """That of the environment. aiohttp's own way would look into ~/.netrc, too, and send what it finds."""
    # Imported by `trusting`, which a session comes before.
    from urllib.request import getproxies, proxy_bypass

    if url.host is None or proxy_bypass(url.host):
        return None
    return getproxies().get(url.scheme)


@functools.cache
def trusting() -> ssl.SSLContext:
    """Trusts the certificates of the machine, or those that SSL_CERT_FILE and SSL_CERT_DIR name.

    To read them takes some 50 ms, so it is done once, in a thread, not at the start: see `server/imports.py`.
    """
    # Also what `proxy_of` needs, for which the event loop would have to wait.
    importlib.import_module("urllib.request")
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
