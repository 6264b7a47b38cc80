"""The text of an API key."""

from __future__ import annotations

import re

import pytest

from daemon.domain.ids import new_id
from daemon.domain.tokens import digest_of, key_id_of, new_token

KEY_ID = new_id("key", now_us=1_700_000_000_000_000)


def test_a_key_says_its_environment_and_id() -> None:
    token = new_token(KEY_ID, env="live")

    assert re.fullmatch(r"tlm_live_[0-9a-z]{26}_[0-9a-z]{52}_[0-9a-f]{8}", token)
    assert key_id_of(token) == KEY_ID


def test_two_keys_of_one_id_differ() -> None:
    assert new_token(KEY_ID, env="live") != new_token(KEY_ID, env="live")


def test_any_mistyped_letter_is_noticed() -> None:
    token = new_token(KEY_ID, env="live")
    for at in range(len(token)):
        wrong = token[:at] + ("x" if token[at] != "x" else "y") + token[at + 1 :]
        assert key_id_of(wrong) is None, at


@pytest.mark.parametrize("text", ["", "tlm_", "tlm_live_a_b_c", "x" * 10_000, "tlm_\n"])
def test_other_text_is_no_key(text: str) -> None:
    assert key_id_of(text) is None


def test_only_a_hash_of_the_whole_is_stored() -> None:
    assert len(digest_of(new_token(KEY_ID, env="live"))) == 32
