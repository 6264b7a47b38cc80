"""Mail over SMTP: one plain text message to all recipients of a channel."""

from __future__ import annotations

import asyncio
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib

from daemon.delivery.outbound import Outbound, Unreachable
from daemon.domain.addresses import AddressRefused
from daemon.domain.channels import MailTls
from daemon.domain.deliveries import Address, Outcome, Outgoing

TIMEOUT_S = 10.0
"""For the whole exchange, which takes a dozen round trips."""
TLS_PORT = 465
SUBJECT_CHARS_MAX = 200


class TlsMissing(Exception):
    """The server does not encrypt, and is none that may do without."""


async def send(outgoing: Outgoing, address: Address, *, outbound: Outbound) -> Outcome:
    """Hand it to the server; sent is what it took for every recipient."""
    server = aiosmtplib.SMTP(hostname=address.settings["host"], timeout=TIMEOUT_S)
    is_handed = False
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await _open(server, address, outbound)
            is_handed = True
            refused, _ = await server.send_message(mail_of(outgoing, address))
    except (AddressRefused, TlsMissing) as error:
        return Outcome(is_sent=False, detail=str(error), is_final=True)
    except (Unreachable, OSError) as error:
        why = str(error) if isinstance(error, Unreachable) else "the connection failed"
        return Outcome(is_sent=False, detail=why, may_be_told=is_handed)
    except (TimeoutError, aiosmtplib.SMTPTimeoutError, aiosmtplib.SMTPServerDisconnected):
        return Outcome(is_sent=False, detail="the connection broke", may_be_told=is_handed)
    except aiosmtplib.SMTPRecipientsRefused as error:
        return _refused(max(one.code for one in error.recipients))
    except aiosmtplib.SMTPResponseException as error:
        return _refused(error.code)
    except aiosmtplib.SMTPException as error:
        return Outcome(is_sent=False, detail=type(error).__name__)
    finally:
        server.close()
    detail = f"refused for {len(refused)} of the recipients" if refused else None
    return Outcome(is_sent=True, status_code=250, detail=detail)


async def _open(server: aiosmtplib.SMTP, address: Address, outbound: Outbound) -> None:
    settings = address.settings
    host, port, tls = settings["host"], settings["port"], settings["tls"]
    is_trusted = outbound.is_trusted(host)
    begins_with_tls = tls == MailTls.TLS or (tls == MailTls.AUTO and port == TLS_PORT)
    await server.connect(
        sock=await outbound.connect(host, port), use_tls=begins_with_tls, start_tls=False
    )
    if not begins_with_tls and tls != MailTls.NONE:
        await server.ehlo()
        if server.supports_extension("starttls"):
            await server.starttls()
        elif tls == MailTls.STARTTLS or not is_trusted:
            raise TlsMissing("the mail server offers no TLS")
    if "username" in settings:
        await server.login(settings["username"], address.secrets["password"])


def mail_of(outgoing: Outgoing, address: Address) -> EmailMessage:
    """The mail; its id is that of the message, so that a repeat is known as one."""
    sender = address.settings["from"]
    mail = EmailMessage()
    mail["Subject"] = " ".join(outgoing.title.split())[:SUBJECT_CHARS_MAX]
    mail["From"] = Mailbox(addr_spec=sender)
    mail["To"] = [Mailbox(addr_spec=one) for one in address.settings["to"]]
    mail["Date"] = format_datetime(outgoing.time)
    mail["Message-ID"] = f"<{outgoing.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    if outgoing.subject is not None:
        # All about one alert is one conversation.
        mail["References"] = f"<{outgoing.subject}@{sender.rpartition('@')[2]}>"
    mail.set_content(outgoing.text)
    return mail


def _refused(code: int) -> Outcome:
    """4yz is for now, 5yz for good (RFC 5321, 4.2.1)."""
    return Outcome(
        is_sent=False,
        status_code=code,
        detail=f"the mail server answered {code}",
        is_final=500 <= code < 600,
    )
