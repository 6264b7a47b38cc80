"""What each kind of channel sends, to receivers that are real or speak for themselves."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from certificates import self_signed
from receivers import Sink, free_port, http_sink, mail_sink

from daemon.clock import ManualClock
from daemon.delivery import alertmanager, apprise, email, slack, webhook
from daemon.delivery.outbound import Outbound
from daemon.domain.channels import key_of, settings_of
from daemon.domain.deliveries import Address, Outgoing

pytestmark = pytest.mark.anyio
HERE = ["127.0.0.1"]
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with http_sink() as found:
        yield found


def an_alert(**fields: Any) -> dict[str, Any]:
    return {
        "alert_id": "alr_1", "rule_id": "rul_1", "rule_name": "hot <oven>", "device_id": "oven",
        "group_id": None, "metric_name": "heat", "level": "error", "status": "active",
        "message": "heat of oven is 99", "triggered_at": NOON, "resolved_at": None,
    } | fields  # fmt: skip


def a_message(*alerts: dict[str, Any], **fields: Any) -> Outgoing:
    return Outgoing(
        **{  # type: ignore[arg-type]
            "id": "ntf_1", "type": "alert.triggered", "source": "urn:telemetry:1", "time": NOON,
            "subject": "alr_1", "level": "error", "title": "[ERROR] hot <oven>: oven",
            "text": "heat of oven is 99\n<@here> & more", "data": {"a": 1}, "alerts": alerts,
        }
        | fields
    )  # fmt: skip


def mail_to(port: int, *, allow: list[str] | None = None, **given: Any) -> Address:
    said = {"host": "127.0.0.1", "port": port, "from": "a@b.org", "to": ["c@d.org"]} | given
    settings = settings_of("email", said, allow_hosts=HERE if allow is None else allow)
    return Address("mail", "email", settings.plain, settings.secret)


async def test_the_signature_is_that_of_the_standards_own_example() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, spec, "Verifying webhooks".
    signed = webhook.signature(
        b'{"event_type":"ping"}',
        id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        stamp=1614265330,
        key=key_of(SECRET),
    )

    # Written out with the reference implementation's three steps.
    import hashlib
    import hmac

    content = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"event_type":"ping"}'
    digest = hmac.digest(base64.b64decode(SECRET[6:]), content, hashlib.sha256)
    assert signed == f"v1,{base64.b64encode(digest).decode()}"


async def test_a_webhook_is_a_cloud_event_of_the_moment(sink: Sink) -> None:
    address = Address("ops", "webhook", {"url": sink.url}, {"secret": SECRET})
    clock = ManualClock(1_700_000_000_500_000)

    outcome = await webhook.send(a_message(), address, outbound=Outbound(HERE), clock=clock)

    request = sink.requests[0]
    assert outcome.is_sent
    assert request.is_signed_with(SECRET)
    assert request.headers["webhook-timestamp"] == "1700000000"
    assert request.json == {
        "specversion": "1.0", "id": "ntf_1", "type": "alert.triggered",
        "source": "urn:telemetry:1", "time": "2026-11-21T12:00:00Z", "subject": "alr_1",
        "datacontenttype": "application/json", "data": {"a": 1},
    }  # fmt: skip


async def test_slack_text_mentions_nobody(sink: Sink) -> None:
    address = Address("chat", "slack", {}, {"url": f"{sink.url}/T0"})

    await slack.send(a_message(), address, outbound=Outbound(HERE))

    body = sink.requests[0].json
    assert body["text"] == "*[ERROR] hot &lt;oven&gt;: oven*"
    assert "&lt;@here&gt; &amp; more" in body["attachments"][0]["text"]


async def test_alertmanager_is_told_when_it_ends_or_that_it_goes_on(sink: Sink) -> None:
    over = an_alert(status="resolved", resolved_at=NOON - timedelta(minutes=1), alert_id="alr_2")
    address = Address(
        "am", "alertmanager", {"url": f"{sink.url}/am/", "username": "u"}, {"password": "p"}
    )

    await alertmanager.send(a_message(an_alert(), over), address, outbound=Outbound(HERE))

    request = sink.requests[0]
    first, second = request.json
    assert request.path == "/am/api/v2/alerts"
    assert request.headers["authorization"] == "Basic dTpw"
    assert first["labels"] == {
        "alertname": "hot <oven>", "severity": "error", "rule_id": "rul_1", "alert_id": "alr_1",
        "device_id": "oven", "metric_name": "heat",
    }  # fmt: skip
    assert first["endsAt"] == "2027-11-21T12:00:00Z"
    # Over by the clock of the other side, too, and never before it began.
    assert second["endsAt"] == "2026-11-21T11:58:50Z"
    assert second["startsAt"] == "2026-11-21T11:58:49Z"


class TestMail:
    async def test_headers_hold_one_line_whatever_a_rule_is_called(self) -> None:
        title = "a\r\nBcc: x@y.org\r\n\r\nbody"
        mail = email.mail_of(a_message(title=title), mail_to(25))

        assert mail["Subject"] == "a Bcc: x@y.org body"
        assert mail["Bcc"] is None
        assert mail["Message-ID"] == "<ntf_1@b.org>"

    async def test_it_logs_in_over_tls(self, certificate: tuple[Path, ssl.SSLContext]) -> None:
        tried: list[LoginPassword] = []

        def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
            tried.append(data)
            return AuthResult(success=True)

        options = {
            "tls_context": certificate[1], "require_starttls": True, "auth_required": True,
            "authenticator": check,
        }  # fmt: skip
        with mail_sink(**options) as mails:
            address = mail_to(mails.port, username="u", password="p")
            outcome = await email.send(a_message(), address, outbound=Outbound(HERE))

        # The certificate is of nobody we know, and it is checked before the password is said.
        assert not outcome.is_sent
        assert tried == []
        assert mails.mails == []

    async def test_a_server_without_tls_gets_nothing_when_tls_is_wanted(self) -> None:
        with mail_sink() as mails:
            address = mail_to(mails.port, tls="starttls")
            outcome = await email.send(a_message(), address, outbound=Outbound(HERE))

        assert (outcome.is_sent, outcome.is_final) == (False, True)
        assert outcome.detail == "the mail server offers no TLS"
        assert mails.mails == []

    @pytest.mark.parametrize(("said", "is_final"), [("451 later", False), ("554 never", True)])
    async def test_a_refusal_is_for_now_or_for_good(self, said: str, is_final: bool) -> None:
        with mail_sink() as mails:
            mails.refusal = said
            outcome = await email.send(a_message(), mail_to(mails.port), outbound=Outbound(HERE))

        assert (outcome.is_sent, outcome.is_final) == (False, is_final)
        assert outcome.status_code == int(said[:3])
        assert not outcome.may_be_told

    async def test_a_closed_port_and_a_private_host_were_told_nothing(self) -> None:
        port = free_port()
        closed = await email.send(a_message(), mail_to(port), outbound=Outbound(HERE))
        private = await email.send(a_message(), mail_to(port), outbound=Outbound())

        assert (closed.is_sent, closed.may_be_told, closed.is_final) == (False, False, False)
        assert (private.is_sent, private.is_final) == (False, True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate that nobody vouches for."""
    return self_signed(tmp_path_factory.mktemp("tls"), "nobody.example")


# Apprise itself imports what Python 3.13 has no more, and stands in for it there.
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
class TestApprise:
    async def test_it_reaches_what_is_allowed(self, sink: Sink) -> None:
        pytest.importorskip("apprise")
        url = sink.url.replace("http://", "json://")
        address = Address("all", "apprise", {}, {"url": url})

        outcome = await apprise.send(a_message(), address, outbound=Outbound(HERE))

        assert outcome.is_sent
        assert sink.requests[0].json["title"] == "[ERROR] hot <oven>: oven"

    async def test_a_private_host_gets_nothing(self, sink: Sink) -> None:
        pytest.importorskip("apprise")
        url = sink.url.replace("http://", "json://")
        address = Address("all", "apprise", {}, {"url": url})

        outcome = await apprise.send(a_message(), address, outbound=Outbound())

        assert (outcome.is_sent, outcome.is_final) == (False, True)
        assert sink.requests == []
