"""Events that move prices, by currency, and whether one of them is near."""

from bisect import bisect_left
from collections.abc import Iterable

from bus.messages import NewsEvent
from bus.values import NS_PER_S
from risk.policies.news import IMPACTS, News

_MINUTE_NS = 60 * NS_PER_S


class Calendar:
    """A calendar that was told.

    Attributes:
        last_ns: time of its last event; 0 = it has none.
    """

    def __init__(self, events: Iterable[NewsEvent]) -> None:
        ordered = sorted(events, key=lambda event: event.ts_ns)
        self.last_ns = ordered[-1].ts_ns if ordered else 0
        self._events: dict[str, list[NewsEvent]] = {}
        for event in ordered:
            self._events.setdefault(event.currency, []).append(event)
        self._times = {currency: [event.ts_ns for event in found] for currency, found in self._events.items()}

    def near(self, currencies: tuple[str, ...], now_ns: int, settings: News) -> NewsEvent | None:
        """The first event whose blackout a moment lies in (both ends included), or None.

        Args:
            currencies: of the symbol.
            now_ns: the moment.
            settings: how long before and after, and which events count.
        """
        first_ns = now_ns - settings.after_min * _MINUTE_NS
        last_ns = now_ns + settings.before_min * _MINUTE_NS
        least = IMPACTS.index(settings.impact) + 1
        for currency in currencies:
            if settings.currencies and currency not in settings.currencies:
                continue
            times = self._times.get(currency, [])
            for at in range(bisect_left(times, first_ns), len(times)):
                if times[at] > last_ns:
                    break
                event = self._events[currency][at]
                if event.impact >= least:
                    return event
        return None
