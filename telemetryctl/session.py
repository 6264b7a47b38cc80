"""What a command works with: its settings, its streams, its renderer and its client."""

import os
import sys
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from telemetryctl import config, times
from telemetryctl.failures import UsageFailure
from telemetryctl.output.console import Console, check_color
from telemetryctl.output.render import Renderer

if TYPE_CHECKING:
    from telemetryctl.client.credential import Credential
    from telemetryctl.client.doors import Endpoint
    from telemetryctl.client.http import Client

DEFAULT_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Session:
    """One run of one command; parts are made when they are first asked for.

    `timeout_s` bounds each request with its retries; None means no bound.
    """

    flags: config.Flags
    console: Console
    fields: tuple[str, ...] = ()
    has_headers: bool = True
    timeout_s: float | None = DEFAULT_TIMEOUT_S
    may_ask: bool = True
    is_wide: bool = False
    record_end: str = "\n"

    @cached_property
    def settings(self) -> config.Settings:
        """The settings; reading them may fail with exit code 2 or 78."""
        settings = config.resolve(self.flags)
        if settings.token is None or settings.token.is_key:
            return settings
        from telemetryctl import logins

        return logins.renewed(settings, timeout_s=self.timeout_s)

    @cached_property
    def zone(self) -> tzinfo | None:
        """The zone for times in and out; None is the system's."""
        return times.parse_zone(self.settings.tz)

    @cached_property
    def renderer(self) -> Renderer:
        """The writer of data."""
        return Renderer(
            self.console,
            format_name=self.settings.output,
            fields=self.fields,
            has_headers=self.has_headers,
            zone=self.zone,
            is_wide=self.is_wide,
            record_end=self.record_end,
        )

    @cached_property
    def client(self) -> "Client":
        """The client of the server in the settings."""
        return self._client(self.settings.server, credential=self.credential)

    @cached_property
    def credential(self) -> "Credential":
        """What the server is shown; a login's token is renewed also while the command runs."""
        from telemetryctl.client.credential import Credential, credential_of

        settings, token = self.settings, self.settings.token
        if token is None or token.is_key:
            return credential_of(token, signing_key_file=settings.signing_key_file)
        from telemetryctl import logins

        def renew(refused: str) -> str | None:
            return logins.successor(settings, refused, timeout_s=self.timeout_s)

        return Credential(token.value, renew)

    @property
    def endpoint(self) -> "Endpoint":
        """Where the streams of the server in the settings are."""
        from telemetryctl.client.doors import Endpoint

        return Endpoint(self.settings.server, self.credential, self._log_request)

    def client_for(
        self, server: str, *, token: config.Token | None, signing_key_file: Path | None = None
    ) -> "Client":
        """Return a client of another server, with the same patience and the same log."""
        from telemetryctl.client.credential import credential_of

        credential = credential_of(token, signing_key_file=signing_key_file)
        return self._client(server, credential=credential)

    def _client(self, server: str, *, credential: "Credential") -> "Client":
        from telemetryctl.client.http import Client

        return Client(
            server,
            token=credential,
            timeout_s=self.timeout_s,
            log=self._log_request,
        )

    def _log_request(self, text: str, level: int) -> None:
        self.console.detail(text, level=level)

    def window(self, since: str, *, until: str = "now") -> times.Window:
        """Return the window and tell it on stderr, so that nobody guesses what was asked."""
        window = times.parse_window(since, until=until, at=times.now(), zone=self.zone)
        self.console.note(window.describe())
        return window

    def confirm(self, question: str, *, is_yes: bool) -> None:
        """Return if the user agrees. Raises UsageFailure if not, or if nobody can be asked."""
        if is_yes:
            return
        if not self.may_ask or not self.console.is_stdin_tty:
            raise UsageFailure(
                f"{question.rstrip('?')}: nobody is there to confirm it",
                hint=f"{_typed_command()} --yes",
            )
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise UsageFailure("not confirmed, so nothing was done")


def _typed_command() -> str:
    import shlex

    return shlex.join(["telemetryctl", *sys.argv[1:]])


def open_session(values: dict[str, object]) -> Session:
    """Return the session of the common options in `values`, which are taken out of it."""
    take = values.pop
    take("debug")
    color = check_color(str(take("color")))
    quiet, verbose = bool(take("quiet")), take("verbose")
    fields = str(take("fields") or "")
    is_input_off = bool(take("no_input")) or os.environ.get("CI", "").lower() == "true"
    return Session(
        flags=config.Flags(
            context=_text(take("context")),
            server=_text(take("server")),
            output=_text(take("output")),
            tz=_text(take("tz")),
            token_file=_text(take("token_file")),
            token_stdin=bool(take("token_stdin")),
        ),
        console=Console(
            is_quiet=quiet, verbosity=verbose if isinstance(verbose, int) else 0, color=color
        ),
        fields=tuple(field.strip() for field in fields.split(",") if field.strip()),
        has_headers=not take("no_headers"),
        timeout_s=_timeout_s(_text(take("timeout"))),
        may_ask=not is_input_off,
        is_wide=bool(take("wide")),
        record_end="\0" if take("null") else "\n",
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _timeout_s(text: str | None) -> float | None:
    if text is None:
        return DEFAULT_TIMEOUT_S
    if text in ("0", "none"):
        return None
    duration = times.parse_duration(text if not text.isdigit() else f"{text}s")
    if duration <= timedelta():
        raise UsageFailure("--timeout must be longer than nothing", hint="0 means no bound")
    return duration.total_seconds()
