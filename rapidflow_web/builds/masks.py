"""What is not to be read of a build: the secrets that it is given, and what its steps add."""

from __future__ import annotations

from collections.abc import Iterable

from rapidflow_web.logs.masking.masker import Masker
from rapidflow_web.secrets.vault import Vault


class Masks:
    """The values that one build masks, as the vault has them for whoever takes the build up."""

    def __init__(self, vault: Vault, job_id: int) -> None:
        self.values: list[str] = []
        self._vault = vault
        self._job_id = job_id
        self._masker: Masker | None = None

    async def load(self) -> None:
        """Knows what was added for the build, by any server. Raises `VaultError`."""
        self.values, self._masker = await self._vault.masks_of(self._job_id), None

    async def add(self, values: Iterable[str]) -> None:
        """Masks more; when it returns they are stored. Raises `VaultError`."""
        new = [value for value in values if value not in self.values]
        await self._vault.add_masks(self._job_id, new)
        self.values, self._masker = [*self.values, *new], None

    def hide(self, text: str) -> str:
        """What may be shown of a sentence, a command line or the like."""
        if not self.values:
            return text
        if self._masker is None:
            self._masker = Masker(self.values)
        return self._masker.mask(text)
