"""The keys that secrets are encrypted with: in a file of the data folder, or from the environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rapidflow_web import private_files
from rapidflow_web.data_folder import SECRETS_KEY
from rapidflow_web.errors import RequestError

MASK = "mask"
"""What a mask that is encrypted says of itself first."""


class VaultError(RequestError):
    """Secrets can't be stored or read as things are."""

    status = 500


class Keys:
    """The keys of an installation, the newest first. `given` are those of the settings, if any."""

    def __init__(self, root: Path, given: Sequence[str]) -> None:
        self.path = root / SECRETS_KEY
        self.given = tuple(given)

    def read(self) -> list[str]:
        """All keys; there is none before the first secret. Raises `VaultError`."""
        if self.given:
            return list(self.given)
        try:
            return self.path.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise VaultError(f"{self.path}, which has the key of all secrets, can't be read") from error

    def ensure(self) -> list[str]:
        """All keys; makes the first one. Raises `VaultError`."""
        keys = self.read()
        if not keys:
            keys = [new_key()]
            self.write(keys)
        return keys

    def write(self, keys: Sequence[str]) -> None:
        """Stores keys, whole or not at all. Raises `VaultError`."""
        try:
            private_files.write_atomically(self.path, ("\n".join(keys) + "\n").encode("ascii"))
        except OSError as error:
            raise VaultError(
                f"{self.path}, the key of all secrets, can't be written: {error.strerror}"
            ) from None


def new_key() -> str:
    """A new key, as text."""
    # Only where something is secret: it takes 9 MB.
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
