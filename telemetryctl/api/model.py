"""Base classes and shared field types of the wire models; each noun keeps its own shapes."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_MILLISECONDS_FROM = 100_000_000_000
"""Epoch numbers of this magnitude and above are milliseconds; as seconds they lie after 5138."""
JSON_DEPTH_MAX = 16
_UNSTORABLE_TEXT = re.compile("[\x00\ud800-\udfff]")


class Input(BaseModel):
    """A body that a client sends; an unknown field is an error, so that a typo is never ignored."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_storable(cls, body: Any) -> Any:
        refuse_unstorable(body)
        return body


class Answer(BaseModel):
    """A body that the server sends; a client must accept fields it does not know."""

    model_config = ConfigDict(extra="ignore")


def refuse_unstorable(body: Any) -> None:
    """Raise ValueError for what JSON text may hold but PostgreSQL's jsonb or text may not.

    These are NUL characters, lone surrogates, NaN or infinity, integers beyond 64 bits, and
    nesting below `JSON_DEPTH_MAX`. See the PostgreSQL manual, section 8.14.
    """
    pending = [(body, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > JSON_DEPTH_MAX:
            raise ValueError(f"values are nested more than {JSON_DEPTH_MAX} deep")
        match value:
            case str():
                if _UNSTORABLE_TEXT.search(value):
                    raise ValueError("text holds a NUL character or a lone surrogate")
            case int() | float():
                _refuse_unstorable_number(value)
            case dict():
                pending += [(key, depth) for key in value]
                pending += [(item, depth + 1) for item in value.values()]
            case list():
                pending += [(item, depth + 1) for item in value]


def _refuse_unstorable_number(value: int | float) -> None:
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("an integer does not fit into 64 bits")
    if not math.isfinite(value):
        raise ValueError("a number is not finite")


def parse_instant(value: Any) -> datetime:
    """Return the UTC instant of ISO 8601 text with offset, or of epoch seconds or milliseconds.

    Raises ValueError for a stamp without offset, for a bool, and outside the years 1 to 9999.
    """
    if isinstance(value, datetime):
        instant = value
    elif isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a time is ISO 8601 text with an offset, or epoch seconds or milliseconds")
    elif isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError("the text is not an ISO 8601 time") from error
    else:
        seconds = value / 1000 if abs(value) >= EPOCH_MILLISECONDS_FROM else value
        try:
            instant = EPOCH + timedelta(seconds=seconds)
        except (OverflowError, ValueError) as error:
            raise ValueError("the epoch number is out of range") from error
    if instant.tzinfo is None:
        raise ValueError("the time needs an offset such as Z or +02:00")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is out of range") from error


def format_instant(instant: datetime) -> str:
    """Return ISO 8601 UTC with `Z`, with microseconds only when there are any."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


_TEXT_OF_INSTANT = {"type": "string", "format": "date-time"}
Instant = Annotated[
    datetime,
    BeforeValidator(parse_instant),
    PlainSerializer(format_instant, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [_TEXT_OF_INSTANT, {"type": "number"}],
            "description": "ISO 8601 with offset, or epoch seconds or milliseconds",
        },
        mode="validation",
    ),
    WithJsonSchema(_TEXT_OF_INSTANT, mode="serialization"),
]
DeviceId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:/-]+$")]
MetricName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:/-]+$")]
TagKey = Annotated[str, Field(min_length=1, max_length=64)]
TagValue = Annotated[str, Field(max_length=256)]
Tags = Annotated[dict[TagKey, TagValue], Field(max_length=32)]
PageLimit = Annotated[int, Field(ge=1, le=1000)]
PageOffset = Annotated[int, Field(ge=0, le=2**31 - 1)]
