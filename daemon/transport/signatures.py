"""A request as its signature sees it: the parts that have to be covered, and the digest of its
body. Whether it is right is decided in service/signatures."""

from __future__ import annotations

from starlette.types import Scope

from daemon.domain.access import Principal
from daemon.domain.signatures import Head, check_digest, names
from daemon.service.signatures import Signatures
from daemon.transport.head_requests import asked_method

_INPUT = b"signature-input"
_DIGEST = "content-digest"
# What changes the meaning of a request is signed wherever it is there: a repeat under another
# Idempotency-Key would be done again.
_MEANINGFUL = frozenset({"idempotency-key", "if-match"})
_SCHEMES = {"ws": "http", "wss": "https"}
_UNNAMED = "unnamed"


def check_signature(
    scope: Scope, principal: Principal, *, signatures: Signatures, address: str
) -> None:
    """Whether a request that shows a key is signed as the key wants it.

    Signatures of others than the key are none of ours (RFC 9421, section 3.2). Raises
    SignatureRequired, SignatureInvalid.
    """
    if principal.signing_key is None and not _is_signed_by(scope, principal.key_id):
        return
    head = head_of(scope)
    signatures.check(principal, head, required=required_of(scope, head), address=address)


def check_body(scope: Scope, body: bytes) -> None:
    """Whether the body is the signed one; call it for holders with a signing key.

    Raises DigestMismatch.
    """
    check_digest(head_of(scope).field(_DIGEST), body)


def head_of(scope: Scope) -> Head:
    """The head of an HTTP request or of an upgrade."""
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    host = next((value for name, value in fields if name == "host" and value), _UNNAMED)
    scheme = _SCHEMES.get(scope["scheme"], scope["scheme"])
    url = f"{scheme}://{host}{scope['raw_path'].decode('latin-1')}"
    if scope["query_string"]:
        url += "?" + scope["query_string"].decode("latin-1")
    return Head(asked_method(scope), url, fields)


def required_of(scope: Scope, head: Head) -> list[str]:
    """The components that a signature of this request has to cover."""
    required = ["@method", "@path"]
    if scope["query_string"]:
        required.append("@query")
    if head.field("content-length") not in (None, "0") or head.field("transfer-encoding"):
        required.append(_DIGEST)
    return required + sorted(_MEANINGFUL & {name for name, _ in head.fields})


def _is_signed_by(scope: Scope, key_id: str) -> bool:
    return any(name == _INPUT and names(value, key_id) for name, value in scope["headers"])
