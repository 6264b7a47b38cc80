"""The man pages of both programs and of each command. Macros are in roff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from man import roff
from man.command_tree import Command, Option
from telemetryctl.commands.help import TOPICS, exit_codes_text

_CLIENT_FILES = """\
~/.config/telemetryctl/config.toml         contexts: servers by name
~/.config/telemetryctl/credentials.toml    their keys and logins, for your eyes only (0600)
"""
_DAEMON_EXITS = """\
  0  done
  2  usage error
  5  refused, such as a restore into a database that is not empty
 75  no database within 60 s, an address in use, a full disk; the same command may work later
 78  the configuration can't be used; the message names the setting
"""
_DAEMON_ENVIRONMENT = """\
TELEMETRY_CONFIG          the file of settings, when --config is not given
TELEMETRY_SECTION__KEY    a setting, above the file: TELEMETRY_SERVER__PORT=9000
CREDENTIALS_DIRECTORY     systemd's; its file section__key is a setting, above the file
STATE_DIRECTORY           systemd's; the embedded database lies in postgres/ below it
"""
_DAEMON_SIGNALS = """\
SIGTERM, SIGINT    not ready; finish what is under way; flush; exit 0
SIGHUP             read the settings again; with an error in them everything stays as it is
SIGUSR1            write to standard error where its tasks and threads are
"""
_DAEMON_FILES = """\
~/.config/telemetry/telemetry.toml    settings, or:
/etc/telemetry/telemetry.toml
~/.local/share/telemetryd/            the embedded database; secret_key and jwt_secret beside it
"""


def client_page(client: Command, *, common: Sequence[Option]) -> str:
    """telemetryctl(1): all commands by name, and what holds for each of them."""
    lines = [
        *roff.header("telemetryctl", 1, client.summary),
        ".SH SYNOPSIS",
        *_synopsis("telemetryctl COMMAND [OPTIONS] [ARGS]..."),
        ".SH DESCRIPTION",
        *roff.paragraphs(
            "Talks to telemetryd over HTTP. Data goes to standard output, everything else to"
            " standard error; in a pipe output is tab-separated, on a terminal tables."
        ),
        ".SH COMMANDS",
        *roff.listed(Option(_page_name(one), one.summary) for one in client.verbs),
        ".SH OPTIONS OF EVERY COMMAND",
        *roff.listed(common),
        ".SH EXIT STATUS",
        *roff.verbatim(exit_codes_text()),
    ]
    for name, text in TOPICS.items():
        lines += [f".SH {name.upper()}", *roff.verbatim(text)]
    lines += [".SH FILES", *roff.verbatim(_CLIENT_FILES)]
    return roff.page([*lines, *_see_also("telemetryd(8)", "telemetry.toml(5)")])


def command_page(one: Command) -> str:
    """telemetryctl-COMMAND(1): a command with its verbs."""
    name = one.name.replace(" ", "-")
    lines = [*roff.header(name, 1, one.summary), ".SH SYNOPSIS"]
    for leaf in one.leaves:
        lines += _synopsis(leaf.usage)
    if not one.verbs:
        lines += [".SH DESCRIPTION", *roff.command(one)]
    else:
        lines += [".SH DESCRIPTION", *roff.paragraphs(one.summary), *roff.paragraphs(one.text)]
        lines += [".SH COMMANDS", *_commands(one.leaves)]
    lines += [
        ".SH COMMON OPTIONS",
        *roff.paragraphs("Those of every command, and exit codes, are in telemetryctl(1)."),
    ]
    return roff.page([*lines, *_see_also("telemetryctl(1)")])


def daemon_page(daemon: Command) -> str:
    """telemetryd(8)."""
    lines = [*roff.header("telemetryd", 8, daemon.summary), ".SH SYNOPSIS"]
    for leaf in daemon.leaves:
        lines += _synopsis(leaf.usage)
    lines += [".SH COMMANDS", *_commands(daemon.leaves)]
    for title, text in (
        ("SIGNALS", _DAEMON_SIGNALS), ("EXIT STATUS", _DAEMON_EXITS),
        ("ENVIRONMENT", _DAEMON_ENVIRONMENT), ("FILES", _DAEMON_FILES),
    ):  # fmt: skip
        lines += [f".SH {title}", *roff.verbatim(text)]
    return roff.page([*lines, *_see_also("telemetry.toml(5)", "telemetryctl(1)")])


def _page_name(one: Command) -> str:
    return f"{one.name.replace(' ', '-')}(1)"


def _synopsis(usage: str) -> list[str]:
    return [".PP", f"\\fB{roff.escaped(usage)}\\fR"]


def _commands(leaves: Iterator[Command]) -> list[str]:
    lines = []
    for leaf in leaves:
        lines += [f".SS {roff.escaped(leaf.name)}", *roff.command(leaf)]
    return lines


def _see_also(*pages: str) -> list[str]:
    return [".SH SEE ALSO", roff.escaped(", ".join(pages))]
