"""Signatures of requests (RFC 9421): which one counts, what it has to cover, and whether it is
right. Which requests have to bear one is decided in service/signatures.

The library is loaded with the first signed request: most daemons never see one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from daemon.domain.errors import Invalid, Unauthenticated

APART_S_MAX = 300
"""So far may the clocks of who signs and who checks be apart; so long can a request be repeated."""
FIELD_CHARACTERS_MAX = 4_096
"""Longer ones are not read: `Signature-Input` and `Signature` each."""
DIGEST_CHARACTERS_MAX = 512
COMPONENTS_MAX = 32
KEY_BYTES = 32
# Times are judged here, by the clock of the daemon; the library is to find nothing wrong with them.
_ANY_TIME = timedelta(days=36_500)
_INPUT, _SIGNATURE = "signature-input", "signature"
# The y of points of small order (RFC 8032, section 5.1; the last two are 0 and 1 again): for such a
# "key" anybody can make signatures. The second is order 8; its negative is, too.
_PRIME = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_WEAK = frozenset({0, _ORDER_8, _PRIME - _ORDER_8, 1, _PRIME - 1, _PRIME, _PRIME + 1})


class SignatureRequired(Unauthenticated):
    """Requests with this key are to be signed (RFC 9421)."""

    code = "signature_required"


class SignatureInvalid(Unauthenticated):
    """The signature is not that of this request by this key."""

    code = "signature_invalid"


class DigestMismatch(Unauthenticated):
    """Content-Digest is not the sha-256 or sha-512 of the body as it came."""

    code = "digest_mismatch"


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body. `url` is absolute and as it was sent; `fields` are the lines of
    the header in their order, names in lower case."""

    method: str
    url: str
    fields: Sequence[tuple[str, str]]

    def field(self, name: str) -> str | None:
        """All lines of this name as one value (RFC 9110, section 5.3); None when there is none."""
        found = [value for own, value in self.fields if own == name]
        return ", ".join(found) if found else None


@dataclass(frozen=True, slots=True)
class Signer:
    """Who has to have signed: the id of a key, and its Ed25519 public key of 32 bytes."""

    key_id: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The signature that counts, as the library's parser reads it."""

    label: str
    components: list[tuple[Any, dict[str, Any]]]
    parameters: dict[str, Any]
    signature: tuple[Any, dict[str, Any]]

    def covers(self, name: str) -> bool:
        return (name, {}) in self.components


def check(head: Head, signer: Signer, *, required: Collection[str], now_s: float) -> None:
    """Return if exactly one signature names the signer, is of now, covers what is required, and is
    right. Raises SignatureRequired without any signature, SignatureInvalid."""
    if head.field(_INPUT) is None and head.field(_SIGNATURE) is None:
        raise SignatureRequired()
    chosen = _chosen(head, signer.key_id)
    _check_times(chosen.parameters, now_s=now_s)
    missing = [name for name in required if not chosen.covers(name)]
    if missing:
        raise SignatureInvalid(f"the signature does not cover {', '.join(missing)}")
    _check_right(head, chosen, signer)


def names(value: bytes, key_id: str) -> bool:
    """Whether a line of `Signature-Input` has a signature by this key.

    A text of structured fields has one spelling of a parameter (RFC 9651, section 3.3.3): inside
    another text its quotes would be escaped.
    """
    return b'keyid="%b"' % key_id.encode() in value


def check_digest(field: str | None, body: bytes) -> None:
    """Whether a signed `Content-Digest` (RFC 9530) is that of the body as it came on the wire.

    Raises DigestMismatch.
    """
    if field is None:
        if body:
            raise DigestMismatch("the body came without a signed Content-Digest")
        return
    from http_message_signatures import ContentDigest, HTTPMessageSignaturesException

    if len(field) > DIGEST_CHARACTERS_MAX:
        raise DigestMismatch()
    try:
        ContentDigest.verify(field, body)
    except HTTPMessageSignaturesException as error:
        raise DigestMismatch() from error


def _chosen(head: Head, key_id: str) -> _Chosen:
    """The one signature that names the key. Raises SignatureInvalid."""
    inputs, signatures = _members(head, _INPUT), _members(head, _SIGNATURE)
    ours = [
        (label, components, parameters)
        for label, (components, parameters) in inputs.items()
        if isinstance(components, list) and _is_text(parameters.get("keyid"), key_id)
    ]
    if len(ours) != 1:
        raise SignatureInvalid(f"exactly one signature is to have the keyid {key_id}")
    label, components, parameters = ours[0]
    signature = signatures.get(label)
    if signature is None or not isinstance(signature[0], bytes):
        raise SignatureInvalid(f"Signature has no bytes for the label {label}")
    if len(components) > COMPONENTS_MAX or any(form for _, form in components):
        # Members of a dictionary and single parameters of a query would have to be read for it.
        raise SignatureInvalid(f"a signature covers up to {COMPONENTS_MAX} components, as a whole")
    return _Chosen(label, components, parameters, signature)


def _members(head: Head, name: str) -> dict[str, tuple[Any, dict[str, Any]]]:
    """A dictionary of structured fields (RFC 9651), with `(value, parameters)` by label."""
    text = head.field(name)
    if text is None:
        raise SignatureInvalid("Signature-Input and Signature belong together")
    if len(text) > FIELD_CHARACTERS_MAX:
        raise SignatureInvalid(f"{name} is longer than {FIELD_CHARACTERS_MAX} characters")
    import http_sf

    def refuse(key: str, context: str) -> None:
        raise ValueError("twice")

    try:
        found: Any = http_sf.parse(
            text.encode("latin-1"), tltype="dictionary", on_duplicate_key=refuse
        )
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise SignatureInvalid(f"{name} is no dictionary of structured fields") from error
    members: dict[str, tuple[Any, dict[str, Any]]] = found
    return members


def _is_text(value: object, wanted: str) -> bool:
    return isinstance(value, str) and value == wanted


def _check_times(parameters: dict[str, Any], *, now_s: float) -> None:
    created, expires = parameters.get("created"), parameters.get("expires")
    if type(created) is not int:
        raise SignatureInvalid("the signature does not say when it was created")
    if abs(now_s - created) > APART_S_MAX:
        raise SignatureInvalid(
            f"created is more than {APART_S_MAX} seconds from the clock of the daemon"
        )
    if expires is not None and (type(expires) is not int or expires < now_s):
        raise SignatureInvalid("the signature has expired")


def _check_right(head: Head, chosen: _Chosen, signer: Signer) -> None:
    """Let the library make the signature base (RFC 9421, section 2.5) and check the bytes.

    It sees the one signature that was chosen, so that no other costs anything.
    """
    import http_sf
    from http_message_signatures import (
        HTTPMessageSignaturesException,
        HTTPMessageVerifier,
        MappingKeyResolver,
        algorithms,
    )

    try:
        key = Ed25519PublicKey.from_public_bytes(signer.public_key)
        resolver = MappingKeyResolver(public_keys={signer.key_id: key}, private_keys={})
        verifier = HTTPMessageVerifier(
            signature_algorithm=algorithms.ED25519, key_resolver=resolver
        )
        verifier.max_clock_skew = _ANY_TIME
        whole: Any = (chosen.components, chosen.parameters)
        one = {
            _INPUT: http_sf.ser({chosen.label: whole}),
            _SIGNATURE: http_sf.ser({chosen.label: chosen.signature}),
        }
        lines = [(name, value) for name, value in head.fields if name not in one]
        message = _Message(head.method, head.url, _Lines([*lines, *one.items()]))
        verifier.verify(message, max_age=None)
    except (HTTPMessageSignaturesException, ValueError, TypeError, LookupError) as error:
        raise SignatureInvalid() from error


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of a header as the library asks for them."""

    lines: Sequence[tuple[str, str]]

    def items(self) -> Iterable[tuple[str, str]]:
        return self.lines


@dataclass(frozen=True, slots=True)
class _Message:
    """A request as the library asks for it."""

    method: str
    url: str
    headers: _Lines


def public_key_of(text: str) -> bytes:
    """The 32 bytes of an Ed25519 public key: PEM (SubjectPublicKeyInfo), or base64 of the bytes.

    Raises Invalid.
    """
    try:
        if "-----BEGIN" not in text:
            found = base64.b64decode(text.strip(), validate=True)
        elif isinstance(key := load_pem_public_key(text.encode()), Ed25519PublicKey):
            found = key.public_bytes_raw()
        else:
            found = b""
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        found = b""
    if len(found) != KEY_BYTES or _is_weak(found):
        detail = "an Ed25519 public key, as PEM or as base64 of its 32 bytes"
        error = {"pointer": "/signing_key", "code": "bad_signing_key", "detail": detail}
        raise Invalid(f"signing_key is not {detail}", code="bad_signing_key", errors=[error])
    return found


def _is_weak(public_key: bytes) -> bool:
    """Whether it is a point of small order; its last bit is the sign of x."""
    return int.from_bytes(public_key, "little") % 2**255 in _WEAK


def shown_key(public_key: bytes | None) -> str | None:
    """A public key as it is shown: base64."""
    return None if public_key is None else base64.b64encode(public_key).decode()
