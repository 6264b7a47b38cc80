"""Objects that documents declare, whatever their kind: lists, and what changes one."""

from collections.abc import Mapping
from typing import Any

from telemetryctl.client.calls import Calls, segment
from telemetryctl.client.wire import Document

PAGE_ROWS = 1_000


class ObjectCalls(Calls):
    """The same four requests for every collection, such as `/metrics` or `/alerts/rules`."""

    def list_objects(self, collection: str, *, key: str, **filters: Any) -> list[Document]:
        """GET all pages of a collection; the rows stand at `key`."""
        rows: list[Document] = []
        while True:
            asked = filters | {"limit": PAGE_ROWS, "offset": len(rows)}
            page = self._get(collection, params=asked)
            rows += page[key]
            if not page[key] or len(rows) >= page["total"]:
                return rows

    def create_object(
        self, collection: str, *, body: Mapping[str, Any], params: Mapping[str, str] | None = None
    ) -> Document:
        """POST it."""
        return self._post(collection, body=body, params=params, is_idempotent=False)

    def patch_object(
        self,
        collection: str,
        object_id: str,
        *,
        changes: Mapping[str, Any],
        params: Mapping[str, str] | None = None,
    ) -> Document:
        """PATCH it."""
        path = f"{collection}/{segment(object_id)}"
        return self._send("PATCH", path, body=changes, params=params)

    def delete_object(self, collection: str, object_id: str) -> Document:
        """DELETE it."""
        return self._send("DELETE", f"{collection}/{segment(object_id)}")
