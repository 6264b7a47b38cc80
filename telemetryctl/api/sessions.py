"""Logging in: what a credential is exchanged for, and how that goes on."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from telemetryctl.api.model import Answer, Input

Token = Annotated[str, Field(min_length=1, max_length=8_192)]
Username = Annotated[str, Field(min_length=1, max_length=64)]
Password = Annotated[str, Field(min_length=1, max_length=1_024)]


class Login(Input):
    """Either a key, or the name and password of an account."""

    api_key: Token | None = None
    username: Username | None = None
    password: Password | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        by_name = self.username is not None and self.password is not None
        by_half = self.username is not None or self.password is not None
        if (self.api_key is None) != by_name or (by_half and not by_name):
            raise ValueError("either api_key, or username and password")
        return self


class Refresh(Input):
    """The refresh token of the last answer; it is used once."""

    refresh_token: Token


class Logout(Input):
    """A refresh token of the session that ends; without it the access token of the request says
    which."""

    refresh_token: Token | None = None


class Tokens(Answer):
    """A short access token, and what gets the next one; `expires_in` is in seconds."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int


class LoggedOut(Answer):
    """The session has ended."""

    success: bool
    message: str
