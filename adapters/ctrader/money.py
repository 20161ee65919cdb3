"""What cTrader's figures are made of: exact formulas, each component rounded on its own, half away from zero.

Rates are fractions (account units for one unit of another asset), so that nothing is rounded before the last step.
Volumes in 1/100 units, prices in 1/100000, money in the account's smallest unit, charges negative. Formulas are those
of the protocol reference, sections 4.4, 4.6, 4.7 and 8.5.
"""

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

import msgspec

from bus.errors import DataError
from bus.values import PRICE_SCALE, VOLUME_SCALE, Side, divide_half_away

ONE = Fraction(1)


class CommissionType(enum.IntEnum):
    """What the rate of a commission counts; the values are the wire's."""

    USD_PER_MILLION_USD = 1
    USD_PER_LOT = 2
    PERCENTAGE_OF_VALUE = 3
    QUOTE_CCY_PER_LOT = 4


class SwapType(enum.IntEnum):
    """What a swap number counts; the values are the wire's."""

    PIPS = 0
    PERCENTAGE = 1
    POINTS = 2


class MarginRule(enum.IntEnum):
    """How the two sides of a symbol share margin; the values are the wire's."""

    MAX = 0
    SUM = 1
    NET = 2


class Commission(msgspec.Struct, frozen=True, kw_only=True):
    """How a side of a deal is charged.

    `precise_rate` is the rate times 10**8, for PERCENTAGE_OF_VALUE the percentage times 10**5. `precise_minimum` is
    the least charge of a deal times 10**8 in `minimum_asset`.
    """

    kind: CommissionType
    precise_rate: int
    precise_minimum: int = 0
    minimum_asset: str = "USD"

    @property
    def per_million_e2(self) -> int | None:
        """The same as a share of traded value, in 1/100 units a million, where that is exact; else None."""
        if self.precise_minimum or (self.precise_rate and self.kind not in {1, 3}):
            return None
        if self.kind == CommissionType.PERCENTAGE_OF_VALUE:
            return self.precise_rate * 10
        whole, rest = divmod(self.precise_rate, 1_000_000)
        return whole if rest == 0 else None


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Conversion rates that a commission may need; ONE where the assets are equal."""

    quote_to_account: Fraction = ONE
    base_to_usd: Fraction = ONE
    usd_to_account: Fraction = ONE
    minimum_to_account: Fraction = ONE


def rounded(value: Fraction) -> int:
    """The nearest integer, half away from zero."""
    return divide_half_away(value.numerator, value.denominator)


def rate_of(value: float) -> Fraction:
    """A rate that came as a double, by its shortest decimal.

    Raises:
        DataError: not a positive number.
    """
    if not 0 < value < 1e15:
        raise DataError(f"not a rate: {value!r}")
    return Fraction(Decimal(repr(value)))


def average_e5(value: float) -> Fraction:
    """The average price, in 1/100000, that a double stands for: the simplest ratio that reads as this very double.

    An average is a sum of prices by volume, and so a ratio of small numbers; the double is the nearest to it, and half
    a cent must not hang on the difference.

    Raises:
        DataError: not a positive number.
    """
    rate_of(value)
    half = Fraction(math.ulp(value)) / 2
    low, high = (Fraction(value) - half) * PRICE_SCALE, (Fraction(value) + half) * PRICE_SCALE
    # Walking down the continued fraction of both ends: they share their terms until one of them may end.
    terms: list[int] = []
    while True:
        whole = math.ceil(low)
        if whole <= high:
            terms.append(whole)
            break
        whole = math.floor(low)
        terms.append(whole)
        low, high = 1 / (high - whole), 1 / (low - whole)
    simplest = Fraction(terms.pop())
    while terms:
        simplest = terms.pop() + 1 / simplest
    return simplest


def chain_rate(first: str, last: str, chain: Sequence[tuple[str, str, Fraction | int]]) -> Fraction:
    """Units of `last` for one unit of `first` along the broker's chain of symbols.

    Args:
        first: asset that is held.
        last: asset that is wanted; equal assets need no chain.
        chain: (base, quote, price_e5) of each symbol in the broker's order.

    Raises:
        DataError: the chain does not lead from one to the other, or lacks a price.
    """
    if first == last:
        return ONE
    held, rate = first, ONE
    for base, quote, price_e5 in chain:
        if price_e5 <= 0 or held not in {base, quote}:
            raise DataError(
                f"no conversion from {first} to {last}: {base}/{quote} at {price_e5} does not go on from {held}"
            )
        price = Fraction(price_e5) / PRICE_SCALE
        rate, held = (rate * price, quote) if held == base else (rate / price, base)
    if held != last:
        raise DataError(f"no conversion from {first} to {last}: the chain ends on {held}")
    return rate


def gross_profit(
    side: Side, volume_e2: int, entry_e5: Fraction | int, price_e5: int, quote_to_account: Fraction, money_digits: int
) -> int:
    """Result of prices alone: long (bid - entry), short (entry - ask), times units and rate; the price is that side."""
    value = Fraction(price_e5 - entry_e5) * int(side) * volume_e2 / (PRICE_SCALE * VOLUME_SCALE)
    return rounded(value * quote_to_account * 10**money_digits)


def commission(rule: Commission, volume_e2: int, lot_e2: int, price_e5: int, rates: Rates, money_digits: int) -> int:
    """Charge of one side of a deal: negative, at least the minimum, rounded once after conversion."""
    units, lots = Fraction(volume_e2, VOLUME_SCALE), Fraction(volume_e2, lot_e2)
    rate = Fraction(rule.precise_rate, 10**8)
    match rule.kind:
        case CommissionType.USD_PER_MILLION_USD:
            charge = rate * units * rates.base_to_usd / 1_000_000 * rates.usd_to_account
        case CommissionType.USD_PER_LOT:
            charge = rate * lots * rates.usd_to_account
        case CommissionType.PERCENTAGE_OF_VALUE:
            percent = Fraction(rule.precise_rate, 10**5)
            charge = units * Fraction(price_e5, PRICE_SCALE) * percent / 100 * rates.quote_to_account
        case CommissionType.QUOTE_CCY_PER_LOT:
            charge = rate * lots * rates.quote_to_account
    least = Fraction(rule.precise_minimum, 10**8) * rates.minimum_to_account
    return -rounded(max(charge, least) * 10**money_digits)


def conversion_fee(gross: int, fee_bp: int) -> int:
    """Charge for converting a gross result, profit or loss alike: away from zero, as the one recorded sample shows."""
    return -abs(gross) * fee_bp // 10_000  # floor of a negative number


def swap_night(
    kind: SwapType, amount: float, volume_e2: int, price_e5: int, point_e5: int, pip_e5: int,
    quote_to_account: Fraction, money_digits: int,
) -> int:  # fmt: skip
    """One night's swap of a position, positive = credit. A percentage is annual, of value at `price_e5`, by 360."""
    number = Fraction(Decimal(repr(amount)))
    if kind is SwapType.PERCENTAGE:
        distance = number / 100 / 360 * price_e5
    else:
        distance = number * (pip_e5 if kind is SwapType.PIPS else point_e5)
    value = distance / PRICE_SCALE * Fraction(volume_e2, VOLUME_SCALE)
    return rounded(value * quote_to_account * 10**money_digits)


def net_profit(gross: int, opening_commission: int, swap: int) -> int:
    """Floating result as the server tells it: without the commission that closing will cost."""
    return gross + opening_commission + swap


def position_margin(volume_e2: int, base_to_account: Fraction, leverage_e2: int, money_digits: int) -> int:
    """Margin of a position: units x marginRate / leverage, where leverage is in 1/100 (1:100 = 10 000)."""
    return rounded(Fraction(volume_e2, VOLUME_SCALE) * base_to_account * 100 / leverage_e2 * 10**money_digits)


def tier_margin(
    exposure_usd_e2: Fraction | int, tiers: Sequence[tuple[int, int]], leverage_scale: int, most_e2: int = 0
) -> Fraction:
    """Margin in USD of one side's exposure: each tier of value at its own leverage, the last for all above.

    Args:
        exposure_usd_e2: value in 1/100 USD.
        tiers: (upper bound in 1/100 USD, leverage), ascending.
        leverage_scale: 1 where tiers give plain leverage, 100 where hundredths.
        most_e2: the account's own leverage in 1/100, which no tier exceeds; 0 = it has none.
    """
    margin, below = Fraction(0), Fraction(0)
    for row, (bound, leverage) in enumerate(tiers):
        top = exposure_usd_e2 if row == len(tiers) - 1 else min(bound, exposure_usd_e2)
        if top > below:
            carries = Fraction(leverage, leverage_scale)
            margin += (top - below) / 100 / (min(carries, Fraction(most_e2, 100)) if most_e2 else carries)
            below = Fraction(top)
    return margin


def account_margin(positions: Iterable[tuple[str, Side, int]], rule: MarginRule) -> int:
    """Margin in use of (symbol, side, margin) of every position, combined per symbol by the account's rule."""
    sides: dict[str, list[int]] = {}
    for symbol, side, margin in positions:
        sides.setdefault(symbol, [0, 0])[side < 0] += margin
    if rule is MarginRule.SUM:
        return sum(long + short for long, short in sides.values())
    if rule is MarginRule.NET:
        return sum(abs(long - short) for long, short in sides.values())
    return sum(max(long, short) for long, short in sides.values())


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """An account at one moment, in its smallest unit. `margin_level_pct` is None without margin in use."""

    balance: int
    floating: int
    equity: int
    used_margin: int
    free_margin: int
    margin_level_pct: Fraction | None


def figures(balance: int, net_profits: Mapping[str, int], used_margin: int, bonus: int = 0) -> Figures:
    """Equity = balance + floating (+ bonus); free margin = equity - margin in use."""
    floating = sum(net_profits.values())
    equity = balance + floating + bonus
    return Figures(
        balance=balance,
        floating=floating,
        equity=equity,
        used_margin=used_margin,
        free_margin=equity - used_margin,
        margin_level_pct=Fraction(equity * 100, used_margin) if used_margin else None,
    )
