"""Files that hold the command line's contexts: `config.toml` and, apart, `credentials.toml`.

Standard library only, since the daemon's first start writes one and the command line reads them
before anything else. Which context a command uses is decided in `telemetryctl.config`.

config.toml:                          credentials.toml (mode 0600):
    current = "local"                     [contexts.local]
    previous = "work"                     token = "tlm_live_..."
    [contexts.local]
    server = "http://127.0.0.1:8218"
    output = "json"  # optional; also tz, credential_command = ["pass", "show", "x"] and
                     # signing_key_file = "/home/me/sign.pem"

A context that logged in with a password has `refresh_token` and `token_ends` beside its token.
"""

import fcntl
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIG_FILE = "config.toml"
CREDENTIALS_FILE = "credentials.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

Table = dict[str, Any]


class ContextFileError(Exception):
    """A context file can't be read, is not valid TOML, or others may read its secrets."""


def config_home(environ: dict[str, str] | os._Environ[str] = os.environ) -> Path:
    """Return the folder of the files: `$XDG_CONFIG_HOME/telemetryctl`, else below `~/.config`."""
    base = environ.get("XDG_CONFIG_HOME", "")
    # The XDG base directory specification says that a relative path is invalid and to be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / ".config"
    return root / "telemetryctl"


def write_context(
    name: str,
    *,
    server: str,
    token: str,
    config_home: Path,
    make_current: bool | None = None,
    login: Table | None = None,
    signing_key_file: str | None = None,
) -> None:
    """Add or replace a context and its token in both files; other contexts stay as they are.

    `login` is what renews a token that does not last (telemetryctl.logins), `signing_key_file` what
    requests with the token are signed with; a new token does not go on with the former one's.

    The folder is made 0700, both files 0600, each replaced atomically, the token first, so that a
    context never names a server it has no token for. It becomes the current one if
    `make_current`, or, with None, if there is none yet. Raises ContextFileError.
    """
    if not is_context_name(name):
        raise ContextFileError(f"{name!r} is not a context name: letters, digits, _ . : - only")
    with locked(config_home):
        credentials = read_credentials(config_home)
        credentials.setdefault("contexts", {})[name] = {"token": token} | (login or {})
        config = read_config(config_home)
        context = config.setdefault("contexts", {}).setdefault(name, {})
        context["server"] = server
        context.pop("signing_key_file", None)
        if signing_key_file:
            context["signing_key_file"] = signing_key_file
        if make_current or (make_current is None and not config.get("current")):
            set_current(config, name)
        write_tables(config_home / CREDENTIALS_FILE, credentials)
        write_tables(config_home / CONFIG_FILE, config)


def is_context_name(name: str) -> bool:
    """Whether the name can be a context's: 1 to 64 letters, digits and `_ . : -`."""
    return _NAME.fullmatch(name) is not None


def set_current(config: Table, name: str) -> None:
    """Make the context the current one and remember the one before it."""
    current = config.get("current")
    if current != name:
        if current:
            config["previous"] = current
        config["current"] = name


def read_config(folder: Path) -> Table:
    """Return the tables of config.toml; empty when there is no file."""
    return _read_tables(folder / CONFIG_FILE, is_secret=False)


def read_credentials(folder: Path) -> Table:
    """Return the tables of credentials.toml; refused when group or others may read it."""
    return _read_tables(folder / CREDENTIALS_FILE, is_secret=True)


def _read_tables(path: Path, *, is_secret: bool) -> Table:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if is_secret and mode & 0o077:
                raise ContextFileError(
                    f"{path} holds secrets but others may read it; run: chmod 600 {path}"
                )
            tables = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ContextFileError(f"{path} can't be read: {error}") from error
    contexts = tables.get("contexts", {})
    if not isinstance(contexts, dict) or not all(isinstance(c, dict) for c in contexts.values()):
        raise ContextFileError(f"{path}: every context must be a table [contexts.NAME]")
    return tables


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that two programs that change the files don't lose a change."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ContextFileError(f"{folder} can't be written: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_tables(path: Path, tables: Table) -> None:
    """Replace the file atomically with mode 0600. Raises ContextFileError."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(format_tables(tables))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ContextFileError(f"{path} can't be written: {error}") from error


def format_tables(tables: Table) -> str:
    """Return the TOML text of nested tables of text, numbers, bools and lists of these."""
    return "\n".join(_table_lines(tables, ())).lstrip("\n") + "\n"


def _table_lines(table: Table, path: tuple[str, ...]) -> Iterator[str]:
    nested = {key: value for key, value in table.items() if isinstance(value, dict)}
    if path and (len(nested) < len(table) or not table):
        yield ""
        yield f"[{'.'.join(map(_key, path))}]"
    for key, value in table.items():
        if key not in nested:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in nested.items():
        yield from _table_lines(value, (*path, key))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case int() | float():
            return repr(value)
        case list():
            return f"[{', '.join(map(_value, value))}]"
    raise ContextFileError(f"a value of type {type(value).__name__} can't be written as TOML")


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    # TOML 1.0 forbids control characters in basic strings, so all of them are escaped.
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", escaped) + '"'
