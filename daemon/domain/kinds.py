"""The six kinds of value a point may carry, and the code each has in the series table."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """Codes of `series.kind`; the names are the contract's data types."""

    NUMERIC = 1
    STRING = 2
    BOOLEAN = 3
    JSON = 4
    GEOLOCATION = 5
    BINARY = 6

    @property
    def data_type(self) -> str:
        return self.name.lower()


def kind_named(data_type: str) -> Kind:
    """The kind of a definition's `data_type`; raises KeyError for an unknown word."""
    return Kind[data_type.upper()]
