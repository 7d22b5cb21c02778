"""The form that starts a build, and that runs one again with changes."""

from __future__ import annotations

import html
import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from rapidflow_web.pipeline.variables import HIDDEN, MAX_VARIABLES
from tests.support.server import Answer, Server


def form_of(server: Server, path: str) -> dict[str, str]:
    """What a browser sends of the form, as it was shown."""
    page = server.get(path).text
    form = page[page.index('id="start"') :]
    form = form[: form.index("</form>")]
    fields: dict[str, str] = {}
    for tag in re.findall(r"<input [^>]*>", form):
        said = dict(re.findall(r'([a-z]+)="([^"]*)"', tag))
        fields[html.unescape(said["name"])] = re.sub(r"[\r\n]", "", html.unescape(said.get("value", "")))
    for name, text in re.findall(r'<textarea [^>]*name="([^"]*)"[^>]*>([^<]*)</textarea>', form):
        text = html.unescape(text).removeprefix("\n")
        fields[html.unescape(name)] = re.sub(r"\r\n|\r|\n", "\r\n", text)
    return fields


def send(server: Server, pipeline: int, fields: dict[str, str]) -> Answer:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return server.request("POST", f"/ui/pipelines/{pipeline}/jobs", urlencode(fields), headers)


def started(server: Server, answer: Answer) -> dict[str, str]:
    """The variables of the build that was started."""
    assert answer.status == 303, answer.text
    job = int(answer.headers["location"].rsplit("/", 1)[1])
    details: dict[str, Any] = server.wait_finished(job)
    return {one["key"]: one["value"] for one in details["environments"]}


def test_a_form_that_was_left_open_overrides_nothing(server: Server):
    config: dict[str, Any] = {"name": "Left open", "env": {"A": "1", "B": "1"}, "steps": ["true"]}
    pipeline = server.pipeline(config)
    fields = form_of(server, f"/ui/pipelines/{pipeline}")
    config["env"] = {"A": "2", "B": "2"}
    answer = server.request(
        "PUT", f"/pipelines/{pipeline}", json.dumps(config), {"Content-Type": "application/yaml"}
    )
    assert answer.status == 200
    assert started(server, send(server, pipeline, fields | {"variable:B": "mine"})) == {"A": "2", "B": "mine"}
    # Nor does it after it was sent with a mistake.
    refused = send(server, pipeline, fields | {"environment": "nonsense"})
    assert refused.status == 422
    assert 'name="variable:A" value="2"' in refused.text


def test_a_variable_with_a_field_and_a_line_is_refused(server: Server):
    pipeline = server.pipeline({"name": "Both", "env": {"A": "1", "B": "1"}, "steps": ["true"]})
    fields = form_of(server, f"/ui/pipelines/{pipeline}") | {"environment": "A=line"}
    refused = send(server, pipeline, fields | {"variable:A": "field"})
    assert refused.status == 422 and "&#39;A&#39; has a field above; leave its line out" in refused.text
    assert 'name="variable:A" value="field"' in refused.text and "A=line</textarea>" in refused.text
    # A field that shows the default says nothing.
    assert started(server, send(server, pipeline, fields | {"variable:B": "2"})) == {"A": "line", "B": "2"}


def test_a_form_may_have_as_many_fields_as_a_build_has_variables(server: Server):
    env = {f"V{number}": "x" for number in range(MAX_VARIABLES)}
    pipeline = server.pipeline({"name": "Many", "env": env, "steps": ["true"]})
    fields = form_of(server, f"/ui/pipelines/{pipeline}")
    assert len(fields) > MAX_VARIABLES
    assert started(server, send(server, pipeline, fields | {"variable:V7": "y"})) == env | {"V7": "y"}


def test_variables_of_several_lines_are_run_with_again(server: Server):
    pipeline = server.pipeline({"name": "Lines", "env": {"A": "1\r2"}, "steps": ["true"]})
    ran = {"KEY": "-----BEGIN-----\nabc\n-----END-----", "ODD": "x\u2028Y=1\x0bz", "CR": "a\rb"}
    job = server.start_build(pipeline, environments=ran)
    server.wait_finished(job)
    path = f"/ui/pipelines/{pipeline}?from={job}"
    fields = form_of(server, path)
    assert f"Not filled in from #{job} (contains carriage returns): CR." in server.get(path).text
    assert fields["variable:KEY"] == ran["KEY"].replace("\n", "\r\n")
    del ran["CR"]
    assert started(server, send(server, pipeline, fields)) == {"A": "1\r2", **ran}


def test_no_secret_becomes_a_value(server: Server):
    config: dict[str, Any] = {"name": "Was secret", "secrets": ["TOKEN"], "steps": ["true"]}
    pipeline = server.pipeline(config | {"secrets": []})
    plain = server.start_build(pipeline, environments={"TOKEN": "was plain", "STARS": HIDDEN, "B": "b"})
    server.wait_finished(plain)
    assert set(form_of(server, f"/ui/pipelines/{pipeline}?from={plain}")["environment"].split()) == {
        "TOKEN=was", "plain", "B=b",
    }  # fmt: skip
    # Now it is one.
    answer = server.request(
        "PUT", f"/pipelines/{pipeline}", json.dumps(config), {"Content-Type": "application/yaml"}
    )
    assert answer.status == 200
    assert form_of(server, f"/ui/pipelines/{pipeline}?from={plain}")["environment"].strip() == "B=b"


def test_a_build_of_a_deleted_pipeline_can_not_be_changed(server: Server):
    pipeline = server.pipeline({"name": "Gone soon", "steps": ["true"]})
    job = server.start_build(pipeline)
    server.wait_finished(job)
    assert "Run again with changes" in server.get(f"/ui/jobs/{job}").text
    assert server.request("DELETE", f"/pipelines/{pipeline}").status in (200, 204)
    assert "Run again with changes" not in server.get(f"/ui/jobs/{job}").text


@pytest.mark.parametrize("defaults", ["", "=", "A", "A=", "A=1 A=2", "\0", "A=" + "x" * 10_000])
def test_any_defaults_are_read(server: Server, defaults: str):
    pipeline = server.pipeline({"name": "Odd defaults", "env": {"A": "1"}, "steps": ["true"]})
    fields = form_of(server, f"/ui/pipelines/{pipeline}") | {"defaults": defaults}
    assert started(server, send(server, pipeline, fields)) == {"A": "1"}
