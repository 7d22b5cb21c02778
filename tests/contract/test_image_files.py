"""What an image has where builds have their own things."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from rapidflow_web.errors import BuildError
from tests.support import images
from tests.support.builds import Place, engine

_NAME = "rapidflow-test/files"


def made(*lines: str) -> str:
    """A new image with these lines in its Dockerfile."""
    text = "\n".join([f"FROM {images.ensure(images.BASH)}", *lines])
    done = subprocess.run(
        ["docker", "build", "--no-cache", "-q", "-"], input=text, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def image(request: pytest.FixtureRequest) -> Iterator[str]:
    """An image with the lines that the test is given."""
    one = made(*request.param)
    yield one
    engine("rmi", "--force", one)


FILES = (
    "RUN mkdir -p /workspace/.git /workspace/sub && "
    "echo old | tee /workspace/.git/HEAD /workspace/sub/old /workspace/.env"
)


@pytest.mark.parametrize(
    "image",
    [
        [FILES],
        [FILES, "VOLUME /workspace"],
        [FILES, "VOLUME /workspace/sub/"],
        [FILES, "RUN echo 'app:x:1234:1234::/:/bin/sh' >> /etc/passwd", "USER app"],
        [FILES, "VOLUME /workspace", "RUN echo 'app:x:1234:1234::/:/bin/sh' >> /etc/passwd", "USER app"],
    ],
    indirect=True,
)
async def test_the_workspace_has_the_source_and_nothing_of_the_image(image: str, docker: Place) -> None:
    for _ in range(2):
        spec = docker.spec(
            "find . -type f; touch new; exit 3", image=images.BASH, files={"sub/a": "", "b": ""}
        )
        build = await docker.begin(docker.in_image(spec, image))
        assert await build.exit(1) == "3", bytes(build.text)
        assert sorted(build.text.split()) == [b"./b", b"./sub/a"]
        await build.remove()


APP = "RUN echo 'app:x:1234:1235::/:/bin/sh' >> /etc/passwd"
MOVED = "mkdir /nix && mv /etc/passwd /nix/passwd &&"


@pytest.mark.parametrize(
    "image",
    [
        [APP, f"RUN {MOVED} ln -s /nix/passwd /etc/passwd", "USER app"],
        [APP, f"RUN {MOVED} ln -s ../nix/passwd /etc/passwd", "USER app"],
        [APP, f"RUN {MOVED} ln -s passwd /nix/two && ln -s /nix/two /etc/passwd", "USER app"],
    ],
    indirect=True,
)
async def test_the_user_of_an_image_is_found_where_its_passwd_is_a_link(image: str, docker: Place) -> None:
    build = await docker.begin(docker.in_image(docker.spec("id -u; touch new"), image))
    assert await build.exit(1) == "0", bytes(build.text)
    assert build.text == b"1234\n"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (
            ["USER app", "USER 0", "RUN ln -sf /gone /etc/passwd", "USER app"],
            "a link to /gone, which the image does not have",
        ),
        (["RUN ln -sf passwd /etc/passwd", "USER app"], "a link to itself"),
        (["RUN rm /etc/passwd && mkdir /etc/passwd", "USER app"], "is not a file"),
        (
            ["RUN ln -sf /dev/zero /etc/passwd", "USER app"],
            "a link to /dev/zero, which the",
        ),
        (["RUN echo 'app:x:many:1::/:/bin/sh' >> /etc/passwd", "USER app"], "'many', of the image's USER"),
        (["RUN head -c 2000000 /dev/zero > /etc/passwd", "USER app"], "is larger than 1024 KiB"),
    ],
    indirect=["image"],
)
async def test_a_passwd_that_can_not_be_read_is_told(image: str, docker: Place, reason: str) -> None:
    with pytest.raises(BuildError) as error:
        await docker.start(docker.in_image(docker.spec("true"), image))
    assert reason in str(error.value)
