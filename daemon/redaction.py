"""Takes secrets out of text, in one place: for every log line, and for settings that are shown.

What it can't know are secrets without a form: nothing that came in a header or a body is logged.
"""

from __future__ import annotations

import re

HIDDEN = "***"

# What a field of such a name holds is never shown, whatever its form.
_SECRET_NAMES = frozenset(
    {
        "access_token", "api_key", "authorization", "cookie", "credential", "jwt_secret",
        "jwt_secrets_former", "key", "password", "proxy_authorization", "refresh_token", "secret",
        "secret_key", "ticket", "token", "tokens", "x_api_key", "x_internal_token",
    }
)  # fmt: skip

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Our own: the id of a key is public, so that one sees which it was.
    (re.compile(r"(tlm_[A-Za-z0-9]{1,16}_[A-Za-z0-9]{4,64})_[A-Za-z0-9_-]{8,}"), rf"\1_{HIDDEN}"),
    (re.compile(r"\b(tlr|tic)_[A-Za-z0-9_.-]{8,}"), rf"\1_{HIDDEN}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]{8,}"), f"whsec_{HIDDEN}"),
    # A JSON web token: two parts that begin with {" in base64, and a signature.
    (
        re.compile(r"\beyJ[A-Za-z0-9_-]{4,4096}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?"),
        f"eyJ{HIDDEN}",
    ),
    (re.compile(r"\b(base64url\.bearer\.telemetry\.)[A-Za-z0-9_-]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{6,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(authorization[\"']?\s*[=:]\s*[\"']?\w+\s+)[^\s\"',*]+"), rf"\1{HIDDEN}"),
    # In a query or a form, in JSON, and as headers and programs write it.
    (
        re.compile(
            r"(?i)\b((?:access_|refresh_|id_)?token|ticket|password|passwd|pwd|secret|api_?key"
            r"|x-api-key|client_secret|secret_key|jwt_secret|x-internal-token)"
            r"(%3D|[\"']?\s*[=:]\s*[\"']?)(?!\*\*\*)[^\s&\"',;]+"
        ),
        rf"\1\2{HIDDEN}",
    ),
    # Who a URL names with a password: //user:password@host.
    (re.compile(r"(://[^:/@\s]{0,256}):[^@\s]{0,1024}@"), rf"\1:{HIDDEN}@"),
    # A server of NATS may be named with its token: nats://token@host.
    (re.compile(r"((?:nats|tls|wss?)://)[^:/@,\s]{1,1024}@"), rf"\1{HIDDEN}@"),
)
# One of these stands in whatever a rule would change; most text holds none.
_HINT = re.compile(
    r"(?i)tlm_|tlr_|tic_|whsec_|eyJ|bearer|authoriz|token|ticket|passw|pwd|secret|api_?key|api-key|://"
)


def redact(text: str) -> str:
    """The text with `***` where a secret was."""
    if _HINT.search(text) is None:
        return text
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret as a whole."""
    return name.lower().replace("-", "_") in _SECRET_NAMES
