"""Settings of the command line: flag, then environment, then context file, then built-in."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from telemetryctl.api import contexts
from telemetryctl.failures import ConfigurationFailure, UsageFailure

DEFAULT_SERVER = "http://127.0.0.1:8218"
CREDENTIAL_NAME = "telemetryctl-token"
"""The file below systemd's `$CREDENTIALS_DIRECTORY`."""
TOKEN_CHARS_MAX = 8_192
CREDENTIAL_COMMAND_TIMEOUT_S = 30
FORMATS = ("table", "plain", "json", "jsonl", "csv", "yaml")


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said; None where it said nothing."""

    context: str | None = None
    server: str | None = None
    output: str | None = None
    tz: str | None = None
    token_file: str | None = None
    token_stdin: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """A secret and where it came from; it never shows itself."""

    value: str = field(repr=False)
    origin: str

    @property
    def is_key(self) -> bool:
        """Whether it is an API key rather than the token of a login."""
        return self.value.startswith("tlm_")

    def masked(self) -> str:
        """Return the part of the key that names it, without its secret."""
        public = self.value.split("_")[:3]
        return "_".join(public) + "_…" if self.is_key and len(public) == 3 else "…"

    @property
    def key_id(self) -> str | None:
        """The id of the key, by which the server knows it; None for the token of a login."""
        parts = self.value.split("_")
        return f"key_{parts[2]}" if self.is_key and len(parts) > 3 else None


@dataclass(frozen=True, slots=True)
class Settings:
    """What one command works with. `origins` says for each field where its value came from."""

    server: str
    context: str | None
    output: str | None
    tz: str
    token: Token | None
    origins: Mapping[str, str]
    config_folder: Path
    signing_key_file: Path | None = None


def resolve(flags: Flags, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of one command. Raises ConfigurationFailure or UsageFailure.

    A context that was named by flag stands above the environment, since it was typed just now.
    """
    environ = os.environ if environ is None else environ
    folder = contexts.config_home(dict(environ))
    config = read_config(folder)
    name, name_origin = _context_name(flags, environ=environ, config=config)
    stored = config.get("contexts", {}).get(name, {}) if name else {}
    env_server = "" if flags.context else environ.get("TELEMETRYCTL_SERVER", "")
    origins = {"context": name_origin}
    server, origins["server"] = _first(
        (flags.server, "--server"),
        (env_server, "TELEMETRYCTL_SERVER"),
        (stored.get("server"), f"context {name}"),
        (DEFAULT_SERVER, "built-in"),
    )
    output, origins["output"] = _first(
        (flags.output, "--output"),
        (environ.get("TELEMETRYCTL_OUTPUT"), "TELEMETRYCTL_OUTPUT"),
        (stored.get("output"), f"context {name}"),
        ("", "built-in"),
    )
    tz, origins["tz"] = _first(
        (flags.tz, "--tz"),
        (environ.get("TELEMETRYCTL_TZ"), "TELEMETRYCTL_TZ"),
        (stored.get("tz"), f"context {name}"),
        ("local", "built-in"),
    )
    if output and output not in FORMATS:
        raise UsageFailure(
            f'"{output}" is not an output format ({origins["output"]})', hint=", ".join(FORMATS)
        )
    server = normal_server(server)
    # A stored secret goes only to the server that it was stored for.
    is_own_server = stored.get("server") and normal_server(stored["server"]) == server
    token = find_token(
        flags, environ=environ, folder=folder, context=name if is_own_server else None
    )
    origins["token"] = token.origin if token else "none"
    signing_key, origins["signing_key_file"] = _signing_key(
        flags, environ=environ, stored=stored, token=token
    )
    return Settings(server, name, output or None, tz, token, origins, folder, signing_key)


def read_config(folder: Path) -> contexts.Table:
    """Return the tables of config.toml. Raises ConfigurationFailure."""
    try:
        return contexts.read_config(folder)
    except contexts.ContextFileError as error:
        raise ConfigurationFailure(str(error)) from error


def _context_name(
    flags: Flags, *, environ: Mapping[str, str], config: contexts.Table
) -> tuple[str | None, str]:
    known = config.get("contexts", {})
    name, origin = _first(
        (flags.context, "--context"),
        (environ.get("TELEMETRYCTL_CONTEXT"), "TELEMETRYCTL_CONTEXT"),
        (config.get("current"), contexts.CONFIG_FILE),
        ("", "none"),
    )
    if name and name not in known:
        raise ConfigurationFailure(
            f'there is no context "{name}" ({origin})',
            why=f"known contexts: {', '.join(known) or 'none'}",
            hint="telemetryctl context ls, or telemetryctl login URL",
        )
    return name or None, origin


def _first(*candidates: tuple[Any, str]) -> tuple[str, str]:
    """Return the first value that is not empty, with its origin; the last one stands anyway."""
    for value, origin in candidates:
        if value:
            return str(value), origin
    return candidates[-1]


def normal_server(url: str) -> str:
    """Return the URL with a scheme and without a closing slash. Raises UsageFailure.

    A bare host gets https, a loopback host http. Secrets in the URL are refused, since URLs end
    up in logs and in `ps`.
    """
    from urllib.parse import urlsplit

    text = url.strip()
    if "://" not in text:
        host = text.split("/")[0].rsplit(":", 1)[0]
        is_loopback = host in ("localhost", "127.0.0.1", "[::1]")
        text = f"{'http' if is_loopback else 'https'}://{text}"
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        is_valid = False
    if not is_valid:
        raise UsageFailure("the server's URL is not valid", hint="such as http://127.0.0.1:8218")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageFailure(
            "the server's URL must not hold a user, a password or a query",
            hint="telemetryctl login URL --token-stdin",
        )
    return text.rstrip("/")


def find_token(
    flags: Flags, *, environ: Mapping[str, str], folder: Path, context: str | None
) -> Token | None:
    """Return the token from the first place that has one; None when no place has.

    Flags first, then the environment (unless a context was named by flag), then the context's
    `credential_command`, then its entry in credentials.toml. Raises ConfigurationFailure.
    """
    if flags.token_file:
        return Token(read_token_file(Path(flags.token_file)), origin="--token-file")
    if flags.token_stdin:
        return Token(_read_stdin(), origin="--token-stdin")
    if not flags.context:
        directory = environ.get("CREDENTIALS_DIRECTORY")
        if directory and (path := Path(directory) / CREDENTIAL_NAME).is_file():
            return Token(read_token_file(path), origin="$CREDENTIALS_DIRECTORY")
        if value := environ.get("TELEMETRYCTL_TOKEN"):
            checked = checked_token(value, origin="TELEMETRYCTL_TOKEN")
            return Token(checked, origin="TELEMETRYCTL_TOKEN")
    return _stored_token(folder, context=context) if context else None


def _signing_key(
    flags: Flags, *, environ: Mapping[str, str], stored: contexts.Table, token: Token | None
) -> tuple[Path | None, str]:
    """The private key that requests are signed with, and where its name came from.

    That of a context belongs to the context's own API key; another one would be refused with it.
    """
    named = "" if flags.context else environ.get("TELEMETRYCTL_SIGNING_KEY_FILE", "")
    if named:
        return Path(named).expanduser(), "TELEMETRYCTL_SIGNING_KEY_FILE"
    kept = stored.get("signing_key_file")
    is_own = token is not None and token.origin in (contexts.CREDENTIALS_FILE, "credential_command")
    if isinstance(kept, str) and kept and is_own:
        return Path(kept).expanduser(), "context"
    return None, "none"


def _stored_token(folder: Path, *, context: str) -> Token | None:
    command = read_config(folder).get("contexts", {}).get(context, {}).get("credential_command")
    if command:
        return Token(_run_credential_command(command), origin="credential_command")
    try:
        tables = contexts.read_credentials(folder)
    except contexts.ContextFileError as error:
        raise ConfigurationFailure(str(error)) from error
    value = tables.get("contexts", {}).get(context, {}).get("token")
    if not isinstance(value, str) or not value:
        return None
    checked = checked_token(value, origin=contexts.CREDENTIALS_FILE)
    return Token(checked, origin=contexts.CREDENTIALS_FILE)


def _read_stdin() -> str:
    if sys.stdin is None:
        raise UsageFailure("stdin is closed, so it holds no key")
    # Not through the text layer, which would fail on bytes that are not UTF-8.
    line = sys.stdin.buffer.readline(TOKEN_CHARS_MAX + 2)
    return checked_token(line.decode("utf-8", "replace"), origin="stdin")


def read_token_file(path: Path) -> str:
    """Return the first line of the file. Raises ConfigurationFailure."""
    try:
        with path.open(encoding="utf-8") as file:
            line = file.readline(TOKEN_CHARS_MAX + 2)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationFailure(f"the token file {path} can't be read: {reason}") from error
    return checked_token(line, origin=str(path))


def checked_token(text: str, *, origin: str) -> str:
    """Return the token without white space around it. Raises ConfigurationFailure, without it."""
    token = text.strip()
    if not token:
        raise ConfigurationFailure(f"there is no token in {origin}")
    # Anything else can't be sent in a header, and httpx would quote it in its error.
    if len(token) > TOKEN_CHARS_MAX or not token.isascii() or not token.isprintable():
        raise ConfigurationFailure(f"what {origin} holds is not a token")
    if " " in token:
        raise ConfigurationFailure(f"what {origin} holds is not a token: it has a space")
    return token


def _run_credential_command(command: Any) -> str:
    if not isinstance(command, list) or not all(isinstance(part, str) for part in command):
        raise ConfigurationFailure(
            "credential_command is not a list of words", hint='such as ["pass", "show", "x"]'
        )
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=CREDENTIAL_COMMAND_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        # The error's own text could hold the output, so only its kind is told.
        raise ConfigurationFailure(
            f"credential_command {command[0] if command else ''} failed",
            why=type(error).__name__,
        ) from None
    line = result.stdout.decode("utf-8", "replace").partition("\n")[0]
    return checked_token(line, origin="credential_command")
