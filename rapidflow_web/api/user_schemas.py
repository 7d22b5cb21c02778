"""The shapes of users, tokens, visibility, secrets and the audit log; see `schemas.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints

from rapidflow_web.accounts.credentials import LONGEST_TOKEN_LIFE, LONGEST_TOKEN_NAME, USER_NAME
from rapidflow_web.api.schemas import Absent, Name, Page, Time
from rapidflow_web.web.requests import LARGEST_ID

_MANY = 1_000
RoleName = Literal["viewer", "builder", "admin"]
UserName = Annotated[str, StringConstraints(pattern=USER_NAME)]
_Password = Annotated[str, StringConstraints(min_length=8, max_length=1024)]
_Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]


class Me(BaseModel):
    """Who sends the request. `name` is null where nobody needs to log in."""

    name: str | None
    role: RoleName
    token: str | None = Field(description="The name of the token that was shown, if it was one.")


class User(BaseModel):
    """Who may log in."""

    id: int
    name: str
    role: RoleName
    has_password: bool
    created_at: Time


class Users(RootModel[list[User]]):
    """The users by name."""


class NewUser(BaseModel):
    """A user to add."""

    model_config = ConfigDict(extra="forbid")

    name: UserName
    role: RoleName = "viewer"
    password: _Password | None = None


class ChangedUser(BaseModel):
    """What to change of a user; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    role: RoleName | None = None
    password: _Password | None = None


class NewPassword(BaseModel):
    """Another password for yourself."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field(description="The present one.")
    new_password: _Password


class Token(BaseModel):
    """What a program shows instead of a password."""

    id: int
    user: str
    name: str
    role: RoleName
    pipelines: list[int] | None = Field(description="All that it may see; null for what its user may see.")
    created_at: Time
    expires_at: Time | None
    used_at: Time | None = Field(description="When it was last used, to the minute.")


class Tokens(RootModel[list[Token]]):
    """Tokens, newest first."""


class CreatedToken(Token):
    """A token that was just made. `secret` is shown only here."""

    secret: str


class NewToken(BaseModel):
    """A token to make."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Name, StringConstraints(max_length=LONGEST_TOKEN_NAME)]
    role: RoleName | None = None
    pipelines: Annotated[list[_Id], Field(max_length=_MANY)] | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=LONGEST_TOKEN_LIFE)] | None = None


class Secret(BaseModel):
    """A secret, whose value is never sent."""

    name: str
    updated_at: Time
    updated_by: str


class Secrets(RootModel[list[Secret]]):
    """Secrets by name."""


class NewSecret(BaseModel):
    """A value to store."""

    model_config = ConfigDict(extra="forbid")

    value: str = Field(description="From 6 bytes to 64 KiB.")


class DeedPage(Page):
    """Which part of the audit log to send."""

    user: Annotated[str | Absent, Field(description="Only what this user did, with tokens, too.")] = None


class Deed(BaseModel):
    """What somebody did: `action` to `target`, with the status that was answered."""

    id: int
    at: Time
    actor: str
    address: str
    action: str
    target: str
    status: int
    count: int = Field(description="How often it was refused in the hour after `at`; else 1.")


class Deeds(RootModel[list[Deed]]):
    """The audit log, newest first."""
