"""Certificates that nobody knows."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_certificate(key: Path, certificate: Path) -> None:
    """Makes a certificate of this machine and its key, on a curve: RSA keys take long to find."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        capture_output=True,
        check=True,
    )  # fmt: skip


def make_engine_keys(folder: Path, addresses: Iterable[str]) -> None:
    """Makes what engines need that ask for TLS, and their clients.

    The client's files have the names that the docker command looks for; those of an engine are
    `ADDRESS.pem` and `ADDRESS-key.pem`.
    """
    folder.mkdir()
    _openssl("req", "-x509", *_NEW_KEY, "-subj", "/CN=tests", "-keyout", folder / "ca-key.pem",
             "-out", folder / "ca.pem")  # fmt: skip
    _sign(folder, "key.pem", "cert.pem", "extendedKeyUsage=clientAuth")
    for address in addresses:
        extensions = f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth"
        _sign(folder, f"{address}-key.pem", f"{address}.pem", extensions)


def _sign(folder: Path, key: str, certificate: str, extensions: str) -> None:
    (folder / "extensions").write_text(extensions)
    _openssl("req", *_NEW_KEY, "-subj", "/CN=tests", "-keyout", folder / key, "-out", folder / "request")
    _openssl("x509", "-req", "-in", folder / "request", "-CA", folder / "ca.pem",
             "-CAkey", folder / "ca-key.pem", "-CAcreateserial",
             "-extfile", folder / "extensions", "-out", folder / certificate)  # fmt: skip


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], capture_output=True, check=True)
