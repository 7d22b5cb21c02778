"""The shapes of users, tokens, visibility, secrets and the audit log; see `schemas.py`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, RootModel, StringConstraints

from rapidflow_web.accounts.credentials import (
    LONGEST_TOKEN_LIFE,
    LONGEST_TOKEN_NAME,
    USER_NAME,
    check_name,
)
from rapidflow_web.api.query_schemas import Page
from rapidflow_web.api.schemas import Absent, Name, Time
from rapidflow_web.web.requests import LARGEST_ID, Model

_MANY = 1_000
RoleName = Literal["viewer", "builder", "admin"]


def _user_name(name: str) -> str:
    check_name(name)
    return name


UserName = Annotated[str, AfterValidator(_user_name), Field(json_schema_extra={"pattern": USER_NAME})]
_Password = Annotated[str, StringConstraints(min_length=8, max_length=1024)]
_Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]


class Me(Model):
    """The authenticated user. `name` is null if no login is required."""

    name: str | None
    role: RoleName
    token: str | None = Field(description="The name of the token that authenticated the request, if any.")


class User(Model):
    """A user account."""

    id: int
    name: str
    role: RoleName
    has_password: bool
    created_at: Time


class Users(RootModel[list[User]], defer_build=True):
    """Users, sorted by name."""


class NewUser(Model):
    """A user to add."""

    model_config = ConfigDict(extra="forbid")

    name: UserName
    role: RoleName = "viewer"
    password: _Password | None = None


class ChangedUser(Model):
    """Changes to a user; omitted fields stay as they are."""

    model_config = ConfigDict(extra="forbid")

    role: RoleName | None = None
    password: _Password | None = None


class NewPassword(Model):
    """A new password for yourself."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field(description="The current password.")
    new_password: _Password


class Token(Model):
    """An API token, which programs send instead of a password."""

    id: int
    user: str
    name: str
    role: RoleName
    pipelines: list[int] | None = Field(
        description="The only pipelines it can see; null for all that its user can see."
    )
    created_at: Time
    expires_at: Time | None
    used_at: Time | None = Field(description="The time of its last use, to the minute.")


class Tokens(RootModel[list[Token]], defer_build=True):
    """Tokens, newest first."""


class CreatedToken(Token):
    """A new token. `secret` is shown only once, here."""

    secret: str


class NewToken(Model):
    """A token to create."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Name, StringConstraints(max_length=LONGEST_TOKEN_NAME)]
    role: RoleName | None = None
    pipelines: Annotated[list[_Id], Field(max_length=_MANY)] | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=LONGEST_TOKEN_LIFE)] | None = None


class Secret(Model):
    """A secret; its value is never shown."""

    name: str
    updated_at: Time
    updated_by: str


class Secrets(RootModel[list[Secret]], defer_build=True):
    """Secrets, sorted by name."""


class NewSecret(Model):
    """A value to store."""

    model_config = ConfigDict(extra="forbid")

    value: str = Field(description="From 6 bytes to 64 KiB.")


class AuditPage(Page):
    """Filters of the audit log."""

    user: Annotated[
        str | Absent, Field(description="Only the activity of this user, including their tokens.")
    ] = None


class AuditEntry(Model):
    """An audit entry: `action` on `target`, with the HTTP status of the response."""

    id: int
    at: Time
    actor: str
    address: str
    action: str
    target: str
    status: int
    count: int = Field(
        description="For rejected requests, the number of attempts in the hour after `at`; otherwise 1."
    )


class AuditEntries(RootModel[list[AuditEntry]], defer_build=True):
    """The audit log, newest first."""
