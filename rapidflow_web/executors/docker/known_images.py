"""What is known of an engine's images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiodocker


@dataclass(slots=True, eq=False)
class Image:
    """An image. `user` is that of its USER, `volumes` are the folders of its VOLUMEs.

    What only a container in it tells is None until there was one: `owner`, the user in numbers, and
    `occupied`, whether the image has something at /workspace.
    """

    id: str
    user: str
    volumes: tuple[str, ...]
    owner: tuple[int, int] | None = None
    occupied: bool | None = None

    @property
    def covered(self) -> list[str]:
        """The folders by which something of the image would get into the source."""
        inside = [name for name in self.volumes if f"{name}/".startswith("/workspace/")]
        if not self.occupied:
            return inside
        return ["/workspace", *(name for name in inside if name.rstrip("/") != "/workspace")]


class KnownImages:
    """What names of images stood for when the engine was last asked.

    It is asked for each build: not every engine tells of a name that was given to another image.
    """

    def __init__(self, client: Callable[[], aiodocker.Docker]) -> None:
        self._client = client
        self._by_name: dict[str, Image] = {}
        self._by_id: dict[str, Image] = {}

    def last(self, name: str) -> Image | None:
        """The image that `name` stood for when it was last looked for; None if it was not there."""
        return self._by_name.get(name)

    @property
    def names(self) -> frozenset[str]:
        """The names that stood for an image when they were last looked for."""
        return frozenset(self._by_name)

    async def look(self, name: str) -> Image | None:
        """Asks the engine for an image; None where it has none of this name. Raises as aiodocker does."""
        self._by_name.pop(name, None)
        try:
            details: dict[str, Any] = await self._client().images.inspect(name)
        except aiodocker.DockerError as error:
            if error.status == 404:
                return None
            raise
        config: dict[str, Any] = details.get("Config") or {}
        made = Image(details["Id"], config.get("User") or "", tuple(config.get("Volumes") or ()))
        self._by_name[name] = image = self._by_id.setdefault(made.id, made)
        return image
