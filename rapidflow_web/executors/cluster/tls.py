"""How engines on other machines are spoken with over TLS."""

from __future__ import annotations

import ssl

from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.cluster.inventory import Certificates


class KeysUnusable(EngineUnavailable):
    """The server's own keys are missing or damaged."""


def is_refusal(error: BaseException | None) -> bool:
    """Whether one side of a connection did not accept the certificate of the other."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None


def context_of(certificates: Certificates) -> ssl.SSLContext:
    """A context that trusts the CA of `certificates` and no other. Raises `KeysUnusable`.

    It reads the files now: new keys need a new context, and connections that are open keep theirs.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = not certificates.of_relays
    try:
        context.load_verify_locations(certificates.ca)
        context.load_cert_chain(certificates.certificate, certificates.key)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or error
        raise KeysUnusable(f"the keys beside {certificates.certificate} can't be used: {reason}") from error
    return context
