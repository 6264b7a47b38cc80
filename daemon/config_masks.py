"""What of the settings is secret, and how they are shown without it."""

from __future__ import annotations

import re
from typing import Any

_PASSWORD = re.compile(r"(://[^:/@]*):[^@]*@")
_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&]*")
# A server of NATS may be named with its token: nats://token@host.
_USER_ONLY = re.compile(r"((?:nats|tls|wss?)://)[^:/@,]+@")
_SECRETS = (
    *("password", "token", "secret_key", "jwt_secret", "jwt_secrets_former"),
    "heartbeat_url",
)


def masked(name: str, value: Any) -> Any:
    """The value of the setting of this name; `***` where it is a secret, or holds one."""
    if name in _SECRETS and value:
        return "***"
    if not isinstance(value, str):
        return value
    shown = _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", value))
    return _USER_ONLY.sub(r"\1***@", shown)
