"""Offline help: topics, and the help of every command."""

from typing import Annotated, Any

import typer

from telemetryctl import tree
from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, single
from telemetryctl.output.exit_codes import MEANINGS
from telemetryctl.session import Session

app = single()

TOPICS = {
    "environment": """\
A flag wins over the environment, which wins over the context, which wins over what is built in.
A context named by -c wins over TELEMETRYCTL_SERVER and TELEMETRYCTL_TOKEN.

TELEMETRYCTL_SERVER     URL of the server, else http://127.0.0.1:8218
TELEMETRYCTL_TOKEN      the key
TELEMETRYCTL_SIGNING_KEY_FILE   private key (PEM, Ed25519, 0600) that requests are signed with
TELEMETRYCTL_CONTEXT    name of the context
TELEMETRYCTL_OUTPUT     table, plain, json, jsonl, csv or yaml
TELEMETRYCTL_TZ         utc, local or Area/City
CREDENTIALS_DIRECTORY   systemd's; the key is its file telemetryctl-token
XDG_CONFIG_HOME         config.toml and credentials.toml (0600) lie in telemetryctl/ below it
XDG_CACHE_HOME          what completion remembers for a minute
NO_COLOR, CLICOLOR      no colour; so does --color never
CI=true                 never ask, like --no-input

telemetryctl context show --origin  tells where each value comes from.
""",
    "formats": """\
-o table   on a terminal: for eyes, may change in any release. Ids and times are never cut,
           and --wide cuts nothing.
-o plain   in a pipe: tab-separated, a header line (off with --no-headers), never cut, never
           coloured; tab, newline and backslash are written \\t \\n \\\\.
-o json    one document, the API's own
-o jsonl   one object a line
-o csv     RFC 4180 with LF
-o yaml    what json has, as YAML 1.2; of tail a document for each point

--fields a,b,tags.room   chooses and orders; dots look inside
-0                       ends records with NUL, for xargs -0
stdout has data only; everything else is on stderr, and -q silences it.
""",
    "time": """\
15m  2h30m  7d  4w      so long ago (d is 24 hours, w is 7 days; no months, no years)
now  today  yesterday   today is the last midnight
2026-11-20              midnight of that day
2026-11-20T10:00        a time without offset is in --tz, which is your own zone by default
2026-11-20T10:00+02:00  RFC 3339
@1763719200             seconds (or milliseconds) since 1970

Windows include their begin and not their end. The window in use is told on stderr:
window 2026-11-20T23:00:00Z .. 2026-11-21T09:12:31Z (10h 12m)
""",
    "cron": """\
A nightly export that never misses a late row, and is quiet when there is nothing new:

15 * * * * telemetryctl export csv -m temperature --incremental \\
    --state ~/.local/state/telemetry/temp.json --settle 5m \\
    -O '~/data/%Y-%m-%d.csv.gz' -q || [ $? -eq 3 ]

Exit 75 means that the same command may work later; see: telemetryctl help exit-codes
In crontab, write % as \\%.
""",
    "systemd": """\
Give the key to a unit without a file that others can read:

[Service]
LoadCredential=telemetryctl-token:/etc/telemetryctl/token
ExecStart=/usr/bin/telemetryctl export csv ...
SuccessExitStatus=3
RestartForceExitStatus=75
""",
    "streams": """\
telemetryctl tail shows each point once, in the order in which points were stored.

--since 1h      history first, then what comes; the two meet without a hole or a double point
-n 100, --for 30s, --until 18:00, --idle 60s    what ends it; else Ctrl-C (exit 130)
--until in the past, with --since, is history alone
--every 500ms   of each device and metric the newest in each span
--state FILE    the position, saved after printing: the next run goes on there. Killed with -9 it
                may repeat its last lines; it never misses one
--strict        exit 7 when the server no longer has what follows the position
--transport     auto: WebSocket, where that does not pass server-sent events, else polling
--template      a Python format string: '{timestamp} {device_id} {value:.1f} {tags.room}'

What its lines on stderr mean:
-- 10:14:31 connection lost; resuming in 3 s (attempt 1) --
                      then after 6, 12, 24, 48 and 60 s, up to a fifth more or less; after ten
                      attempts it polls every 30 s, and goes back to the stream when that works
-- 10:14:34 resumed; 41 points caught up, none lost --
-- 10:14:34 gap A .. B lost (expired) --
                      the journal was trimmed beyond the position; (epoch): it is another database
-- 10:14:34 ws does not work here (...); using sse --
                      a proxy lets no WebSocket through. nginx needs
                      proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
                      proxy_set_header Connection "upgrade"; proxy_read_timeout 90s;

A tail that can't reach the server at first ends with 75; later it goes on trying.
""",
    "auth": """\
The key is taken from the first of these that has one:

--token-file FILE, --token-stdin
$CREDENTIALS_DIRECTORY/telemetryctl-token
TELEMETRYCTL_TOKEN
the context's credential_command, such as ["pass", "show", "telemetry"] in config.toml
the context's entry in credentials.toml, which only you may read (0600)

There is no --token VALUE: command lines are visible in ps and stay in the shell's history.
A stored key is sent only to the server that it was stored for.

telemetryctl login URL --token-stdin < key.txt    checks a key and stores it
telemetryctl key create NAME --scope read         makes one; it is shown once

A key made with --signing-key PUBLIC opens nothing without its private half: requests are signed
(RFC 9421) with the file that TELEMETRYCTL_SIGNING_KEY_FILE names, or that login
--signing-key-file put into the context, whose own key it belongs to (signing_key_file).
It needs pip install 'telemetryctl[sign]', which the daemon's extra has.
""",
}


@command(app, example="telemetryctl help exit-codes\ntelemetryctl help device ls")
def help_(
    session: Session,
    *,
    topic: Annotated[list[str] | None, typer.Argument(help="A topic or a command.")] = None,
) -> None:
    """Explain a command, or exit-codes environment formats time cron systemd streams auth."""
    words = topic or []
    if words == ["exit-codes"]:
        session.console.write(exit_codes_text())
    elif len(words) == 1 and words[0] in TOPICS:
        session.console.write(TOPICS[words[0]])
    else:
        session.console.write(_command_help(words) + "\n")


def exit_codes_text() -> str:
    """Return the table of exit codes."""
    width = max(len(meaning) for meaning, _ in MEANINGS.values())
    lines = [
        f"{code:>4}  {meaning:<{width}}  {reaction}".rstrip()
        for code, (meaning, reaction) in MEANINGS.items()
    ]
    return "\n".join(lines) + "\n"


def _command_help(words: list[str]) -> str:
    command_object: Any = typer.main.get_command(tree.app)
    context = command_object.make_context(tree.PROGRAM, [], resilient_parsing=True)
    for word in words:
        get = getattr(command_object, "get_command", None)
        command_object = get(context, word) if get else None
        if command_object is None:
            topics = ", ".join(["exit-codes", *TOPICS])
            raise UsageFailure(
                f'there is no topic or command "{" ".join(words)}"', hint=f"topics: {topics}"
            )
        context = command_object.make_context(word, [], parent=context, resilient_parsing=True)
    return str(context.get_help())
