"""E-mail through an SMTP server, encrypted and verified. The only file that imports aiosmtplib.

The message id is the notice's, so a mail that went out twice is one mail to most readers. What the server says is not
passed on: it may repeat what it was told. A code of 5xx is final, as RFC 5321 (4.2.1) has it.
"""

import contextlib
import email.utils
from email.message import EmailMessage
from typing import Annotated, Literal

from msgspec import Meta

from adapters.ctrader.secret import Secret
from adapters.notify.contract import Channel, ChannelSettings, Notice, Place, Port, Undelivered, headline, words
from adapters.notify.secrets import is_loopback, secret, tls_context
from bus.errors import ConfigError

NAME = "email"
_STEP_S, _GOODBYE_S = 10.0, 2.0
_ADDRESS = r"^[^@\s<>,;:\"]{1,64}@[A-Za-z0-9.-]{1,253}$"
Address = Annotated[str, Meta(pattern=_ADDRESS)]


class Settings(ChannelSettings, frozen=True, kw_only=True):
    """An SMTP server and who writes to whom.

    Attributes:
        host: of the server.
        port: 587 with starttls, 465 with tls, as a rule.
        security: ``starttls``, ``tls`` from the first byte, or ``none`` for a server on this machine.
        user: to log in as; empty = without a login.
        password_file: a file of mode 0600 with the password; empty = systemd's ``plimsoll-alerts-email-password``.
        sender: address that it comes from.
        recipients: addresses that it goes to.
        ca_file: a private authority; empty = the machine's.
    """

    host: Annotated[str, Meta(pattern="^[A-Za-z0-9.:-]{0,253}$")] = ""
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: str = ""
    sender: Annotated[str, Meta(pattern=f"^$|{_ADDRESS}")] = ""
    recipients: Annotated[tuple[Address, ...], Meta(max_length=20)] = ()
    ca_file: str = ""


class _Email:
    def __init__(self, settings: Settings) -> None:
        for key in ("host", "sender", "recipients"):
            if not getattr(settings, key):
                raise ConfigError(f"alerts.email.{key} is empty; an e-mail needs host, sender and recipients")
        if settings.security == "none" and not is_loopback(settings.host):
            raise ConfigError(
                f"alerts.email.security = 'none' with host {settings.host}: mail would travel in the clear; "
                "write 'starttls' or 'tls' (none is for 127.0.0.1)"
            )
        self._settings = settings
        self._password = secret("alerts.email.password_file", settings.password_file) if settings.user else Secret("")
        self._tls = tls_context("alerts.email.ca_file", settings.ca_file)

    async def send(self, notice: Notice) -> None:
        """See `Channel`."""
        import aiosmtplib

        own = self._settings
        client = aiosmtplib.SMTP(
            hostname=own.host,
            port=own.port,
            username=own.user or None,
            password=self._password.reveal() or None,
            use_tls=own.security == "tls",
            start_tls=own.security == "starttls",
            tls_context=None if own.security == "none" else self._tls,
            local_hostname="plimsoll",
            timeout=_STEP_S,
        )
        try:
            await client.connect()
            refused, _ = await client.send_message(
                self._message(notice), sender=own.sender, recipients=list(own.recipients)
            )
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):  # it has the mail, whatever it says to that
                await client.quit(timeout=_GOODBYE_S)
        except aiosmtplib.SMTPResponseException as error:
            raise Undelivered(f"SMTP {error.code}", final=error.code >= 500) from None
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = sorted({each.code for each in error.recipients})
            raise Undelivered(f"SMTP {codes[0]} for every recipient", final=codes[0] >= 500) from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise Undelivered(f"the SMTP server cannot be used ({type(error).__name__})") from None
        finally:
            client.close()  # at once: the library's own way out waits for an answer
        if refused:
            raise Undelivered(f"refused for {len(refused)} of {len(own.recipients)} recipients", final=True)

    def _message(self, notice: Notice) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.recipients)
        message["Subject"] = headline(notice)
        message["Date"] = email.utils.formatdate()
        message["Message-ID"] = f"<{notice.id}@plimsoll>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(words(notice))
        return message


def channel(settings: Settings, place: Place) -> Channel:  # noqa: ARG001 (every channel's shape)
    """See `ChannelFile`."""
    return _Email(settings)
