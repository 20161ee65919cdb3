"""Integer units of the trading path, and the only conversions between them.

Theory of operation. Prices are integers in 1/100000 of a price unit (``_e5``), volumes integers in 1/100 of a
unit of the base asset (``_e2``), money integers in the smallest unit of its currency (``money_digits`` decimals).
These are cTrader's own wire units: exact, fast, the same in numpy. Floats enter and leave through the functions
here and nowhere else. One rounding rule holds everywhere: half away from zero, each component on its own.
"""

import enum
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

import msgspec

from bus.errors import DataError

PRICE_SCALE = 100_000
VOLUME_SCALE = 100
RATE_SCALE = 100_000_000
NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_HOUR = 3_600 * NS_PER_S
NS_PER_DAY = 24 * NS_PER_HOUR

# Twenty trillion: above any price, volume or balance that exists, below where int64 products overflow in numpy.
LARGEST = 20_000_000_000_000


class Side(enum.IntEnum):
    """Direction of an order, deal or position; the value is the sign of its exposure."""

    BUY = 1
    SELL = -1

    @property
    def opposite(self) -> "Side":
        """The side that closes this one."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(enum.StrEnum):
    """How an order asks to be executed."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"


class TimeInForce(enum.StrEnum):
    """How long an order stands."""

    GTC = "gtc"
    GTD = "gtd"
    IOC = "ioc"
    FOK = "fok"


def divide_half_away(numerator: int | Fraction, denominator: int) -> int:
    """Divide, rounding half away from zero. The one rounding rule of the trading path.

    Raises:
        ZeroDivisionError: the denominator is zero.
    """
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    if numerator >= 0:
        return (2 * numerator + denominator) // (2 * denominator)
    return -((-2 * numerator + denominator) // (2 * denominator))


def price_to_e5(price: float) -> int:
    """Convert a decimal price to 1/100000 units, half away from zero.

    Raises:
        DataError: the price is NaN, infinite, or beyond ``LARGEST``.
    """
    if not math.isfinite(price) or abs(price) * PRICE_SCALE > LARGEST:
        raise DataError(f"not a price: {price!r}")
    scaled = price * PRICE_SCALE
    return math.floor(scaled + 0.5) if scaled >= 0 else math.ceil(scaled - 0.5)


def e5_to_price(price_e5: int) -> float:
    """Convert 1/100000 units to a decimal price, for display and for models."""
    return price_e5 / PRICE_SCALE


class Instrument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a venue says about one symbol.

    Attributes:
        symbol: upper case, for instance ``EURUSD``.
        base: asset that the volume counts.
        quote: asset that the price counts.
        digits: decimals of a displayed price; one point is ``10**(5 - digits)`` in e5.
        pip_e5: one pip in 1/100000 (10 for EURUSD, 1000 for USDJPY, 10000 for XAUUSD).
        lot_e2: volume of one lot in 1/100 units (10 000 000 for currency pairs).
        min_volume_e2: smallest order.
        max_volume_e2: largest order.
        step_volume_e2: volumes are multiples of this.
        commission_per_million_e2: charge a side per million of traded value, in 1/100 of the account's currency
            unit (3000 = 30.00 per million). 0 = free.
        swap_long_millipips: credit (positive) or charge (negative) a night for a long position, in 1/1000 pip.
        swap_short_millipips: the same for a short position.
        swap_triple_weekday: night that counts three times, Monday = 0; Wednesday by custom.
        leverage: units of value a unit of margin carries for this symbol; 0 = the account's own leverage.
        session: ``fx`` trades from Sunday 17:00 to Friday 17:00 New York; ``always`` never closes.
    """

    symbol: str
    base: str
    quote: str
    digits: int = 5
    pip_e5: int = 10
    lot_e2: int = 10_000_000
    min_volume_e2: int = 100_000
    max_volume_e2: int = 10_000_000_000
    step_volume_e2: int = 100_000
    commission_per_million_e2: int = 3_000
    swap_long_millipips: int = -700
    swap_short_millipips: int = 100
    swap_triple_weekday: int = 2
    leverage: int = 0
    session: str = "fx"

    @property
    def point_e5(self) -> int:
        """The smallest displayed price step in 1/100000."""
        return 10 ** max(0, 5 - self.digits)

    def round_price_e5(self, price_e5: int) -> int:
        """Round a price to the instrument's displayed digits, half away from zero."""
        point = self.point_e5
        return price_e5 if point == 1 else divide_half_away(price_e5, point) * point

    def floor_volume_e2(self, volume_e2: int) -> int:
        """Round a volume down to a multiple of the step; 0 where that falls below the smallest order."""
        floored = volume_e2 - volume_e2 % self.step_volume_e2
        return floored if floored >= self.min_volume_e2 else 0


def default_instrument(symbol: str) -> Instrument:
    """A plausible specification for a currency pair or gold, where no venue gave one.

    Raises:
        DataError: the symbol is neither a six-letter pair nor XAUUSD-like.
    """
    symbol = symbol.upper()
    if len(symbol) != 6 or not symbol.isalpha():
        raise DataError(f"symbol {symbol!r} is not a six-letter pair such as EURUSD; describe it under [instruments]")
    base, quote = symbol[:3], symbol[3:]
    if base == "XAU":
        return Instrument(symbol=symbol, base=base, quote=quote, digits=2, pip_e5=10_000, lot_e2=10_000,
                          min_volume_e2=100, step_volume_e2=100, max_volume_e2=1_000_000_000)  # fmt: skip
    if quote in {"JPY", "HUF"}:
        return Instrument(symbol=symbol, base=base, quote=quote, digits=3, pip_e5=1_000)
    return Instrument(symbol=symbol, base=base, quote=quote)


def money(volume_e2: int, price_difference_e5: int, rate_e8: int, money_digits: int) -> int:
    """Value of a price difference on a volume, in the account's smallest unit.

    Args:
        volume_e2: volume in 1/100 units of the base asset.
        price_difference_e5: signed difference, or a price itself for a notional, in 1/100000 of the quote asset.
        rate_e8: account units for one unit of the quote asset, times 10**8.
        money_digits: decimals of the account currency.

    Returns:
        volume/100 x difference/100000 x rate/1e8 x 10**money_digits, rounded half away from zero.
    """
    return divide_half_away(
        volume_e2 * price_difference_e5 * rate_e8 * 10**money_digits, VOLUME_SCALE * PRICE_SCALE * RATE_SCALE
    )


def quote_to_account_rate_e8(
    quote_asset: str, account_asset: str, instruments: Iterable[Instrument], mid_e5: Mapping[str, int]
) -> int | None:
    """Account units for one unit of a quote asset, times 10**8, through at most two symbols.

    Walks the shortest chain of symbols that links the assets, multiplying where the held asset is the base and
    dividing where it is the quote (the broker's own conversion rule), each at its last mid price.

    Returns:
        The rate, or None where no chain of known prices links the two assets.
    """
    if quote_asset == account_asset:
        return RATE_SCALE
    steps: list[tuple[str, str, int, int]] = []
    for instrument in instruments:
        mid = mid_e5.get(instrument.symbol, 0)
        if mid > 0:
            steps.append((instrument.base, instrument.quote, mid, PRICE_SCALE))
            steps.append((instrument.quote, instrument.base, PRICE_SCALE, mid))
    for source, target, numerator, denominator in steps:
        if source == quote_asset and target == account_asset:
            return divide_half_away(RATE_SCALE * numerator, denominator)
    for source, middle, numerator, denominator in steps:
        if source != quote_asset:
            continue
        for source_2, target, numerator_2, denominator_2 in steps:
            if source_2 == middle and target == account_asset:
                return divide_half_away(RATE_SCALE * numerator * numerator_2, denominator * denominator_2)
    return None
