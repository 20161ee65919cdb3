"""How the simulated venue treats an order: spread, slippage, depth, refusals. Numbers only; `Exchange` obeys them."""

import msgspec

from bus.errors import DataError
from bus.values import Instrument, divide_half_away

_MASK = (1 << 64) - 1


class ExecutionModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Assumptions about execution. A point is the smallest displayed price step (0.1 pip for EURUSD and USDJPY).

    Attributes:
        slippage_points: mean adverse slippage of market orders, triggered stops, stop losses and stop-outs. 0 = none.
        slippage_jitter_points: slippage is uniform within this distance of its mean; at most the mean, so that
            slippage never becomes a gift.
        liquidity_e2: volume offered at each price level between two quotes, in 1/100 units of the base asset
            (500 000 000 = 50 lots). What one order takes is gone for the next until a quote comes. 0 = unlimited.
        impact_points: each further level is this much worse than the one before.
        depth_levels: levels on offer. What a market order finds no level for is cancelled; stop losses and stop-outs
            take the rest at the last level, because a position that must close does close.
        pass_on_gaps: whether a resting limit order or take profit that the market jumped over gets the better price
            it finds (True), or its own price (False). Turn it off where quotes are made from bars: such a path shows
            a bar's extremes as quotes, and targets filled at the extreme would be an edge that does not exist. Stops
            always fill at the first price beyond.
        spread_multiplier_pct: spread in percent of the quoted one, at least 100; the bid stays, the ask moves.
        spread_min_e5: smallest spread in 1/100000 of a price unit; 0 = none.
        rollover_minutes: spreads widen this long before and after 17:00 New York; 0 = never.
        rollover_spread_pct: how far they widen then, in percent, on top of the multiplier; at least 100.
        reject_pct: orders in a hundred that are refused for no reason of ours, with code ``REJECTED``.
        conversion_fee_bp: charge on the gross profit or loss of a closing deal whose quote asset is not the
            account's, in 1/100 percent.
        stop_out_level_pct: below this margin level (equity / used margin) positions are closed, the largest loser
            first.
        seed: of the venue's own generator; equal seeds and inputs give equal facts.
    """

    slippage_points: int = 2
    slippage_jitter_points: int = 2
    liquidity_e2: int = 500_000_000
    impact_points: int = 2
    depth_levels: int = 10
    pass_on_gaps: bool = True
    spread_multiplier_pct: int = 100
    spread_min_e5: int = 0
    rollover_minutes: int = 5
    rollover_spread_pct: int = 300
    reject_pct: int = 0
    conversion_fee_bp: int = 0
    stop_out_level_pct: int = 50
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that describe no venue; msgspec reports the path of the section that holds them."""
        bounds = {
            "slippage_points": (0, 100_000),
            "slippage_jitter_points": (0, self.slippage_points),
            "liquidity_e2": (0, 10**15),
            "impact_points": (0, 100_000),
            "depth_levels": (1, 1_000),
            "spread_multiplier_pct": (100, 100_000),
            "spread_min_e5": (0, 10**9),
            "rollover_minutes": (0, 720),
            "rollover_spread_pct": (100, 100_000),
            "reject_pct": (0, 100),
            "conversion_fee_bp": (0, 10_000),
            "stop_out_level_pct": (0, 100),
        }
        for name, (lowest, highest) in bounds.items():
            value: int = getattr(self, name)
            if not lowest <= value <= highest:
                raise ValueError(f"{name} = {value}; write a whole number from {lowest} to {highest}")


class Dice:
    """A deterministic generator (splitmix64; Steele, Lea and Flood 2014). Its state is one integer."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def below(self, bound: int) -> int:
        """A whole number from 0 to bound - 1. The modulo bias is below 1e-12 for the bounds used here."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return (mixed ^ (mixed >> 31)) % bound


def slippage_e5(model: ExecutionModel, instrument: Instrument, dice: Dice) -> int:
    """Draw one adverse slippage in 1/100000; not negative."""
    if model.slippage_points == 0:
        return 0
    jitter = model.slippage_jitter_points
    drawn = dice.below(2 * jitter + 1) - jitter if jitter else 0
    return (model.slippage_points + drawn) * instrument.point_e5


def widened_ask_e5(model: ExecutionModel, instrument: Instrument, bid_e5: int, ask_e5: int, *, rollover: bool) -> int:
    """The ask after spread widening: never below the quoted one, on the instrument's price grid where it moved."""
    percent = model.spread_multiplier_pct * (model.rollover_spread_pct if rollover else 100)
    spread_e5 = max(divide_half_away((ask_e5 - bid_e5) * percent, 10_000), model.spread_min_e5)
    if spread_e5 <= ask_e5 - bid_e5:
        return ask_e5
    point = instrument.point_e5
    return -(-(bid_e5 + spread_e5) // point) * point


def ladder(
    model: ExecutionModel,
    instrument: Instrument,
    *,
    side: int,
    touch_e5: int,
    limit_e5: int,
    volume_e2: int,
    taken_e2: int,
    whole: bool,
) -> list[tuple[int, int]]:
    """What an order finds in the book.

    Args:
        model: depth and impact.
        instrument: volume step and price grid.
        side: +1 to buy, -1 to sell.
        touch_e5: price of the first level.
        limit_e5: the worst price the order accepts; 0 = any.
        volume_e2: wanted.
        taken_e2: already taken from these levels since the last quote.
        whole: the last level holds whatever is still wanted.

    Returns:
        Parts (volume_e2, price_e5), best first; together at most the wanted volume.

    Raises:
        DataError: the wanted volume is negative.
    """
    if volume_e2 < 0:
        raise DataError(f"{instrument.symbol}: volume {volume_e2} is negative")
    step = instrument.step_volume_e2
    size = max(model.liquidity_e2 - model.liquidity_e2 % step, step)
    level, used = divmod(taken_e2, size) if model.liquidity_e2 else (0, 0)
    last = model.depth_levels - 1
    if whole:
        level = min(level, last)
    parts: list[tuple[int, int]] = []
    while volume_e2 > 0 and level <= last:
        price_e5 = touch_e5 + side * level * model.impact_points * instrument.point_e5
        price_e5 = max(price_e5, instrument.point_e5)
        if limit_e5 and (price_e5 - limit_e5) * side > 0:
            break
        endless = model.liquidity_e2 == 0 or (whole and level == last)
        part_e2 = volume_e2 if endless else min(volume_e2, size - used)
        parts.append((part_e2, price_e5))
        volume_e2 -= part_e2
        level, used = level + 1, 0
    return parts
