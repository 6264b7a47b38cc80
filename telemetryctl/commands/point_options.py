"""Options that say which points: the same at each command that reads points."""

from __future__ import annotations

from typing import Annotated

import typer

from telemetryctl.completion import complete_devices, complete_groups, complete_metrics

Devices = Annotated[
    list[str] | None,
    typer.Option(
        "-d", "--device", help="A device; all when not given.", autocompletion=complete_devices
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "-m", "--metric", help="A metric; all when not given.", autocompletion=complete_metrics
    ),
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", help="Devices of a group.", autocompletion=complete_groups),
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="With this tag.")
]
