"""The log: a line for whoever watches, and a JSON line in ``alerts.jsonl`` beside the run's journal."""

import os

import msgspec

from adapters.notify.contract import Channel, ChannelSettings, Notice, Place, Undelivered, headline

NAME = "log"
FILE_NAME = "alerts.jsonl"


class Settings(ChannelSettings, frozen=True, kw_only=True):
    """The one channel that is on by itself."""

    enabled: bool = True


class _Log:
    def __init__(self, place: Place) -> None:
        self._place = place

    async def send(self, notice: Notice) -> None:
        """See `Channel`."""
        try:
            self._write(notice)
        except OSError as error:
            raise Undelivered(f"{FILE_NAME} cannot be written: {error.strerror}") from None
        self._place.note(f"{headline(notice)} ({notice.value}; limit {notice.limit})")

    def _write(self, notice: Notice) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self._place.folder / FILE_NAME, flags, 0o600)
        try:
            os.write(handle, msgspec.json.encode(notice) + b"\n")
        finally:
            os.close(handle)


def channel(settings: Settings, place: Place) -> Channel:  # noqa: ARG001 (every channel's shape)
    """See `ChannelFile`."""
    return _Log(place)
