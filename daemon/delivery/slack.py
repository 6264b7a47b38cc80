"""Incoming webhooks of Slack and of what understands them (Mattermost, Rocket.Chat, Discord's
/slack): https://api.slack.com/messaging/webhooks."""

from __future__ import annotations

import orjson

from daemon.delivery.outbound import Outbound
from daemon.domain.deliveries import Address, Outcome, Outgoing

TEXT_CHARS_MAX = 3_000
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_COLOURS = {"info": "#439fe0", "warning": "#daa038", "error": "#d9534f"}
_WORST = "#a30200"
_OVER = "#2eb886"


async def send(outgoing: Outgoing, address: Address, *, outbound: Outbound) -> Outcome:
    """POST it; the hook answers 200."""
    is_over = outgoing.type == "alert.resolved"
    colour = _OVER if is_over else _COLOURS.get(outgoing.level, _WORST)
    title, text = escaped(outgoing.title), escaped(outgoing.text[:TEXT_CHARS_MAX])
    body = {
        "text": f"*{title}*",
        "attachments": [{"color": colour, "text": text, "fallback": text[:200]}],
    }
    headers = {"Content-Type": "application/json"}
    return await outbound.post(address.secrets["url"], orjson.dumps(body), headers=headers)


def escaped(text: str) -> str:
    """Text that mentions nobody and links nowhere, whatever a device is called
    (https://api.slack.com/reference/surfaces/formatting#escaping)."""
    return text.translate(_ESCAPES)
