"""Telling people: channels, the outbox that feeds them, and the letters that did not arrive."""

from collections.abc import Mapping
from types import ModuleType

from adapters.notify.channels import email, log, slack, telegram, webhook
from adapters.notify.contract import Channel, ChannelSettings, Place, Severity

CHANNELS: dict[str, ModuleType] = {each.NAME: each for each in (log, webhook, slack, telegram, email)}
"""Every channel's file by its name. A new one gets a line here, and a section in the configuration."""


def open_channels(settings: Mapping[str, ChannelSettings], place: Place) -> dict[str, tuple[Channel, Severity]]:
    """The channels that are on, by name, with the least severity that goes there.

    Raises:
        ConfigError: one cannot be used as it is set.
    """
    return {name: (CHANNELS[name].channel(each, place), each.least) for name, each in settings.items() if each.enabled}
