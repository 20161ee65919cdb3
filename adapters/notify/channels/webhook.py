"""Any receiver of JSON over HTTPS: the notice as it is, signed (see `adapters.notify.signing`)."""

import time

import msgspec

from adapters.notify.contract import Channel, ChannelSettings, Notice, Place
from adapters.notify.secrets import check_url, secret, tls_context
from adapters.notify.signing import sign
from bus.errors import ConfigError

NAME = "webhook"
SHORTEST_KEY = 16


class Settings(ChannelSettings, frozen=True, kw_only=True):
    """A receiver of its own.

    Attributes:
        url_file: a file of mode 0600 with the URL; empty = systemd's credential ``plimsoll-alerts-webhook-url``.
        key_file: likewise the key of the signature, at least 16 characters; ``plimsoll-alerts-webhook-key``.
        ca_file: a private authority; empty = the machine's.
    """

    url_file: str = ""
    key_file: str = ""
    ca_file: str = ""


class _Webhook:
    def __init__(self, settings: Settings) -> None:
        self._url = secret("alerts.webhook.url_file", settings.url_file)
        check_url("alerts.webhook.url_file", self._url.reveal())
        self._key = secret("alerts.webhook.key_file", settings.key_file)
        if len(self._key.reveal()) < SHORTEST_KEY:
            raise ConfigError(
                f"alerts.webhook.key_file: the key is shorter than {SHORTEST_KEY} characters; "
                "make one with: openssl rand -hex 32"
            )
        self._tls = tls_context("alerts.webhook.ca_file", settings.ca_file)

    async def send(self, notice: Notice) -> None:
        """See `Channel`."""
        from adapters.notify.http import post, settle

        body = msgspec.json.encode(notice)
        settle(await post(self._url, body, sign(self._key, notice.id, body, int(time.time())), self._tls))


def channel(settings: Settings, place: Place) -> Channel:  # noqa: ARG001 (every channel's shape)
    """See `ChannelFile`."""
    return _Webhook(settings)
