"""What a key may do: `telemetryctl key test`."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.key_words import find_key
from telemetryctl.completion import complete_keys
from telemetryctl.failures import UsageFailure
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.output.render import Column
from telemetryctl.session import Session

EXAMPLE = """telemetryctl key test
    telemetryctl key test bus-line-7 --operation write_point --device bus-7-001 --metric speed
    telemetryctl key test --token-file bus.key --operation create_rule || echo 'it may not'"""
ACCESS_COLUMNS = (
    Column("key_id", title="KEY", is_fixed=True),
    Column("name"),
    Column("state"),
    Column("scopes"),
    Column("tier"),
    Column("devices"),
    Column("groups"),
    Column("metrics"),
    Column("expires_at", title="EXPIRES", is_time=True),
    Column("former_valid_until", is_time=True),
    Column("revoked_at", is_time=True),
)
OPERATION_COLUMNS = (
    Column("operation", is_fixed=True),
    Column("allowed"),
    Column("lack"),
    Column("scope"),
    Column("method"),
    Column("path"),
)
LACKS = {
    "state": "the key is {state}",
    "scope": "it needs the scope {scope}",
    "patterns": "a key that is bound to some devices or metrics may not",
    "expires": "it would outlive the key, which expires",
    "issuer": "it would outlive the token of another issuer",
}
"""Why an operation is not allowed, in words."""
_WHOLE_ID = re.compile(r"key_[0-9a-z]{26}")


@dataclass(frozen=True, slots=True)
class Question:
    """What one asks of a key; without any, everything it may do is told."""

    operation: Annotated[
        str | None, typer.Option(help="May it do this: write_point, create_rule …")
    ] = None
    device: Annotated[str | None, typer.Option(help="May it be about this device?")] = None
    metric: Annotated[str | None, typer.Option(help="May it be about this metric?")] = None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the request; `createRule` is `create_rule`."""
        named = self.operation and re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.operation).lower()
        return {"operation": named, "device_id": self.device, "metric_name": self.metric}


def may(
    session: Session,
    *,
    key_id: Annotated[
        str | None,
        typer.Argument(help="Id, prefix or name. [the one in use]", autocompletion=complete_keys),
    ] = None,
    question: Question,
) -> None:
    """Say what a key may do. Exits with 0 for yes, 1 for no, or for a key that has ended."""
    asked = question.parameters()
    document = _access(session, key_id, asked)
    if not any(asked.values()):
        _print_access(session, document)
        raise typer.Exit(_code(document["is_alive"]))
    is_allowed = bool(document["allowed"])
    if session.renderer.is_document:
        session.renderer.item(document, columns=ACCESS_COLUMNS)
    else:
        session.console.write("yes\n" if is_allowed else "no\n")
    if not is_allowed:
        session.console.note("; ".join(_reasons(document, asked)))
    raise typer.Exit(_code(is_allowed))


def _access(session: Session, text: str | None, asked: dict[str, Any]) -> dict[str, Any]:
    """Ask about the key of the argument, or the one in use. Raises UsageFailure."""
    if text is None:
        found = "self"
    else:
        # Nobody needs to list keys to ask about one; one that was revoked is in no list.
        found = text if _WHOLE_ID.fullmatch(text) else find_key(session, text)
    try:
        return session.client.key_access(found, **asked)
    except ServerProblem as problem:
        if problem.code != "unknown_operation":
            raise
        what = f'"{asked["operation"]}" is no operation'
        raise UsageFailure(what, hint="telemetryctl key test lists them") from problem


def _print_access(session: Session, document: dict[str, Any]) -> None:
    renderer = session.renderer
    if renderer.format == "table":
        renderer.item(document, columns=ACCESS_COLUMNS)
        session.console.write("\n")
    renderer.listing(document, key="operations", columns=OPERATION_COLUMNS)


def _reasons(document: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Return why something is not allowed, in words."""
    found = []
    if not document["is_alive"]:
        found.append(LACKS["state"].format(**document))
    elif asked["operation"]:
        [operation] = document["operations"]
        if operation["lack"]:
            found.append(LACKS[operation["lack"]].format(**document | operation))
    if document["sees_device"] is False:
        found.append(f"its patterns leave out the device {asked['device_id']}")
    if document["sees_metric"] is False:
        found.append(f"its patterns leave out the metric {asked['metric_name']}")
    return found


def _code(is_yes: bool) -> ExitCode:
    return ExitCode.DONE if is_yes else ExitCode.INTERNAL
