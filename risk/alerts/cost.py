"""What trading costs against what was expected, and the size that follows. Part of the core's state: pure.

Theory of operation. What a fill was expected to cost is known when its order leaves: half the spread of that moment,
half of the slippage that strategies must allow for (the allowance is for both sides), and the instrument's commission.
What it did cost is the same half spread, the slippage against the price that the decision saw, and the commission that
the venue charged. Both are money of the account; a symbol's newest fills are added up. Where the cost is above what
was expected by more than the bound, the alert is raised, and entries of the symbol keep `size_pct` of their size while
it is open. It is over at half the bound, or when too few fills are left that are young enough to say anything.

The core says it (`AlertRaised` with `size_ppm`, `AlertCleared`), so it stands in the journal and a replay decides the
same. The rule here passes on what the core said.
"""

from collections import deque
from collections.abc import Callable

import msgspec

from bus.errors import ConfigError
from bus.messages import AlertCleared, AlertRaised, OrderFilled, Quote, SubmitOrder
from bus.values import NS_PER_DAY, Instrument, OrderType
from risk.alerts.rule import Rule, Told
from risk.orders import remember
from risk.policies.keys import check_bounds

Said = AlertRaised | AlertCleared
Value = Callable[[str, int], int | None]

PPM = 1_000_000
_COMMISSION_SCALE = 100_000_000
"""``commission_per_million_e2`` is 1/100 currency per million of value: as a share of the price, 1e-8 a side."""

_BOUNDS: dict[str, tuple[int, int, str, int]] = {
    "over_pct": (1, 10_000, "", 25),
    "size_pct": (0, 100, "no entries", 50),
    "fills": (1, 10_000, "", 20),
    "fewest": (1, 10_000, "", 10),
    "days": (1, 365, "", 7),
}


class CostPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When trading costs too much, and what that does.

    Attributes:
        enabled: whether the rule is on.
        over_pct: cost above what was expected by more than this.
        size_pct: what entries of the symbol keep of their size meanwhile. 0 = no entries.
        fills: newest fills of a symbol that count.
        fewest: fewer fills than this say nothing.
        days: older fills than this are forgotten.
    """

    enabled: bool = True
    over_pct: int = 25
    size_pct: int = 50
    fills: int = 20
    fewest: int = 10
    days: int = 7

    def __post_init__(self) -> None:
        """Refuse impossible values at construction and at decoding alike."""
        check_bounds(self, "alerts.cost", _BOUNDS)
        if self.fewest > self.fills:
            raise ConfigError(
                f"alerts.cost.fewest = {self.fewest}: more than alerts.cost.fills = {self.fills}; write at most that"
            )


class CostExceeded(Told):
    """Trading a symbol costs more than was expected."""

    name = "cost"
    severity = "warning"
    why = "The newest fills of a symbol cost more than was expected, so its entries are made smaller."
    advice = "entries are smaller by themselves until it is over; look at slippage and commission in the report"


def reduced_ppm(size_ppm: int, cost_ppm: int) -> int:
    """What is left of a size when two rules each leave a part of it, in millionths; rounded down."""
    return size_ppm * cost_ppm // PPM


class _Sums(msgspec.Struct):
    """A symbol's newest fills (time, expected, met; doubled money) and their sums."""

    fills: deque[tuple[int, int, int]]
    expected: int = 0
    met: int = 0

    def add(self, ts_ns: int, expected: int, met: int) -> None:
        """Take in a fill."""
        self.fills.append((ts_ns, expected, met))
        self.expected += expected
        self.met += met

    def forget(self) -> None:
        """Drop the oldest."""
        _, expected, met = self.fills.popleft()
        self.expected -= expected
        self.met -= met


class _Meant(msgspec.Struct, frozen=True):
    """What an order was decided with: its price, the spread, and commission a side."""

    price_e5: int
    spread_e5: int
    commission_per_million_e2: int


class CostWatch:
    """Folds market orders and their fills.

    Attributes:
        open: the alert of each symbol whose entries are made smaller.
    """

    def __init__(self, policy: CostPolicy, slippage_allowance_e5: int) -> None:
        """Begin with nothing measured.

        Args:
            policy: the bounds.
            slippage_allowance_e5: what strategies must expect to lose to slippage, both sides together, in 1/100000.
        """
        self.open: dict[str, AlertRaised] = {}
        self._policy = policy
        self._allowance_e5 = slippage_allowance_e5
        self._meant: dict[str, _Meant] = {}
        self._sums: dict[str, _Sums] = {}

    def size_ppm(self, symbol: str) -> int:
        """What entries of a symbol are multiplied by, in millionths."""
        alert = self.open.get(symbol)
        return PPM if alert is None else alert.size_ppm

    def sent(self, order: SubmitOrder, quote: Quote | None, instrument: Instrument) -> None:
        """A market order leaves: note what it was decided with."""
        if quote is not None and order.order_type is OrderType.MARKET:
            meant = _Meant(order.reference_e5, quote.ask_e5 - quote.bid_e5, instrument.commission_per_million_e2)
            remember(self._meant, order.client_order_id, meant, 1_000)

    def filled(self, fact: OrderFilled, value: Value) -> list[Said]:
        """A deal that was not told before: what it changes, if anything.

        Args:
            fact: a deal; those of stops and targets say nothing, their cost was nobody's decision.
            value: turns a symbol and volume_e2 * price_e5 into the account's money; None where nothing values it.
        """
        meant = self._meant.get(fact.client_order_id) if fact.cause == "order" else None
        if meant is None:
            return []
        volume_e2, symbol = fact.volume_e2, fact.symbol
        commission_e5 = meant.commission_per_million_e2 * meant.price_e5
        slip_e5 = (fact.price_e5 - meant.price_e5) * fact.side
        # Doubled, so that half a spread and half an allowance stay whole.
        prices = value(symbol, volume_e2 * (meant.spread_e5 + self._allowance_e5))
        charge = value(symbol, 2 * volume_e2 * commission_e5 // _COMMISSION_SCALE)
        met = value(symbol, volume_e2 * (meant.spread_e5 + 2 * slip_e5))
        if prices is None or charge is None or met is None:
            return []
        sums = self._sums.setdefault(symbol, _Sums(deque()))
        sums.add(fact.ts_init_ns, prices + charge, met - 2 * fact.commission)
        if len(sums.fills) > self._policy.fills:
            sums.forget()
        return self._settle(symbol, sums, fact.ts_init_ns)

    def aged(self, symbol: str, now_ns: int) -> list[Said]:
        """Forget fills that are too old; called before a symbol is sized."""
        sums = self._sums.get(symbol)
        oldest_ns = now_ns - self._policy.days * NS_PER_DAY
        if sums is None or not sums.fills or sums.fills[0][0] >= oldest_ns:
            return []
        while sums.fills and sums.fills[0][0] < oldest_ns:
            sums.forget()
        return self._settle(symbol, sums, now_ns)

    def _settle(self, symbol: str, sums: _Sums, now_ns: int) -> list[Said]:
        policy, alert, n = self._policy, self.open.get(symbol), len(sums.fills)
        over_pct = policy.over_pct
        words = f"{sums.met / 200:.2f} against {sums.expected / 200:.2f} expected, {n} fills"
        limit = f"{over_pct} % above what was expected"
        if alert is None and n >= policy.fewest and sums.met * 100 > sums.expected * (100 + over_pct):
            alert = AlertRaised(
                rule=CostExceeded.name,
                subject=symbol,
                severity=CostExceeded.severity,
                value=words,
                limit=limit,
                advice=CostExceeded.advice,
                ts_init_ns=now_ns,
                size_ppm=policy.size_pct * 10_000,
            )
            self.open[symbol] = alert
            return [alert]
        if alert is not None and (n < policy.fewest or sums.met * 200 <= sums.expected * (200 + over_pct)):
            del self.open[symbol]
            cleared = AlertCleared(
                rule=alert.rule,
                subject=symbol,
                severity=alert.severity,
                value=words,
                limit=limit,
                ts_raised_ns=alert.ts_init_ns,
                ts_init_ns=now_ns,
            )
            return [cleared]
        return []


RULES: tuple[type[Rule], ...] = (CostExceeded,)
