"""Why a server is not understood where one side speaks TLS and the other does not, or not as it should."""

from __future__ import annotations

import socket
import ssl

_PROBE_SECONDS = 5.0
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""What OpenSSL says of an answer that is not TLS; the last one from version 3.2 on."""


def complaint(error: Exception, url: str) -> str | None:
    """What is wrong with the TLS of the server at `url`, as a sentence; None for another error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {url} is not valid: {error.verify_message}; "
            "SSL_CERT_FILE names a file with those of other authorities"
        )
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return f"{url} does not speak TLS; write http:// instead of https://"
    return None


def is_spoken(host: str, port: int) -> bool:
    """Whether a server speaks TLS, with whatever certificate. Takes some seconds at most."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=_PROBE_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    except (OSError, ValueError):
        return False
