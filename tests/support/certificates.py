"""Certificates that nobody knows."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificate(key: Path, certificate: Path) -> None:
    """Makes a certificate of this machine and its key, on a curve: RSA keys take long to find."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        capture_output=True,
        check=True,
    )  # fmt: skip
