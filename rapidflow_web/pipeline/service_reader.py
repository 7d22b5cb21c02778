"""Reads `services`: the containers beside the steps of a build or a job."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import yaml

from rapidflow_web.pipeline import images, language
from rapidflow_web.pipeline.build_reader import BuildReader, check_content
from rapidflow_web.pipeline.definition import Service
from rapidflow_web.pipeline.durations import format_duration, parse_duration
from rapidflow_web.pipeline.reader import is_null, within
from rapidflow_web.pipeline.suggestions import short

MAX_SERVICES = 10
_MAX_PORTS = 50
_LONGEST_READY = 3600
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class ServiceReader(BuildReader):
    """Reads `services`; see `Reader` for what becomes of what is not right."""

    def services(self, keys: Mapping[str, yaml.Node], place: str) -> tuple[Service, ...]:
        """The services."""
        node, field = keys.get("services"), within(place, "services")
        if node is None or is_null(node):
            return ()
        found = self.mapping(node, field, "'services'", check=_check_service_name) or {}
        if len(found) > MAX_SERVICES:
            self.note(
                field, node.start_mark, f"there are {len(found)} services; at most {MAX_SERVICES} can be run"
            )
            return ()
        return tuple(self._service(name, one, f"{field}.{name}") for name, one in found.items())

    def _service(self, name: str, node: yaml.Node, field: str) -> Service:
        keys = self.mapping(node, field, f"the service '{name}'", language.SERVICE) or {}
        image = self.text(keys, "image", images.check_image, field)
        if "image" not in keys or is_null(keys["image"]):
            self.note_missing(f"{field}.image", node, f"the service '{name}' needs an 'image'")
        ports: tuple[str, ...] = ()
        if (listed := keys.get("ports")) is not None and not is_null(listed):
            check = whole_number("a port", range(1, 65536))
            ports = self._list(
                listed, f"{field}.ports", "'ports'", lambda text: str(check(text)), "ports", _MAX_PORTS
            )
        timeout = self.text(keys, "ready_timeout", _check_ready_timeout, field, any_scalar=True)
        return Service(
            name,
            image or "",
            self.environment(keys, field),
            tuple(map(int, ports)),
            self.text(keys, "ready", check_content, field, script=True),
            timeout or 60,
            self.text(keys, "command", check_content, field, script=True),
        )


def _check_service_name(text: str) -> None:
    if not _HOST_NAME.fullmatch(text) or text == "localhost":
        raise ValueError(
            f"'{short(text)}' can't name a service; use lower-case letters, digits and '-', as in a host name"
        )


def _check_ready_timeout(text: str) -> int:
    seconds = parse_duration(text)
    if seconds > _LONGEST_READY:
        raise ValueError(f"'ready_timeout' may be at most {format_duration(_LONGEST_READY)}")
    return seconds


def whole_number(what: str, allowed: range) -> Callable[[str], int]:
    """Reads a whole number in a range; raises ValueError with a sentence about `what`."""

    def check(text: str) -> int:
        number = int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None
        if number is None or number not in allowed:
            raise ValueError(
                f"{what} can't be '{short(text)}'; use a number from {allowed.start} to {allowed.stop - 1}"
            )
        return number

    return check
