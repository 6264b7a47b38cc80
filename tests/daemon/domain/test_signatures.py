"""What a signature of a request has to be, from the text of RFC 9421 and its own example."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signers import HandSigner, digest_of

from daemon.domain.errors import Invalid, Unauthenticated
from daemon.domain.signatures import (
    FIELD_CHARACTERS_MAX,
    DigestMismatch,
    Head,
    SignatureInvalid,
    SignatureRequired,
    Signer,
    check,
    check_digest,
    names,
    public_key_of,
    shown_key,
)

NOW_S = 1_766_059_200
URL = "https://telemetry.example/api/v1/telemetry/devices?limit=5"
VALUES = {"@method": "GET", "@path": "/api/v1/telemetry/devices", "@query": "?limit=5"}
HAND = HandSigner("key_0123")
SIGNER = Signer(HAND.key_id, HAND.public_bytes)


def head(fields: Mapping[str, str], *, method: str = "GET", url: str = URL) -> Head:
    return Head(method, url, list(fields.items()))


def checked(found: Head, *, required: tuple[str, ...] = tuple(VALUES)) -> None:
    check(found, SIGNER, required=required, now_s=NOW_S)


def test_the_example_of_the_standard_is_right() -> None:
    """RFC 9421, appendices B.1.4 and B.2.6."""
    public = base64.b64decode("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=")
    fields = {
        "host": "example.com",
        "date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "content-type": "application/json",
        "content-length": "18",
        "signature-input": 'sig-b26=("date" "@method" "@path" "@authority" "content-type" '
        '"content-length");created=1618884473;keyid="test-key-ed25519"',
        "signature": "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0"
        "w6vuQv5lIp5WPpBKRCw==:",
    }
    example = head(fields, method="POST", url="https://example.com/foo?param=Value&Pet=dog")

    signer = Signer("test-key-ed25519", public)
    check(example, signer, required=("@method", "@path", "@authority"), now_s=1_618_884_480)

    changed = Head("PUT", example.url, example.fields)
    with pytest.raises(SignatureInvalid):
        check(changed, signer, required=("@path",), now_s=1_618_884_480)


def test_a_signature_of_now_over_all_that_is_asked_is_right() -> None:
    checked(head(HAND.fields(VALUES, created=NOW_S)))


@pytest.mark.parametrize("apart_s", [-300, 300])
def test_clocks_may_be_five_minutes_apart(apart_s: int) -> None:
    checked(head(HAND.fields(VALUES, created=NOW_S + apart_s)))

    with pytest.raises(SignatureInvalid, match="300 seconds"):
        checked(head(HAND.fields(VALUES, created=NOW_S + apart_s + (1 if apart_s > 0 else -1))))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (f";expires={NOW_S - 1}", "expired"),
        (';expires="soon"', "expired"),
        (';alg="rsa-pss-sha512"', "not that of this request"),
        (";extra=1", "not that of this request"),
    ],
)
def test_parameters_that_say_otherwise_are_refused(more: str, said: str) -> None:
    with pytest.raises(SignatureInvalid, match=said):
        checked(head(HAND.fields(VALUES, created=NOW_S, more=more)))


def test_what_a_signature_may_say_beside_is_allowed() -> None:
    more = f';alg="ed25519";expires={NOW_S + 60};nonce="n";tag="mine"'

    checked(head(HAND.fields(VALUES, created=NOW_S, more=more)))


@pytest.mark.parametrize("name", VALUES)
def test_a_component_that_is_not_covered_is_named(name: str) -> None:
    values = {own: value for own, value in VALUES.items() if own != name}

    with pytest.raises(SignatureInvalid, match=f"does not cover {name}"):
        checked(head(HAND.fields(values, created=NOW_S)))


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", URL),
        ("GET", URL.replace("devices", "groups")),
        ("GET", URL + "0"),
        ("GET", URL.partition("?")[0]),
        ("GET", "https://telemetry.example/api/v1/telemetry/devices?limit=5 "),
    ],
)
def test_a_request_that_was_changed_is_refused(method: str, url: str) -> None:
    with pytest.raises(SignatureInvalid):
        checked(head(HAND.fields(VALUES, created=NOW_S), method=method, url=url))


def test_another_keys_signature_is_refused() -> None:
    other = HandSigner(HAND.key_id)

    with pytest.raises(SignatureInvalid):
        checked(head(other.fields(VALUES, created=NOW_S)))


def test_without_any_signature_one_is_asked_for() -> None:
    with pytest.raises(SignatureRequired):
        checked(head({"host": "x"}))


@pytest.mark.parametrize("left", ["signature-input", "signature"])
def test_one_field_without_the_other_is_refused(left: str) -> None:
    fields = HAND.fields(VALUES, created=NOW_S)

    with pytest.raises(SignatureInvalid):
        checked(head({left: fields[left]}))


def test_only_the_signature_that_names_the_key_counts() -> None:
    others = HandSigner("somebody").fields(VALUES, created=1, label="proxy")
    ours = HAND.fields(VALUES, created=NOW_S)
    both = {name: f"{others[name]}, {ours[name]}" for name in ours}

    checked(head(both))

    swapped = both | {"signature": both["signature"].replace("sig1", "sig2")}
    with pytest.raises(SignatureInvalid, match="label sig1"):
        checked(head(swapped))


def test_two_that_name_the_key_are_refused() -> None:
    first, second = (HAND.fields(VALUES, created=NOW_S, label=label) for label in ("a", "b"))

    with pytest.raises(SignatureInvalid, match="exactly one"):
        checked(head({name: f"{first[name]}, {second[name]}" for name in first}))


def test_a_label_that_comes_twice_is_refused() -> None:
    fields = HAND.fields(VALUES, created=NOW_S)

    with pytest.raises(SignatureInvalid, match="dictionary"):
        checked(head({name: f"{text}, {text}" for name, text in fields.items()}))


def test_long_fields_are_not_read() -> None:
    fields = HAND.fields(VALUES, created=NOW_S)
    fields["signature-input"] += f';nonce="{"n" * FIELD_CHARACTERS_MAX}"'

    with pytest.raises(SignatureInvalid, match="longer"):
        checked(head(fields))


def test_many_components_are_not_looked_at() -> None:
    values = VALUES | {f"x-{number}": "1" for number in range(30)}
    fields = HAND.fields(values, created=NOW_S)

    with pytest.raises(SignatureInvalid, match="up to 32"):
        checked(head(fields | {name: "1" for name in values if name.startswith("x-")}))


@pytest.mark.parametrize("form", ['"x";sf', '"x";key="a"', '"x";bs', '"@query-param";name="limit"'])
def test_parts_of_a_component_are_not_read(form: str) -> None:
    fields = HAND.fields(VALUES, created=NOW_S)
    fields["signature-input"] = fields["signature-input"].replace('"@path"', f'"@path" {form}')

    with pytest.raises(SignatureInvalid, match="as a whole"):
        checked(head(fields | {"x": "a=1"}))


SNIPPETS = st.sampled_from(
    ['"@method"', '"@path";bs', '"x";sf;key="a"', '"@query-param";name="a"', "(", ")", ";created=1",
     f";created={NOW_S}", ";created=@1", ';keyid="key_0123"', ";keyid=key_0123", "sig1=", ":AA==:",
     "::", ",", " ", "=", "?1", '"', "\\", "%", "@99999999999999", "-9999999999999999", "1.5",
     ';alg="ed25519"', '"@status"', '"@signature-params"', '"signature";key="sig1"', "é", "\x00",
     '"host";req', '"\x7f"', "\t", '%"%ff"', "Ā"[:0]]
)  # fmt: skip
HOSTILE = st.lists(SNIPPETS, max_size=24).map("".join) | st.text(
    st.characters(max_codepoint=255), max_size=200
)


@given(inputs=HOSTILE, signature=HOSTILE, is_whole=st.booleans())
def test_any_text_is_refused_and_never_an_error_of_ours(
    inputs: str, signature: str, is_whole: bool
) -> None:
    fields = {"host": "x", "x": "a=1", "signature-input": inputs, "signature": signature}
    if is_whole:
        ours = HAND.fields({}, created=NOW_S)["signature-input"]
        fields["signature-input"] = ours.replace("()", f"({inputs})")
        fields["signature"] = "sig1=:AA==:"

    with pytest.raises(Unauthenticated):
        checked(head(fields))


@given(HOSTILE)
def test_any_digest_is_refused_and_never_an_error_of_ours(field: str) -> None:
    with pytest.raises(DigestMismatch):
        check_digest(field, b"body")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_digest_is_that_of_the_body(algorithm: str) -> None:
    field = digest_of(b"body", algorithm)

    check_digest(field, b"body")
    check_digest(None, b"")
    for body in (b"bodY", b""):
        with pytest.raises(DigestMismatch):
            check_digest(field, body)
    with pytest.raises(DigestMismatch):
        check_digest(f"{field}, {'x' * 512}", b"body")
    with pytest.raises(DigestMismatch, match="without"):
        check_digest(None, b"body")


def test_of_two_digests_both_have_to_be_right() -> None:
    right, wrong = digest_of(b"body"), digest_of(b"other", "sha512")

    check_digest(f"{right}, {digest_of(b'body', 'sha512')}", b"body")
    with pytest.raises(DigestMismatch):
        check_digest(f"{right}, {wrong}", b"body")


def test_a_public_key_is_read_from_pem_and_from_base64() -> None:
    assert public_key_of(HAND.public_pem) == HAND.public_bytes
    assert public_key_of(HAND.public_text + "\n") == HAND.public_bytes
    assert public_key_of(shown_key(HAND.public_bytes) or "") == HAND.public_bytes


RSA = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----"""


@pytest.mark.parametrize(
    "text", ["", "AAAA", "é", "A" * 43 + "!", RSA, "-----BEGIN PUBLIC KEY-----", "=" * 44]
)
def test_anything_else_is_no_public_key(text: str) -> None:
    with pytest.raises(Invalid, match="Ed25519"):
        public_key_of(text)


WEAK = [
    "00" * 32, "00" * 31 + "80", "01" + "00" * 31, "ec" + "ff" * 30 + "7f", "ed" + "ff" * 31,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]  # fmt: skip


@pytest.mark.parametrize("point", WEAK)
def test_a_point_that_anybody_can_sign_for_is_no_public_key(point: str) -> None:
    with pytest.raises(Invalid):
        public_key_of(base64.b64encode(bytes.fromhex(point)).decode())


def test_a_private_key_is_no_public_key_and_is_not_repeated() -> None:
    text = HAND.private_pem.decode()

    with pytest.raises(Invalid) as refused:
        public_key_of(text)

    assert text.splitlines()[1] not in f"{refused.value}{refused.value.errors}"


def test_a_signature_in_the_name_of_a_key_is_noticed_without_reading_it() -> None:
    fields = HAND.fields(VALUES, created=NOW_S)

    assert names(fields["signature-input"].encode(), HAND.key_id)
    assert not names(fields["signature-input"].encode(), "key_012")
