"""A place in the pages of a query: by time, then device, then metric. Opaque to clients."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from daemon.domain.errors import Invalid

TEXT_CHARS_MAX = 512


@dataclass(frozen=True, slots=True)
class PageCursor:
    """Everything up to and with this key was read; with empty names, everything before the time."""

    time_us: int
    device_id: str = ""
    metric_name: str = ""

    def __str__(self) -> str:
        # Ids hold no blanks (contract 1).
        text = f"{self.time_us} {self.device_id} {self.metric_name}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_page_cursor(text: str) -> PageCursor:
    """Raises Invalid when the text is none of ours."""
    try:
        if len(text) > TEXT_CHARS_MAX:
            raise ValueError
        padded = text + "=" * (-len(text) % 4)
        time_us, device_id, metric_name = (
            base64.b64decode(padded, altchars=b"-_", validate=True).decode().split(" ")
        )
        if abs(int(time_us)) >= 2**62:
            raise ValueError
        return PageCursor(int(time_us), device_id, metric_name)
    except (ValueError, binascii.Error) as error:
        raise Invalid("the cursor is not one of ours", code="bad_cursor") from error
