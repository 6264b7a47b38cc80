"""No forged access token comes in, and none does any harm: 401, never 500."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from control import API, JWT_SECRET, Control, bearer
from cryptography.hazmat.primitives.asymmetric import rsa
from forged_tokens import FOREIGN_AUDIENCE, FOREIGN_ISSUER, Forge, forged
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.bearer import BadToken, own_issuer, read
from daemon.domain.errors import StoreUnavailable
from daemon.domain.foreign import ForeignRights
from daemon.service.guesses import OF_AN_ADDRESS_MAX
from daemon.service.issuers import IssuerSettings, load_issuer
from daemon.service.sessions import SessionSettings
from daemon.store.keys import KeyStore
from daemon.store.sessions import SessionStore

pytestmark = pytest.mark.anyio
PRIVATE = rsa.generate_private_key(65_537, 2_048)
NONE = {"Authorization": ""}
NOW_S = 1_800_000_000
FORGE = Forge(JWT_SECRET, NOW_S, "key_x", "ses_x", PRIVATE)
OWN = {"telemetryctl": own_issuer([JWT_SECRET])}


@pytest.fixture
async def forge(control: Control, tmp_path: Path) -> Forge:
    """A forge that knows a session which is alive; the daemon knows the other issuer."""
    answer = await control.client.post("/auth/login", json={"api_key": control.token}, headers=NONE)
    payload = answer.json()["access_token"].split(".")[1]
    claims = base64.urlsafe_b64decode(payload + "==").decode()
    said = json.loads(claims)
    now_s = control.clock.now_us() // 1_000_000
    made = Forge(JWT_SECRET, now_s, said["sub"], said["sid"], PRIVATE)
    file = tmp_path / "issuer.pem"
    file.write_bytes(made.public_pem)
    issuer = load_issuer(
        IssuerSettings(
            name="id", issuer=FOREIGN_ISSUER, audience=FOREIGN_AUDIENCE, algorithm="RS256",
            rights=ForeignRights(scopes={"boss": ["admin"], "read": ["read"]}), key_file=file,
        )
    )  # fmt: skip
    control.services.sessions.configure(SessionSettings((JWT_SECRET,), (issuer,)))
    return made


async def test_honest_tokens_come_in(control: Control, forge: Forge) -> None:
    for token in (forge.honest(), forge.foreign(), forge.foreign({"kid": "any"})):
        answer = await control.client.get(f"{API}/devices", headers=bearer(token))
        assert answer.status_code == 200, answer.text


@pytest.fixture
async def bare(control: Control) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a credential of its own."""
    transport = control.client._transport
    async with httpx.AsyncClient(transport=transport, base_url="http://daemon") as client:
        yield client


async def test_no_forged_token_comes_in(bare: httpx.AsyncClient, forge: Forge) -> None:
    cases = list(forged(forge))
    assert len(cases) >= 60
    assert len({token for _, token in cases}) >= 120

    for what, token in cases:
        raw = token.encode("utf-8", "replace")
        for name, value in ((b"authorization", b"Bearer " + raw), (b"x-api-key", raw)):
            answer = await bare.get(f"{API}/devices", headers=[(name, value)])
            assert answer.status_code == 401, f"{what}: {answer.status_code} {token[:100]}"
            assert answer.json()["code"] == "unauthenticated"
            assert token not in answer.text or len(token) < 3


async def test_no_forged_token_logs_anybody_out(control: Control, forge: Forge) -> None:
    sendable = [(what, t) for what, t in forged(forge) if t.isascii() and t.isprintable()]
    # From one address no more are tried than may be wrong.
    for what, token in sendable[:: len(sendable) // OF_AN_ADDRESS_MAX + 1]:
        answer = await control.client.post("/auth/logout", headers=bearer(token))
        assert answer.status_code == 401, what
    assert (await control.client.get(f"{API}/devices", headers=bearer(forge.honest()))).is_success


async def test_two_credentials_that_differ_are_none(
    control: Control, bare: httpx.AsyncClient, forge: Forge
) -> None:
    honest = forge.honest()
    both = [
        [("authorization", f"Bearer {honest}"), ("authorization", "Bearer x")],
        [("authorization", "Bearer x"), ("authorization", f"Bearer {honest}")],
        [("authorization", f"Bearer {honest}"), ("x-api-key", control.token)],
    ]
    same = [("authorization", f"Bearer {honest}"), ("x-api-key", honest)]
    for headers in both:
        assert (await bare.get(f"{API}/devices", headers=headers)).status_code == 401
    assert (await bare.get(f"{API}/devices", headers=same)).status_code == 200


async def test_a_foreign_token_may_do_what_its_scopes_say(control: Control, forge: Forge) -> None:
    token = forge.foreign(scope="read admin keys unknown")

    who = (await control.client.get("/auth/whoami", headers=bearer(token))).json()
    assert (who["principal"], who["scopes"], who["tier"]) == ("id:somebody", ["read"], "free")
    assert (await control.client.get(f"{API}/keys", headers=bearer(token))).status_code == 403
    ticket = await control.client.post(f"{API}/tickets", headers=bearer(token))
    assert ticket.json()["code"] == "foreign_token"


async def test_a_foreign_token_makes_nothing_that_outlives_it(
    control: Control, forge: Forge
) -> None:
    who = bearer(forge.foreign(scope="boss"))
    account = {"username": "ann", "password": "correct horse", "scopes": ["read"], "tier": "free"}
    key = {"name": "k", "scopes": ["read"], "tier": "free"}

    answers = [
        await control.client.post(f"{API}/accounts", json=account, headers=who),
        await control.client.post(f"{API}/keys", json=key, headers=who),
    ]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(403, "foreign_token")] * 2
    assert (await control.client.get(f"{API}/accounts", headers=who)).json()["accounts"] == []


def test_the_honest_token_is_read() -> None:
    claims = read(FORGE.honest(), issuers=OWN, now_s=NOW_S)

    assert (claims.subject, claims.session_id) == ("key_x", "ses_x")


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 600),
        st.sampled_from(["replace", "insert", "delete", "swap"]),
        st.characters(min_codepoint=0, max_codepoint=0x10FFFF),
    ),
    min_size=1,
    max_size=6,
)


def mutated(token: str, changes: list[tuple[int, str, str]]) -> str:
    text = list(token)
    for place, kind, letter in changes:
        at = place % max(1, len(text))
        if kind == "insert" or not text:
            text.insert(at, letter)
        elif kind == "replace":
            text[at] = letter
        elif kind == "delete":
            del text[at]
        else:
            text[at], text[-1 - at] = text[-1 - at], text[at]
    return "".join(text)


@given(MUTATIONS)
@settings(max_examples=1_000)
def test_a_token_that_was_changed_anywhere_is_refused(changes: list[tuple[int, str, str]]) -> None:
    honest = FORGE.honest()
    token = mutated(honest, changes)
    if token == honest:
        return

    with pytest.raises(BadToken):
        read(token, issuers=OWN, now_s=NOW_S)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.sampled_from(["iss", "aud", "sub", "sid", "jti", "iat", "exp", "nbf", "other"]), ANY_JSON)
@settings(max_examples=500)
def test_whatever_a_rightly_signed_claim_is_nothing_but_bad_token_is_raised(
    name: str, value: object
) -> None:
    try:
        claims = read(FORGE.with_claims(**{name: value}), issuers=OWN, now_s=NOW_S)
    except BadToken:
        return

    assert claims.subject
    assert claims.session_id
    assert claims.expires_s > NOW_S


async def test_without_the_database_a_forged_token_is_401_and_an_honest_one_503(
    control: Control, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_away(*_: object) -> None:
        raise StoreUnavailable

    known = forge.honest()
    assert (await control.client.get(f"{API}/devices", headers=bearer(known))).is_success
    monkeypatch.setattr(SessionStore, "find", is_away)
    monkeypatch.setattr(KeyStore, "find", is_away)

    unsigned = known.rpartition(".")[0] + "." + "x" * 43
    statuses = [
        (await control.client.get("/auth/whoami", headers=bearer(token))).status_code
        for token in (unsigned, forge.with_claims(jti="another"), "rubbish")
    ]
    again = await control.client.get(f"{API}/latest?device_ids=d", headers=bearer(known))

    assert statuses == [401, 503, 401]
    assert again.status_code == 200
