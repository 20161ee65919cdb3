"""Was the daemon there, was the venue, were prices? Outages, and the share of trading hours that was fit to trade.

Theory of operation. A run is expected to trade from its start to its last message, in trading hours (Sunday to Friday
17:00 New York). Taken off are times without a process (from the last message before a resumption to it; between two
journals of one account) and without a link. A data gap is a silence of one symbol in trading hours of more than
SILENT_NS and of more than SILENT_TIMES what was usual for it: sources tick at very different rates.
"""

from bus.calendar import market_open, next_rollover_ns
from bus.messages import LinkChanged, Quote
from bus.values import NS_PER_S
from risk.adherence.rolled import Outage, Service

SILENT_NS = 60 * NS_PER_S
SILENT_TIMES = 4
_USUAL_FROM = 20
_USUAL_OF = 200


class Attendance:
    """Folds what is told about link, process and prices, over any number of journals."""

    def __init__(self) -> None:
        self.outages: list[Outage] = []
        self.spans: list[tuple[int, int]] = []
        self.links: list[int] = []
        self.restarts: list[int] = []
        self._last_quote_ns: dict[str, int] = {}
        self._usual_ns: dict[str, float] = {}
        self._quotes: dict[str, int] = {}
        self._first_ns = 0
        self._last_ns = 0
        self._down_since_ns = 0
        self._down_because = ""
        self._was_up = False

    def begin(self, ts_ns: int, *, continues: bool) -> None:
        """A journal begins; `continues` = of the account that the one before it was of."""
        if self._first_ns:
            self._link_is_back(self._last_ns)
            self.spans.append((self._first_ns, self._last_ns))
            if continues and ts_ns > self._last_ns:
                self._out("process", "", self._last_ns, ts_ns, "between two runs")
                self.spans.append((self._last_ns, ts_ns))
        self._first_ns = self._last_ns = ts_ns
        self._was_up = False
        self._last_quote_ns.clear()

    def seen(self, ts_ns: int) -> None:
        """A message came."""
        self._last_ns = max(self._last_ns, ts_ns)

    def resumed(self, ts_ns: int) -> None:
        """A process took the run up again."""
        self.restarts.append(ts_ns)
        self._link_is_back(self._last_ns)
        if ts_ns > self._last_ns:
            self._out("process", "", self._last_ns, ts_ns, "restarted")
        self._last_quote_ns.clear()

    def link(self, link: LinkChanged) -> None:
        """The way to the venue was lost, or is there again."""
        if not link.up:
            if not self._down_since_ns:
                self._down_since_ns, self._down_because = link.ts_init_ns, link.reason
            return
        if self._was_up:
            self.links.append(link.ts_init_ns)
        self._was_up = True
        self._link_is_back(link.ts_init_ns)
        self._last_quote_ns.clear()  # what was not told meanwhile is the link's outage, not a gap of its own

    def quote(self, quote: Quote) -> None:
        """A price came."""
        symbol, now_ns = quote.symbol, quote.ts_init_ns
        last_ns = self._last_quote_ns.get(symbol)
        self._last_quote_ns[symbol] = now_ns
        if last_ns is None:
            return
        silent_ns = now_ns - last_ns
        usual_ns = self._usual_ns.get(symbol, 0.0)
        longest_ns = max(SILENT_NS, SILENT_TIMES * usual_ns)
        if silent_ns > longest_ns and self._quotes.get(symbol, 0) >= _USUAL_FROM:
            if trading_ns(last_ns, now_ns) > longest_ns:  # a weekend is no silence
                self._out("data", symbol, last_ns, now_ns, "no prices")
            return
        self._quotes[symbol] = self._quotes.get(symbol, 0) + 1
        self._usual_ns[symbol] = usual_ns + (silent_ns - usual_ns) / min(_USUAL_OF, self._quotes[symbol])

    def _link_is_back(self, ts_ns: int) -> None:
        if self._down_since_ns:
            self._out("link", "", self._down_since_ns, ts_ns, self._down_because)
        self._down_since_ns = 0

    def _out(self, kind: str, subject: str, from_ns: int, to_ns: int, reason: str) -> None:
        if to_ns > from_ns:
            self.outages.append(Outage(kind=kind, subject=subject, ts_from_ns=from_ns, ts_to_ns=to_ns, reason=reason))

    def all_outages(self) -> tuple[Outage, ...]:
        """Every outage in order, the one that lasts included."""
        found = list(self.outages)
        if self._down_since_ns and self._last_ns > self._down_since_ns:
            found.append(
                Outage(
                    kind="link",
                    subject="",
                    ts_from_ns=self._down_since_ns,
                    ts_to_ns=self._last_ns,
                    reason=self._down_because,
                )
            )
        return tuple(sorted(found, key=lambda outage: outage.ts_from_ns))

    # --- figures -----------------------------------------------------------------------------------------------

    def service(self, from_ns: int, to_ns: int) -> Service:
        """The figures of a time, `to_ns` excluded."""
        spans = [*self.spans, (self._first_ns, self._last_ns)]
        expected_ns = sum(trading_ns(max(a, from_ns), min(b, to_ns)) for a, b in spans)
        down = {"link": 0, "process": 0, "data": 0}
        gaps = 0
        for outage in self.all_outages():
            part_ns = trading_ns(max(outage.ts_from_ns, from_ns), min(outage.ts_to_ns, to_ns))
            down[outage.kind] += part_ns
            gaps += outage.kind == "data" and from_ns <= outage.ts_from_ns < to_ns
        up_ns = expected_ns - down["link"] - down["process"]
        return Service(
            expected_ns=expected_ns,
            up_ns=up_ns,
            uptime=up_ns / expected_ns if expected_ns else 1.0,
            reconnects=sum(from_ns <= ts_ns < to_ns for ts_ns in self.links),
            restarts=sum(from_ns <= ts_ns < to_ns for ts_ns in self.restarts),
            link_down_ns=down["link"],
            process_down_ns=down["process"],
            data_gaps=gaps,
            data_gap_ns=down["data"],
        )


def trading_ns(from_ns: int, to_ns: int) -> int:
    """How much of a time lies in trading hours."""
    total = 0
    while from_ns < to_ns:
        until_ns = min(to_ns, next_rollover_ns(from_ns))
        if market_open(from_ns, "fx"):
            total += until_ns - from_ns
        from_ns = until_ns
    return total
