"""From an intent to a volume: fixed, percent at risk, volatility-scaled, or capped Kelly.

All four end the same way: the multiplier for measured coverage, then down to the venue's step, 0 where the smallest
order would be more. Integers throughout; every division rounds down, so no rounding ever adds risk.

Kelly: for a return with mean mu and variance s^2 the growth-optimal fraction of equity is mu / s^2 (Kelly 1956; Thorp
2006, "The Kelly criterion in blackjack, sports betting, and the stock market", section 7). Here mu is the edge beyond
all costs over the price, s the forecast's sigma over the price, so fraction = edge * price / sigma^2. Both are
estimates, which is why a part of Kelly is taken (`kelly_fraction_pct`) and two caps hold.
"""

import msgspec

from bus.errors import ConfigError
from bus.messages import Intent
from bus.values import LARGEST, Instrument
from risk.marks import VALUE_SCALE
from risk.policies.keys import check_bounds

METHODS = ("fixed", "percent", "volatility", "kelly")
PPM = 1_000_000
_PCT_E2 = 10_000

_BOUNDS: dict[str, tuple[int, int, str, int]] = {
    "fixed_lots_e2": (1, 10_000_000, "", 10),
    "risk_pct_e2": (1, 10_000, "", 50),
    "volatility_pct_e2": (1, 10_000, "", 25),
    "kelly_fraction_pct": (1, 100, "", 25),
    "max_pct_equity": (1, 200_000, "", 300),
}


class SizingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How large an entry is.

    Attributes:
        method: `fixed`, `percent`, `volatility` or `kelly`.
        fixed_lots_e2: fixed: every entry, in 1/100 lots (10 = 0.10 lots).
        risk_pct_e2: percent: loss at the stop, in 1/100 percent of equity (50 = 0.50 %). Kelly: never more than this.
        volatility_pct_e2: volatility: a move of one forecast sigma is this much of equity, in 1/100 percent.
        kelly_fraction_pct: kelly: part of the full Kelly fraction, in percent.
        max_pct_equity: every method but fixed: largest value of an entry, in percent of equity (300 = three times). A
            near stop or a small sigma asks for more than that; what is over is cut here, before the limits refuse it.
    """

    method: str = "percent"
    fixed_lots_e2: int = 10
    risk_pct_e2: int = 50
    volatility_pct_e2: int = 25
    kelly_fraction_pct: int = 25
    max_pct_equity: int = 300

    def __post_init__(self) -> None:
        """Refuse impossible values at construction and at decoding alike."""
        self.check()

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: naming the key, the reason, and what to write instead.
        """
        if self.method not in METHODS:
            raise ConfigError(f"sizing.method = {self.method!r}: no such method; write one of {', '.join(METHODS)}")
        check_bounds(self, "sizing", _BOUNDS)


def size_e2(
    intent: Intent,
    settings: SizingSettings,
    instrument: Instrument,
    *,
    equity: int,
    price_e5: int,
    rate_e8: int,
    money_digits: int,
    multiplier_ppm: int = PPM,
) -> int:
    """Volume of an entry in 1/100 units, down to the venue's step.

    Args:
        intent: its stop, edge and scale decide, by method.
        settings: the method and its parameters.
        instrument: lot, step and smallest order.
        equity: in the account's smallest unit.
        price_e5: at which the position would open.
        rate_e8: account units for one unit of the quote asset, times 10**8.
        money_digits: decimals of the account currency.
        multiplier_ppm: applied last; below 1 000 000 where the intervals do not hold what they promise.

    Returns:
        0 where the method has nothing to go by (no stop, no sigma, no edge, no equity) or the result is below the
        smallest order.
    """
    if equity <= 0 or price_e5 <= 0 or rate_e8 <= 0:
        return 0
    unit = rate_e8 * 10**money_digits

    def carrying(amount: int, distance_e5: int) -> int:
        """The volume for which a move of the distance is worth the amount; 0 where there is no distance."""
        return amount * VALUE_SCALE // (distance_e5 * unit) if distance_e5 > 0 and amount > 0 else 0

    at_risk_e2 = carrying(equity * settings.risk_pct_e2 // _PCT_E2, stop_distance_e5(intent, price_e5))
    if settings.method == "fixed":
        volume_e2 = settings.fixed_lots_e2 * instrument.lot_e2 // 100
    elif settings.method == "percent":
        volume_e2 = at_risk_e2
    elif settings.method == "volatility":
        volume_e2 = carrying(equity * settings.volatility_pct_e2 // _PCT_E2, intent.scale_e5)
    elif intent.edge_e5 > 0 and intent.scale_e5 > 0:
        value = equity * intent.edge_e5 * price_e5 * settings.kelly_fraction_pct // (100 * intent.scale_e5**2)
        volume_e2 = min(carrying(value, price_e5), at_risk_e2)
    else:
        volume_e2 = 0
    if settings.method != "fixed":
        volume_e2 = min(volume_e2, carrying(equity * settings.max_pct_equity // 100, price_e5))
    return instrument.floor_volume_e2(min(volume_e2 * multiplier_ppm // PPM, LARGEST))


def stop_distance_e5(intent: Intent, price_e5: int) -> int:
    """How far the stop lies on the losing side of a price; 0 where there is none or it lies on the other side."""
    if intent.stop_loss_e5 <= 0:
        return 0
    return max(0, (price_e5 - intent.stop_loss_e5) * intent.side)
