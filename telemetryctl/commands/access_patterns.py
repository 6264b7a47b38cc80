"""Options that bound what a key or an account may see: the same for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from telemetryctl.completion import complete_groups


@dataclass(frozen=True, slots=True)
class Patterns:
    """Only what fits these patterns; all when not given."""

    devices: Annotated[
        list[str] | None, typer.Option("--device", help="Only devices like this: bus-*.")
    ] = None
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--group", help="Only devices of groups like this.", autocompletion=complete_groups
        ),
    ] = None
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="Only metrics like this: temp*.")
    ] = None

    def members(self) -> dict[str, list[str]]:
        """Return those that are given, for the server."""
        given = {"devices": self.devices, "groups": self.groups, "metrics": self.metrics}
        return {field: values for field, values in given.items() if values}
