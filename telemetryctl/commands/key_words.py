"""How a key is named on the command line."""

from typing import Annotated

import typer

from telemetryctl.completion import complete_keys
from telemetryctl.failures import NothingThere, UsageFailure
from telemetryctl.paging import Page
from telemetryctl.session import Session

PREFIX_CHARS_MIN = 6

KeyId = Annotated[
    str,
    typer.Argument(help="Id, its first 6 characters, or name.", autocompletion=complete_keys),
]


def find_key(session: Session, text: str) -> str:
    """Return the id of a key by its id, a prefix of it, or its name. Raises UsageFailure."""
    document = Page(is_all=True).read(session.client.list_keys, filters={}, key="keys")
    ids = [str(row["key_id"]) for row in document["keys"]]
    if text in ids:
        return text
    is_long = len(text) >= PREFIX_CHARS_MIN
    found = [
        row["key_id"]
        for row in document["keys"]
        if row.get("name") == text or (is_long and str(row["key_id"]).startswith(text))
    ]
    if not found:
        raise NothingThere(f'there is no key "{text}"', hint="telemetryctl key ls")
    if len(found) > 1:
        raise UsageFailure(f'"{text}" means {len(found)} keys', why="\n".join(found))
    return str(found[0])
