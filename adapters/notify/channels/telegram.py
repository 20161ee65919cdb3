"""Telegram, through a bot: `sendMessage` to one chat. The bot's token is part of the URL, so the URL is the secret."""

from typing import Annotated

import msgspec
from msgspec import Meta

from adapters.ctrader.secret import Secret
from adapters.notify.contract import Channel, ChannelSettings, Notice, Place, Undelivered, words
from adapters.notify.secrets import check_url, secret, tls_context
from bus.errors import ConfigError

NAME = "telegram"


class Settings(ChannelSettings, frozen=True, kw_only=True):
    """A bot and a chat.

    Attributes:
        token_file: a file of mode 0600 with the bot's token; empty = systemd's ``plimsoll-alerts-telegram-token``.
        chat_id: of the chat, a number or ``@name``.
        api_url: of the Bot API; another one is a server of your own.
        ca_file: a private authority; empty = the machine's.
    """

    token_file: str = ""
    chat_id: Annotated[str, Meta(pattern="^$|^-?[0-9]{1,20}$|^@[A-Za-z0-9_]{1,64}$")] = ""
    api_url: str = "https://api.telegram.org"
    ca_file: str = ""


class _Parameters(msgspec.Struct):
    retry_after: float | None = None


class _Answer(msgspec.Struct):
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)


class _Telegram:
    def __init__(self, settings: Settings) -> None:
        if not settings.chat_id:
            raise ConfigError("alerts.telegram.chat_id is empty; write the chat's number, or @name of a channel")
        check_url("alerts.telegram.api_url", settings.api_url)
        token = secret("alerts.telegram.token_file", settings.token_file)
        self._url = Secret(f"{settings.api_url.rstrip('/')}/bot{token.reveal()}/sendMessage")
        self._chat_id = settings.chat_id
        self._tls = tls_context("alerts.telegram.ca_file", settings.ca_file)

    async def send(self, notice: Notice) -> None:
        """See `Channel`."""
        from adapters.notify.http import post, settle

        body = msgspec.json.encode({"chat_id": self._chat_id, "text": words(notice)})
        reply = await post(self._url, body, {}, self._tls)
        try:
            settle(reply)
        except Undelivered as error:
            if error.final or error.retry_after_s is not None:
                raise
            raise Undelivered(error.reason, retry_after_s=_asked_s(reply.body)) from None


def _asked_s(body: bytes) -> float | None:
    """How long the Bot API asks to wait; it says so in its answer."""
    try:
        return msgspec.json.decode(body, type=_Answer).parameters.retry_after
    except msgspec.MsgspecError:
        return None


def channel(settings: Settings, place: Place) -> Channel:  # noqa: ARG001 (every channel's shape)
    """See `ChannelFile`."""
    return _Telegram(settings)
