"""Lists that come in pages: --limit, --offset, --all and --ids."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from telemetryctl.output.render import Column
from telemetryctl.session import Session

PAGE_ROWS_MAX = 1_000
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list."""

    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100
    offset: Annotated[int, typer.Option(help="Leave out so many first.", min=0)] = 0
    is_all: Annotated[bool, typer.Option("--all", help="All of them.")] = False
    is_ids: Annotated[bool, typer.Option("--ids", help="Ids only, one a line.")] = False

    def read(
        self, fetch: Callable[..., Document], *, filters: Mapping[str, Any], key: str
    ) -> Document:
        """Return the API's answer; more than one page of it becomes one answer."""
        wanted = None if self.is_all else self.limit
        document = fetch(**filters, limit=_size(wanted, 0), offset=self.offset)
        rows = list(document[key])
        while document_has_more(document, count=len(rows), offset=self.offset):
            if wanted is not None and len(rows) >= wanted:
                break
            last = fetch(**filters, limit=_size(wanted, len(rows)), offset=self.offset + len(rows))
            document["next_cursor"] = last.get("next_cursor")
            if not last[key]:
                break
            rows += last[key]
        return {**document, key: rows, "count": len(rows), "limit": wanted or len(rows)}


def _size(wanted: int | None, read: int) -> int:
    return PAGE_ROWS_MAX if wanted is None else min(wanted - read, PAGE_ROWS_MAX)


def document_has_more(document: Document, *, count: int, offset: int) -> bool:
    """Whether the server has rows after these."""
    total = document.get("total")
    return isinstance(total, int) and offset + count < total


def print_page(
    session: Session, page: Page, *, document: Document, key: str, columns: Sequence[Column]
) -> None:
    """Print the rows (the ids: the first column), and tell on stderr if there are more."""
    if page.is_ids:
        session.renderer.ids(document[key], key=columns[0].key)
    else:
        session.renderer.listing(document, key=key, columns=columns)
    count = len(document[key])
    if document_has_more(document, count=count, offset=page.offset):
        session.console.note(f"{count:,} of {document['total']:,}; --all shows all")
