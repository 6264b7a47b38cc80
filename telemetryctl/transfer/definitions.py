"""Metric definitions that data brings along: made when they are missing, never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetryctl.client.errors import ServerProblem

if TYPE_CHECKING:
    from telemetryctl.client.http import Client


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric, its data type as in contract section 4, and its unit."""

    name: str
    data_type: str
    unit: str | None = None


def define_metrics(
    client: Client, definitions: Iterable[Definition], *, note: Callable[[str], None]
) -> None:
    """Define each metric that the server lacks. Raises ServerProblem when the key may not."""
    for definition in definitions:
        body = {
            "name": definition.name,
            "data_type": definition.data_type,
            "metric_type": "gauge",
        }
        if definition.unit:
            body["unit"] = definition.unit
        try:
            client.create_metric(body)
        except ServerProblem as problem:
            if problem.status != 409:
                raise problem.during(f"metric {definition.name} was not defined") from problem
        else:
            note(f"metric {definition.name} is {definition.data_type} from now on")
