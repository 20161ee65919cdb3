"""The broker's catalogue: light symbols and assets give names, full symbols give the numbers. Pure.

A name becomes ours in capitals, without slashes and with `_` for what a topic cannot carry: `EUR/USD` is EURUSD and
`US100.cash` is US100_CASH. Names and ids belong to one broker and are never carried to another.
"""

import enum
import re
from decimal import Decimal
from typing import Any

import msgspec
from google.protobuf.unknown_fields import UnknownFieldSet

from adapters.ctrader.hours import DAY_S, Holiday, Hours
from adapters.ctrader.money import Commission, CommissionType, SwapType
from adapters.ctrader.wire import LATEST_MS
from bus.errors import ConfigError, DataError
from bus.values import LARGEST, PRICE_SCALE, VOLUME_SCALE, Instrument, divide_half_away

_IN_PERCENT = 2
_DISTANCE_UNIT_FIELD = 20
_MOST_TIERS = _MOST_HOURS = 1_000
_SWAP_TYPE_FIELD = 29
_NO_TRIPLE_NIGHT = 7
_LONGEST_NAME = 64
_RULES = {15: "commissionType", 22: "minCommissionType", 27: "tradingMode", _SWAP_TYPE_FIELD: "swapCalculationType"}


class TradingMode(enum.IntEnum):
    """What the broker lets be done with a symbol; the values are the wire's."""

    ENABLED = 0
    DISABLED_WITHOUT_PENDINGS_EXECUTION = 1
    DISABLED_WITH_PENDINGS_EXECUTION = 2
    CLOSE_ONLY_MODE = 3


class Specification(msgspec.Struct, frozen=True, kw_only=True):
    """All that an order needs to know about a symbol beyond its `Instrument`.

    `instrument.commission_per_million_e2` and its swap are exact where the broker's own rule is a share of value, or
    pips; otherwise they are estimates at the reference price, and `commission` and `swap_*` hold the rule itself.
    `conversion_fee_bp` is charged on a realised gross result where the quote asset is not the account's. Distances are
    the least ones of levels from the market, as the wire tells them (see `least_e5`), 0 = none. `leverage_id` of 0
    means that the account's leverage counts; otherwise `tiers` are (upper bound of a side's exposure in 1/100 USD,
    leverage as told), empty = they could not be read.
    """

    symbol_id: int
    instrument: Instrument
    commission: Commission
    swap_type: SwapType
    swap_long: float
    swap_short: float
    conversion_fee_bp: int
    trading_mode: TradingMode
    short_selling: bool
    hours: Hours
    stop_distance: int = 0
    target_distance: int = 0
    guaranteed_distance: int = 0
    distances_in_percent: bool = False
    guaranteed_stop: bool = True
    leverage_id: int = 0
    tiers: tuple[tuple[int, int], ...] = ()

    def least_e5(self, distance: int, price_e5: int) -> int:
        """What a distance of this symbol comes to, in 1/100000, rounded up: less the broker refuses for certain.

        Whether a percentage is told as percent or in 1/100 percent is not known. The smaller reading is taken, so that
        nothing is kept back that the broker would take; what only the larger one forbids, the broker refuses itself.

        Args:
            distance: one of the three.
            price_e5: that a percentage is of.
        """
        if self.distances_in_percent:
            return -(-distance * price_e5 // 10_000)
        return distance * self.instrument.point_e5


def plain_name(name: str) -> str:
    """The broker's symbol name as ours."""
    return re.sub(r"[^A-Z0-9_-]", "_", name.upper().replace("/", "").strip())


def light_symbols(response: Any) -> dict[str, Any]:
    """Tradable rows of a `ProtoOASymbolsListRes` by our name; one without a name, or with an endless one, is left out.

    Raises:
        DataError: two of the broker's names become one of ours.
    """
    found: dict[str, Any] = {}
    for row in response.symbol:
        if not row.enabled or not 0 < len(row.symbolName) <= _LONGEST_NAME:
            continue
        name = plain_name(row.symbolName)
        if name in found:
            raise DataError(f"the broker has two symbols called {name}: {found[name].symbolName}, {row.symbolName}")
        found[name] = row
    return found


def assets(response: Any) -> dict[int, str]:
    """Names of a `ProtoOAAssetListRes` by id."""
    return {row.assetId: row.name.upper() for row in response.asset if len(row.name) <= _LONGEST_NAME}


def specification(
    symbol: Any, light: Any, asset_names: dict[int, str], price_e5: int = 0, quote_to_usd_e8: int = 0
) -> Specification:
    """Build what we know of a symbol.

    Args:
        symbol: `ProtoOASymbol`.
        light: its `ProtoOALightSymbol`, which alone names the assets.
        asset_names: by asset id.
        price_e5: a recent price, for the estimates that need one; 0 = none.
        quote_to_usd_e8: US dollars for one unit of the quote asset, times 10**8; 0 = as if the base were the dollar.

    Raises:
        ConfigError: the symbol cannot be traded exactly (more than 5 digits, no lot, no volume step, costs that this
            version does not know or that are none).
        DataError: its assets are not in the list, or a holiday is on no day or in no time zone.
    """
    name = plain_name(light.symbolName[:_LONGEST_NAME])
    _refuse_unknown_rules(name, symbol)
    if max(len(symbol.scheduleTimeZone), *(len(row.scheduleTimeZone) for row in symbol.holiday), 0) > _LONGEST_NAME:
        raise DataError(f"{name} has hours in a time zone with a name of more than {_LONGEST_NAME} characters")
    if not 0 <= symbol.digits <= 5 or not 0 <= symbol.pipPosition <= 5:
        raise ConfigError(
            f"{name} has {symbol.digits} digits, pip at {symbol.pipPosition}; prices carry 5. Leave it out"
        )
    volumes = (symbol.lotSize, symbol.minVolume, symbol.stepVolume, symbol.maxVolume)
    if min(volumes) <= 0 or max(volumes[:3]) > LARGEST:
        raise ConfigError(f"{name} has no lot size or no volume limits at this broker; leave it out")
    charges = (symbol.preciseTradingCommissionRate, symbol.preciseMinCommission, symbol.pnlConversionFeeRate * 10**10)
    swaps = (symbol.swapLong, symbol.swapShort)
    if min(charges) < 0 or max(charges) > 10**14 or not all(abs(swap) < 1e9 for swap in swaps):  # NaN compares false
        raise ConfigError(f"{name} has charges {charges[:2]}, swaps {swaps}, which cannot be; leave it out")
    if light.baseAssetId not in asset_names or light.quoteAssetId not in asset_names:
        raise DataError(f"{name}: asset {light.baseAssetId} or {light.quoteAssetId} is not in the asset list")
    rule = Commission(
        kind=CommissionType(symbol.commissionType),
        precise_rate=symbol.preciseTradingCommissionRate,
        precise_minimum=symbol.preciseMinCommission,
        minimum_asset=(
            asset_names[light.quoteAssetId] if symbol.minCommissionType == 2 else symbol.minCommissionAsset.upper()
        ),
    )
    swap_type = _swap_type(symbol)
    schedule = tuple((row.startSecond, row.endSecond) for row in symbol.schedule[:_MOST_HOURS])
    point_e5, pip_e5 = 10 ** (5 - symbol.digits), 10 ** (5 - symbol.pipPosition)
    instrument = Instrument(
        symbol=name,
        base=asset_names[light.baseAssetId],
        quote=asset_names[light.quoteAssetId],
        digits=symbol.digits,
        pip_e5=pip_e5,
        lot_e2=symbol.lotSize,
        min_volume_e2=symbol.minVolume,
        max_volume_e2=min(symbol.maxVolume, LARGEST),  # some say 2**63 - 1 where they mean none
        step_volume_e2=symbol.stepVolume,
        commission_per_million_e2=_per_million_e2(rule, symbol.lotSize, price_e5, quote_to_usd_e8),
        swap_long_millipips=_millipips(swap_type, symbol.swapLong, price_e5, point_e5, pip_e5),
        swap_short_millipips=_millipips(swap_type, symbol.swapShort, price_e5, point_e5, pip_e5),
        swap_triple_weekday=symbol.swapRollover3Days - 1 if symbol.swapRollover3Days else _NO_TRIPLE_NIGHT,
        session="always" if _trades_on_saturday(schedule) else "fx",
    )
    estimates = (
        instrument.commission_per_million_e2, instrument.swap_long_millipips, instrument.swap_short_millipips,
    )  # fmt: skip
    if max(map(abs, estimates)) > LARGEST:
        raise ConfigError(f"{name} costs {estimates} at a price of {price_e5}, which cannot be; leave it out")
    # Distances in a unit that this version has no name for are left to the broker.
    unit_known = all(field.field_number != _DISTANCE_UNIT_FIELD for field in UnknownFieldSet(symbol))
    return Specification(
        symbol_id=symbol.symbolId,
        instrument=instrument,
        commission=rule,
        swap_type=swap_type,
        swap_long=symbol.swapLong,
        swap_short=symbol.swapShort,
        conversion_fee_bp=symbol.pnlConversionFeeRate,
        trading_mode=TradingMode(symbol.tradingMode),
        short_selling=symbol.enableShortSelling or not symbol.HasField("enableShortSelling"),
        hours=Hours(
            schedule=schedule,
            zone=symbol.scheduleTimeZone,
            holidays=tuple(_holiday(row) for row in symbol.holiday[:_MOST_HOURS]),
        ),
        stop_distance=symbol.slDistance if unit_known else 0,
        target_distance=symbol.tpDistance if unit_known else 0,
        guaranteed_distance=symbol.gslDistance if unit_known else 0,
        distances_in_percent=symbol.distanceSetIn == _IN_PERCENT,
        guaranteed_stop=symbol.guaranteedStopLoss or not symbol.HasField("guaranteedStopLoss"),
        leverage_id=symbol.leverageId,
    )


def leverage_tiers(leverage: Any) -> tuple[tuple[int, int], ...]:
    """Tiers of a `ProtoOADynamicLeverage`: (upper bound of a side's exposure in 1/100 USD, leverage as told).

    Raises:
        DataError: bounds that do not ascend, or leverage that is none.
    """
    tiers = tuple((tier.volume, tier.leverage) for tier in leverage.tiers[:_MOST_TIERS])
    bounds = [bound for bound, _ in tiers]
    if not tiers or min(min(tier) for tier in tiers) <= 0 or bounds != sorted(set(bounds)):
        raise DataError(f"dynamic leverage {leverage.leverageId}: tiers {tiers[:3]} do not ascend")
    return tiers


def _holiday(row: Any) -> Holiday:
    if not 0 <= row.holidayDate <= LATEST_MS // (DAY_S * 1_000):
        raise DataError(f"a holiday on day {row.holidayDate} after 1970-01-01")
    return Holiday(
        day=row.holidayDate,
        recurring=row.isRecurring,
        zone=row.scheduleTimeZone,
        start_s=row.startSecond,
        end_s=row.endSecond if row.HasField("endSecond") else DAY_S,
    )


def _refuse_unknown_rules(name: str, symbol: Any) -> None:
    """A rule that this version has no name for would read as the first one there is, and cost other money."""
    for field in UnknownFieldSet(symbol):
        rule = _RULES.get(field.field_number)
        if rule is not None and not (rule == "swapCalculationType" and field.data == SwapType.POINTS):
            raise ConfigError(f"{name} has a {rule} that this version does not know; leave it out")


def _swap_type(symbol: Any) -> SwapType:
    """Old bindings do not know POINTS (2) and would read PIPS: look among the unknown fields too."""
    if not symbol.HasField("swapCalculationType") and any(
        field.field_number == _SWAP_TYPE_FIELD for field in UnknownFieldSet(symbol)
    ):
        return SwapType.POINTS
    return SwapType(symbol.swapCalculationType)


def _per_million_e2(rule: Commission, lot_e2: int, price_e5: int, quote_to_usd_e8: int) -> int:
    exact = rule.per_million_e2
    if exact is not None:
        return exact
    if rule.kind in {CommissionType.USD_PER_MILLION_USD, CommissionType.PERCENTAGE_OF_VALUE}:
        scale = 1_000_000 if rule.kind == CommissionType.USD_PER_MILLION_USD else 1
        return divide_half_away(rule.precise_rate * (1 if scale > 1 else 10), scale)
    # A rate a lot as a share of the lot's value, in the asset of the rate.
    value_e8 = 10**8
    if price_e5 and rule.kind == CommissionType.QUOTE_CCY_PER_LOT:
        value_e8 = price_e5 * 10**8 // PRICE_SCALE
    elif price_e5 and quote_to_usd_e8:
        value_e8 = price_e5 * quote_to_usd_e8 // PRICE_SCALE
    return divide_half_away(rule.precise_rate * VOLUME_SCALE * 100_000_000, lot_e2 * max(value_e8, 1))


def _millipips(kind: SwapType, amount: float, price_e5: int, point_e5: int, pip_e5: int) -> int:
    number = Decimal(repr(amount))
    if kind is SwapType.POINTS:
        number = number * point_e5 / pip_e5
    elif kind is SwapType.PERCENTAGE:
        number = number / 100 / 360 * price_e5 / pip_e5
    return round(number * 1_000)


def _trades_on_saturday(schedule: tuple[tuple[int, int], ...]) -> bool:
    open_s = sum(max(0, min(end, 7 * DAY_S) - max(start, 6 * DAY_S)) for start, end in schedule)
    return open_s > DAY_S // 2
