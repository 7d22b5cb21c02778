"""What answers about machines are made of."""

from pydantic import Field, RootModel

from rapidflow_web.api.schemas import Model


class Node(Model):
    """A machine of a cluster. `problem` is why no build begins there, as the end of a sentence about it."""

    id: str
    name: str
    reachable: bool
    problem: str | None
    labels: dict[str, str]
    slots: int = Field(description="The number of builds that it runs at once.")
    taken: int = Field(description="The number of slots that are taken.")
    parked: int = Field(description="The number of containers that wait for a build.")
    jobs: list[int] = Field(description="The jobs that run there, of pipelines that you can see.")


class Nodes(RootModel[list[Node]], defer_build=True):
    """The machines, by name; none where the server runs all builds on one machine."""
