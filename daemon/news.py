"""From the configured calendar to the message by which the core knows of it."""

from pathlib import Path

from adapters.newscalendar import read_calendar
from bus.errors import ConfigError, DataError
from bus.messages import NewsScheduled
from bus.values import NS_PER_DAY
from daemon.settings import Config

_KEPT_NS = 31 * NS_PER_DAY
"""Events older than this concern no blackout any more; the last one is told all the same, so that it is known when the
calendar ran out."""


def scheduled(config: Config, now_ns: int) -> tuple[NewsScheduled, ...]:
    """What to tell the core of the calendar: one message, or none where no calendar is configured.

    Raises:
        ConfigError: the file cannot be read, or is no calendar; the daemon must not start without its blackout.
    """
    settings = config.risk.news
    if not settings.file:
        return ()
    try:
        events = read_calendar(Path(settings.file).expanduser(), settings.zone)
    except DataError as error:
        raise ConfigError(f"risk.news.file: {error}") from None
    kept = tuple(event for event in events if event.ts_ns >= now_ns - _KEPT_NS) or events[-1:]
    return (NewsScheduled(source=Path(settings.file).name, events=kept, ts_init_ns=now_ns),)
