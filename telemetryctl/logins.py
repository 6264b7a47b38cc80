"""Contexts that log in with a password: their access token is renewed before and when it ends."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from telemetryctl import config, times
from telemetryctl.api import contexts
from telemetryctl.client.errors import ServerProblem
from telemetryctl.failures import ConfigurationFailure

RENEWED_BEFORE_S = 60
"""An access token that ends sooner is not used any more."""
_NOT_ALLOWED = 401


def entry_of(answer: dict[str, Any]) -> contexts.Table:
    """What credentials.toml keeps of the answer to a login or a refresh, beside the token."""
    ends_s = int(times.now().timestamp()) + int(answer["expires_in"])
    return {"refresh_token": str(answer["refresh_token"]), "token_ends": ends_s}


def renewed(settings: config.Settings, *, timeout_s: float | None) -> config.Settings:
    """Return the settings with an access token that is good for a while.

    A token that came from anywhere but a login is left as it is. Raises ConfigurationFailure when
    the session has ended, ServerProblem, TryLater.
    """
    if settings.token is None or not _is_of_a_login(settings):
        return settings
    if not _is_ending(_stored(settings)):
        return settings
    value = _next(settings, is_used_up=_is_ending, timeout_s=timeout_s)
    if value is None:
        return settings
    return replace(settings, token=replace(settings.token, value=value))


def successor(settings: config.Settings, refused: str, *, timeout_s: float | None) -> str | None:
    """Return the token that follows one that the server refused; None when it is of no login.

    Raises as `renewed` does.
    """
    if not _is_of_a_login(settings) or not _stored(settings).get("refresh_token"):
        return None
    return _next(
        settings, is_used_up=lambda entry: entry.get("token") == refused, timeout_s=timeout_s
    )


def _is_of_a_login(settings: config.Settings) -> bool:
    """Whether the token is that of the context; whether it can have a successor, the file says."""
    token = settings.token
    is_stored = token is not None and token.origin == contexts.CREDENTIALS_FILE
    return token is not None and is_stored and bool(settings.context) and not token.is_key


def _next(
    settings: config.Settings,
    *,
    is_used_up: Callable[[contexts.Table], bool],
    timeout_s: float | None,
) -> str | None:
    """The token in use from now on, kept. One command renews it, the others find what it kept."""
    assert settings.context is not None
    with contexts.locked(settings.config_folder):
        entry = _stored(settings)
        if not entry.get("refresh_token") or not is_used_up(entry):
            return entry.get("token")
        answer = _refreshed(settings, str(entry["refresh_token"]), timeout_s=timeout_s)
        credentials = contexts.read_credentials(settings.config_folder)
        kept = {"token": str(answer["access_token"])} | entry_of(answer)
        credentials["contexts"][settings.context] = kept
        contexts.write_tables(settings.config_folder / contexts.CREDENTIALS_FILE, credentials)
    return str(answer["access_token"])


def _stored(settings: config.Settings) -> contexts.Table:
    tables = contexts.read_credentials(settings.config_folder)
    found: contexts.Table = tables.get("contexts", {}).get(settings.context, {})
    return found


def _is_ending(entry: contexts.Table) -> bool:
    if not entry.get("refresh_token"):
        return False
    ends_s = entry.get("token_ends")
    if not isinstance(ends_s, int):
        return True
    return ends_s - times.now().timestamp() < RENEWED_BEFORE_S


def _refreshed(
    settings: config.Settings, refresh_token: str, *, timeout_s: float | None
) -> dict[str, Any]:
    from telemetryctl.client.http import Client

    with Client(settings.server, timeout_s=timeout_s) as client:
        try:
            return client.refresh(refresh_token)
        except ServerProblem as problem:
            if problem.status != _NOT_ALLOWED:
                raise
            raise ConfigurationFailure(
                f'the login of context "{settings.context}" has ended',
                hint=f"telemetryctl login {settings.server} --username NAME",
            ) from problem


def end(entry: contexts.Table, *, server: str, timeout_s: float | None) -> bool:
    """End the session of a stored login on its server; False when that could not be told."""
    from telemetryctl.client.http import Client
    from telemetryctl.failures import TryLater

    with Client(server, timeout_s=timeout_s, tries=1) as client:
        try:
            client.end_session(str(entry["refresh_token"]))
        except (ServerProblem, TryLater):
            return False
    return True
