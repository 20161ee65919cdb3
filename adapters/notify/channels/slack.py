"""Slack, through an incoming webhook. Its URL is the secret."""

import msgspec

from adapters.notify.contract import Channel, ChannelSettings, Notice, Place, words
from adapters.notify.secrets import check_url, secret, tls_context

NAME = "slack"


class Settings(ChannelSettings, frozen=True, kw_only=True):
    """An incoming webhook.

    Attributes:
        url_file: a file of mode 0600 with its URL; empty = systemd's credential ``plimsoll-alerts-slack-url``.
        ca_file: a private authority; empty = the machine's.
    """

    url_file: str = ""
    ca_file: str = ""


class _Slack:
    def __init__(self, settings: Settings) -> None:
        self._url = secret("alerts.slack.url_file", settings.url_file)
        check_url("alerts.slack.url_file", self._url.reveal())
        self._tls = tls_context("alerts.slack.ca_file", settings.ca_file)

    async def send(self, notice: Notice) -> None:
        """See `Channel`."""
        from adapters.notify.http import post, settle

        # Only these three have a meaning in Slack's text.
        text = words(notice).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        settle(await post(self._url, msgspec.json.encode({"text": text}), {}, self._tls))


def channel(settings: Settings, place: Place) -> Channel:  # noqa: ARG001 (every channel's shape)
    """See `ChannelFile`."""
    return _Slack(settings)
