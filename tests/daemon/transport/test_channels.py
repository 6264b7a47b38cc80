"""Channels, silences and the ledger over HTTP (contract 7.2): shapes, refusals, what keys see."""

from __future__ import annotations

from typing import Any

import pytest
from control import API, Control, bearer

pytestmark = pytest.mark.anyio
CHANNELS, SILENCES = f"{API}/channels", f"{API}/silences"
HOOK = {"name": "ops", "kind": "webhook", "url": "https://example.com/hook"}
MAIL = {
    "name": "m",
    "kind": "email",
    "host": "mail.example.com",
    "from": "a@b.org",
    "to": "c@d.org",
}
FOR_LONG = "2999-01-01T00:00:00Z"


async def post(control: Control, path: str, body: Any, status: int = 201) -> dict[str, Any]:
    answer = await control.client.post(path, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


class TestChannels:
    async def test_a_webhook_gets_a_secret_that_is_shown_once(self, control: Control) -> None:
        made = await post(control, CHANNELS, HOOK)
        shown = (await control.client.get(f"{CHANNELS}/ops")).json()
        listed = (await control.client.get(CHANNELS)).json()

        assert made["channel_id"].startswith("chn_")
        assert made["secret"].startswith("whsec_")
        assert (shown["url"], shown["secrets"], shown["revision"]) == (HOOK["url"], ["secret"], 1)
        assert "secret" not in shown
        assert (listed["count"], listed["total"], listed["channels"]) == (1, 1, [shown])

    async def test_no_secret_is_in_the_database(self, control: Control) -> None:
        hook = {"name": "chat", "kind": "slack", "url": "https://hooks.example.com/T0/token"}
        await post(control, CHANNELS, hook)
        await post(control, CHANNELS, MAIL | {"username": "u", "password": "pa55word"})
        async with control.database.connection("control") as connection:
            rows = await connection.fetch("select c::text as row from telemetry.channel c")

        text = " ".join(row["row"] for row in rows)
        for secret in ("token", "pa55word", b"token".hex(), b"pa55word".hex()):
            assert secret not in text

    async def test_mail_has_defaults(self, control: Control) -> None:
        made = await post(control, CHANNELS, MAIL)

        assert (made["port"], made["tls"], made["to"]) == (587, "auto", ["c@d.org"])

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (HOOK | {"kind": "pigeon"}, "enum"),
            (HOOK | {"name": "a b"}, "string_pattern_mismatch"),
            (HOOK | {"host": "x"}, "unknown_field"),
            (HOOK | {"url": None}, "missing"),
            (HOOK | {"url": "http://example.com/"}, "address_not_allowed"),
            (HOOK | {"url": "https://169.254.169.254/latest"}, "address_not_allowed"),
            (HOOK | {"url": "https://[::ffff:10.0.0.1]/"}, "address_not_allowed"),
            (HOOK | {"url": "ftp://example.com/"}, "bad_url"),
            (HOOK | {"secret": "hunter2"}, "bad_value"),
            (HOOK | {"secret": "whsec_AAAA"}, "bad_value"),
            (HOOK | {"fallback": "ops"}, "unknown_channel"),
            (HOOK | {"fallback": "nobody"}, "unknown_channel"),
            (HOOK | {"more": 1}, "extra_forbidden"),
            (MAIL | {"to": "a@b.org\r\nBcc: x@y.org"}, None),
            (MAIL | {"to": ["no mailbox"]}, "bad_value"),
            (MAIL | {"host": "10.0.0.1"}, "address_not_allowed"),
            (MAIL | {"tls": "none"}, "bad_value"),
            (MAIL | {"username": "u"}, "bad_value"),
            ({"name": "s", "kind": "stream", "url": "https://example.com"}, "unknown_field"),
        ],
    )
    async def test_an_impossible_channel_is_refused(
        self, control: Control, body: dict[str, Any], code: str | None
    ) -> None:
        answer = await post(control, CHANNELS, body, 422)

        assert code is None or answer["errors"][0]["code"] == code

    async def test_names_are_unique(self, control: Control) -> None:
        await post(control, CHANNELS, HOOK)

        assert (await post(control, CHANNELS, HOOK, 409))["code"] == "name_taken"

    async def test_a_change_keeps_what_is_not_named_and_null_clears(self, control: Control) -> None:
        await post(control, CHANNELS, {"name": "in", "kind": "stream"})
        secret = (await post(control, CHANNELS, HOOK | {"fallback": "in"}))["secret"]
        change = {"url": "https://example.com/other", "fallback": None}
        changed = await control.client.patch(f"{CHANNELS}/ops", json=change)
        refused = await control.client.patch(f"{CHANNELS}/ops", json={"url": "https://127.0.0.2"})

        services = control.services
        channel = await services.channels.find("ops")
        kept = services.channels._box.open(channel.secrets, about=channel.channel_id)
        assert (changed.json()["url"], changed.json()["fallback"]) == (change["url"], None)
        assert changed.json()["revision"] == 2
        assert kept == {"secret": secret}
        assert refused.status_code == 422

    async def test_deleting_one_names_the_rules_that_tell_it(self, control: Control) -> None:
        await post(control, CHANNELS, HOOK)
        rule = {"name": "hot", "metric_name": "m", "condition": ">", "threshold_value": 1}
        await post(control, f"{API}/alerts/rules", rule | {"notification_channels": ["ops"]})
        gone = await control.client.delete(f"{CHANNELS}/ops")
        again = await control.client.delete(f"{CHANNELS}/ops")

        assert gone.json()["rules"] == ["hot"]
        assert (again.status_code, again.json()["code"]) == (404, "unknown_channel")

    async def test_a_bound_key_changes_none_and_sees_no_settings(self, control: Control) -> None:
        await post(control, CHANNELS, HOOK)
        token = await control.key("read", "alerts:write", devices=("a-*",))
        seen = await control.client.get(f"{CHANNELS}/ops", headers=bearer(token))
        calls: list[tuple[str, str, Any]] = [
            ("POST", CHANNELS, HOOK | {"name": "x"}),
            ("PATCH", f"{CHANNELS}/ops", {}),
            ("DELETE", f"{CHANNELS}/ops", None),
            ("POST", f"{CHANNELS}/ops/test", None),
        ]
        answers = [
            await control.client.request(method, path, json=body, headers=bearer(token))
            for method, path, body in calls
        ]

        assert "url" not in seen.json()
        assert {answer.status_code for answer in answers} == {403}

    async def test_a_reader_changes_nothing(self, control: Control) -> None:
        token = await control.key("read")
        answer = await control.client.post(CHANNELS, json=HOOK, headers=bearer(token))

        assert answer.status_code == 403


class TestSilences:
    async def test_a_silence_begins_now_unless_it_says_when(self, control: Control) -> None:
        body = {"matchers": {"device_id": ["a", "b*"], "level": "info"}, "ends_at": FOR_LONG}
        made = await post(control, SILENCES, body | {"comment": "works"})
        later = await post(control, SILENCES, body | {"starts_at": "2998-01-01T00:00:00Z"})
        shown = (await control.client.get(f"{SILENCES}/{made['silence_id']}")).json()
        listed = (await control.client.get(SILENCES)).json()

        assert made["silence_id"].startswith("sil_")
        assert (made["matchers"], made["comment"]) == (body["matchers"], "works")
        assert (made["state"], later["state"]) == ("active", "pending")
        assert shown == made
        assert listed["total"] == 2

    @pytest.mark.parametrize(
        "change",
        [
            {"matchers": {}},
            {"matchers": {"colour": "red"}},
            {"matchers": {"level": "loud"}},
            {"matchers": {"device_id": []}},
            {"matchers": {"device_id": ""}},
            {"matchers": {"device_id": None}},
            {"ends_at": "2000-01-01T00:00:00Z"},
            {"ends_at": None},
            {"starts_at": "2999-06-01T00:00:00Z"},
        ],
    )
    async def test_an_impossible_silence_is_refused(
        self, control: Control, change: dict[str, Any]
    ) -> None:
        await post(
            control, SILENCES, {"matchers": {"device_id": "a"}, "ends_at": FOR_LONG} | change, 422
        )

    async def test_a_silence_is_changed_and_ended_once(self, control: Control) -> None:
        body = {"matchers": {"device_id": "a"}, "ends_at": FOR_LONG}
        path = f"{SILENCES}/{(await post(control, SILENCES, body))['silence_id']}"
        changed = await control.client.patch(path, json={"ends_at": "2998-01-01T00:00:00Z"})
        ended = await control.client.delete(path)
        again = await control.client.delete(path)
        late = await control.client.patch(path, json={"comment": "x"})
        # It ended by the clock of the database, which went on meanwhile.
        control.clock.advance_s(600)
        shown = await control.client.get(path)
        listed = await control.client.get(SILENCES)

        assert changed.json()["ends_at"] == "2998-01-01T00:00:00Z"
        assert ended.json()["success"]
        assert (again.status_code, again.json()["code"]) == (409, "silence_over")
        assert late.status_code == 409
        assert shown.json()["state"] == "expired"
        assert listed.json()["silences"] == []

    async def test_a_bound_key_silences_only_devices_that_it_sees(self, control: Control) -> None:
        headers = bearer(await control.key("read", "alerts:write", devices=("a-*",)))

        async def ask(matchers: dict[str, Any]) -> int:
            body = {"matchers": matchers, "ends_at": FOR_LONG}
            answer = await control.client.post(SILENCES, json=body, headers=headers)
            return answer.status_code

        await post(control, SILENCES, {"matchers": {"level": "info"}, "ends_at": FOR_LONG})

        assert await ask({"device_id": "a-1"}) == 201
        assert await ask({"device_id": ["a-1", "a-2"], "level": "info"}) == 201
        for matchers in ({"level": "info"}, {"device_id": "b-1"}, {"device_id": "a-*"},
                         {"device_id": ["a-1", "b-1"]}, {"metric_name": "m"}):  # fmt: skip
            assert await ask(matchers) == 403
        assert (await control.client.get(SILENCES, headers=headers)).json()["total"] == 2
        assert (await control.client.get(SILENCES)).json()["total"] == 3


class TestTheLedger:
    async def test_a_test_is_in_the_ledger_whatever_came_of_it(self, control: Control) -> None:
        body = HOOK | {"url": "http://127.0.0.1:9/"}
        await post(control, CHANNELS, body)
        tested = await post(control, f"{CHANNELS}/ops/test", {}, 200)
        listed = (await control.client.get(f"{API}/notifications?channel=ops")).json()
        channel = (await control.client.get(f"{CHANNELS}/ops")).json()

        row = listed["notifications"][0]
        assert (tested["success"], tested["status"]) == (False, "dead")
        assert tested["detail"] == "the connection was refused"
        assert (row["kind"], row["status"], row["verdict"]) == ("test", "dead", "failed")
        assert row["notification_id"] == tested["notification_id"]
        assert row["ledger"][0]["outcome"] == "failed"
        assert (channel["failures"], channel["last_error"]) == (1, "the connection was refused")

    async def test_only_what_was_given_up_is_sent_again(self, control: Control) -> None:
        await post(control, CHANNELS, {"name": "in", "kind": "stream"})
        tested = await post(control, f"{CHANNELS}/in/test", {}, 200)
        path = f"{API}/notifications/{tested['notification_id']}/retry"

        assert tested["success"]
        assert (await post(control, path, {}, 409))["code"] == "not_retryable"
        missing = await post(control, f"{API}/notifications/ntf_0/retry", {}, 404)
        assert missing["code"] == "unknown_notification"

    async def test_a_bound_key_sees_messages_about_its_devices(self, control: Control) -> None:
        async with control.database.connection("control") as connection:
            for device in ("a-1", "b-1", None):
                await connection.execute(
                    "insert into telemetry.notification (notification_id, device_id, metric_name,"
                    " channel, kind, status, idempotency_key)"
                    " values ('ntf_' || coalesce($1, 'x'), $1, 'm', 'ops', 'fire', 'dead',"
                    " coalesce($1, 'x'))",
                    device,
                )
        headers = bearer(await control.key("read", "alerts:write", devices=("a-*",)))
        listed = await control.client.get(f"{API}/notifications", headers=headers)
        hidden = await control.client.get(f"{API}/notifications/ntf_b", headers=headers)
        everything = await control.client.get(f"{API}/notifications?status=dead")

        assert [n["device_id"] for n in listed.json()["notifications"]] == ["a-1"]
        assert listed.json()["total"] == 1
        assert hidden.status_code == 404
        assert everything.json()["total"] == 3
