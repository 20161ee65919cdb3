"""Stops and targets: when prices reached them, and what became of that.

Theory of operation. A level is reached when the side of the market that closes the position is at it or beyond. Every
price on record is held against the levels of the open positions (`Touch`). A deal that a level caused becomes an
executed `LevelHit`; a level that was reached and not executed within MISSED_AFTER_NS becomes a missed one.
"""

import msgspec

from bus.messages import OrderFilled
from bus.values import NS_PER_S
from risk.adherence.records import Record

MISSED_AFTER_NS = 10 * NS_PER_S
"""A level that prices reached and that was not executed within this time was missed."""


class Touch(msgspec.Struct, kw_only=True):
    """When prices reached a protective level (0 = not yet), and whether the mid price did as well."""

    level_e5: int = 0
    ts_ns: int = 0
    by_mid: bool = False

    def see(self, distance_e5: int, mid_distance_e5x2: int, ts_ns: int) -> None:
        """Take a price. Distances are from the level, 0 or less = reached; that of the mid is told twice over."""
        if distance_e5 <= 0:
            self.ts_ns = self.ts_ns or ts_ns
            self.by_mid = self.by_mid or mid_distance_e5x2 <= 0


class LevelOwner(Record, frozen=True, kw_only=True):
    """Whose position a level protects."""

    position_id: str
    symbol: str
    strategy: str
    model_id: str
    volume_e2: int


class LevelHit(LevelOwner, frozen=True, kw_only=True):
    """A protective level that closed (part of) a position, or should have.

    `beyond_e5` is the distance from level to fill (negative = worse than the level), `delay_e5` the part of it that the
    market had jumped before it was executed. `late_ns` runs from the first price on record that reached the level to
    the deal (0 = at once, or no price on record did). `false_trigger` = the side that closes reached the level, the mid
    price did not. `side` is the closing deal's, `slippage` the distance in money. `missed` = prices reached it and it
    was not executed: `price_e5` is where another deal closed, or could.
    """

    ts_ns: int
    cause: str
    level_e5: int
    price_e5: int
    side: int
    beyond_e5: int
    delay_e5: int
    spread_e5: int
    slippage: int
    late_ns: int
    false_trigger: bool
    missed: bool


def executed_level(
    whose: LevelOwner, fill: OrderFilled, touch: Touch, *, delay_e5: int, spread_e5: int, slippage: int
) -> LevelHit:
    """The record of a level that a deal executed."""
    held = -fill.side
    sign = -held if fill.cause == "take_profit" else held
    mid_reached = (fill.bid_e5 + fill.ask_e5 - 2 * fill.level_e5) * sign <= 0
    return LevelHit(
        position_id=whose.position_id,
        symbol=whose.symbol,
        strategy=whose.strategy,
        model_id=whose.model_id,
        ts_ns=fill.ts_event_ns,
        cause=fill.cause,
        level_e5=fill.level_e5,
        price_e5=fill.price_e5,
        side=int(fill.side),
        volume_e2=fill.volume_e2,
        beyond_e5=(fill.price_e5 - fill.level_e5) * held,
        delay_e5=delay_e5,
        spread_e5=spread_e5,
        slippage=slippage,
        late_ns=max(0, fill.ts_event_ns - touch.ts_ns) if touch.ts_ns else 0,
        false_trigger=not (mid_reached or touch.by_mid),
        missed=False,
    )


def missed_level(whose: LevelOwner, touch: Touch, cause: str, ts_ns: int, price_e5: int, held: int) -> LevelHit:
    """The record of a level that prices reached in vain.

    Args:
        whose: position.
        touch: since when.
        cause: which level, as a deal would have named it.
        ts_ns: until when.
        price_e5: where the position was closed by something else, or could be closed then.
        held: 1 = long, -1 = short.
    """
    return LevelHit(
        position_id=whose.position_id,
        symbol=whose.symbol,
        strategy=whose.strategy,
        model_id=whose.model_id,
        volume_e2=whose.volume_e2,
        ts_ns=touch.ts_ns,
        cause=cause,
        level_e5=touch.level_e5,
        price_e5=price_e5,
        side=-held,
        beyond_e5=(price_e5 - touch.level_e5) * held,
        delay_e5=0,
        spread_e5=0,
        slippage=0,
        late_ns=ts_ns - touch.ts_ns,
        false_trigger=not touch.by_mid,
        missed=True,
    )
