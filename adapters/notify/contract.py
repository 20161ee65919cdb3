"""What a channel must do, and what it is given. `tests/contracts/test_notify_contract.py` holds each of them to it.

A channel is one file in `adapters/notify/channels`: its `NAME`, its `Settings` (a section ``[alerts.NAME]``), and
`channel(settings, place)`, which reads its secrets and gives the channel. It sends one notice at a time, raises
`Undelivered` and nothing else where it did not arrive, and neither waits before another attempt nor counts attempts:
that is the outbox's affair. No reason, log line or repr ever shows a secret; URLs and tokens are secrets.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

Severity = Literal["info", "warning", "critical"]

Event = Literal["raised", "cleared", "open", "test"]
"""`open` tells again, after a restart, what is still raised."""

LONGEST_FIELD = 1_000
"""Characters of a field that is sent; the rest is cut, so that every service takes every notice."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent. `id` is the same for every attempt and channel: a receiver knows by it what it has already.

    `run` and `mode` say which run of which kind (paper, demo, live); `ts_ns` is when it happened, in the run's time.
    """

    id: str
    event: Event
    rule: str
    subject: str
    severity: Severity
    value: str
    limit: str
    advice: str
    run: str
    mode: str
    ts_ns: int


class Undelivered(Exception):
    """A notice did not arrive. The reason is in our own words and shows no secret.

    `final` = another attempt is pointless; `retry_after_s` is how long the receiver asks to be left alone.
    """

    def __init__(self, reason: str, *, final: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final
        self.retry_after_s = retry_after_s


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a channel may write on this machine: a folder, and a line for whoever watches."""

    folder: Path
    note: Callable[[str], None]


class ChannelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every channel can be told.

    Attributes:
        enabled: whether notices go there.
        least: the least severity that goes there: info, warning or critical.
    """

    enabled: bool = False
    least: Severity = "info"


Port = Annotated[int, Meta(ge=1, le=65_535)]


class Channel(Protocol):
    """Somewhere to send notices."""

    async def send(self, notice: Notice) -> None:
        """Send one notice, and return when the receiver has taken it.

        Raises:
            Undelivered: it did not arrive, or nobody knows whether it did.
        """
        ...


class ChannelFile(Protocol):
    """A module of `adapters/notify/channels`."""

    NAME: str
    Settings: type[ChannelSettings]

    def channel(self, settings: Any, place: Place) -> Channel:
        """The channel, its secrets read.

        Raises:
            ConfigError: it cannot be used as it is set; names the key and what to do.
        """
        ...


_WORDS = {"raised": "ALERT", "cleared": "over", "open": "STILL OPEN", "test": "TEST"}


def headline(notice: Notice) -> str:
    """One line: what, of what, how bad, in which run."""
    what = f"{_WORDS[notice.event]} {notice.severity}: {notice.rule} {notice.subject}"
    return _line(f"[{notice.mode} {notice.run}] {what}")


def words(notice: Notice) -> str:
    """A few lines for people, headline first."""
    lines = [headline(notice), f"met: {_line(notice.value)}", f"limit: {_line(notice.limit)}"]
    if notice.event != "cleared" and notice.advice:
        lines.append(f"to do: {_line(notice.advice)}")
    return "\n".join(lines)


def _line(text: str) -> str:
    """One line of printable text, cut where it is too long."""
    text = "".join(each if each.isprintable() else " " for each in text)
    return text if len(text) <= LONGEST_FIELD else f"{text[: LONGEST_FIELD - 1]}…"
