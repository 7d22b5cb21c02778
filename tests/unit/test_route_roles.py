"""The table of routes and roles."""

from __future__ import annotations

from pathlib import Path

import pytest

from rapidflow_web.server.app import create_app
from rapidflow_web.settings import from_environment
from rapidflow_web.web import route_roles

PUBLIC = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/static/<path:filename>"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/logout"),
    ("GET", "/pipelines/<pipeline_id>/badge.svg"),
    ("POST", "/hooks/<key>"),
}


def test_every_route_has_a_role_and_only_these_are_for_anybody(tmp_path: Path) -> None:
    app = create_app(from_environment({"RAPIDFLOW_DATA": str(tmp_path)}))
    assert set(route_roles.routes(app)) == route_roles.ROLES.keys()
    assert {route for route, role in route_roles.ROLES.items() if role is None} == PUBLIC


def test_no_route_that_changes_something_is_for_viewers_but_those_of_their_own_affairs() -> None:
    changing = {route: role for route, role in route_roles.ROLES.items() if route[0] != "GET"}
    for_viewers = {route for route, role in changing.items() if role is route_roles.VIEWER}
    assert for_viewers == {
        ("POST", "/tokens"),
        ("DELETE", "/tokens/<token_id>"),
        ("PUT", "/me/password"),
        ("POST", "/ui/account/password"),
        ("POST", "/ui/pipelines/<pipeline_id>/favourite"),
        ("POST", "/ui/account/sessions"),
        ("POST", "/ui/account/tokens"),
        ("POST", "/ui/account/tokens/<token_id>/revoke"),
    }


@pytest.mark.parametrize("change", ["more", "less"])
def test_a_route_without_a_role_and_a_role_without_a_route_stop_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "more":
        monkeypatch.setitem(route_roles.ROLES, ("GET", "/nowhere"), route_roles.VIEWER)
    else:
        monkeypatch.delitem(route_roles.ROLES, ("GET", "/jobs"))
    with pytest.raises(LookupError, match="/nowhere" if change == "more" else "/jobs"):
        create_app(from_environment({"RAPIDFLOW_DATA": str(tmp_path)}))
