"""Answers about what is offered and what an account holds: symbols, assets, trader, reconcile, margins, profit."""

from typing import Any

from adapters.ctrader.messages import model, openapi
from adapters.ctrader.venue.account import Account
from adapters.ctrader.venue.extras import get_varint, put_text, put_varint
from adapters.ctrader.venue.records import ACCEPTED, OPEN, STOP_LOSS_TAKE_PROFIT
from adapters.ctrader.venue.specs import Symbol
from adapters.ctrader.venue.terms import PERCENTAGE, PIPS, POINTS, USD_PER_MILLION, Charge, Swap, Terms
from adapters.ctrader.venue.trading import Refused
from bus.values import Instrument, Side

_FX_ZONE = "America/New_York"
_HOUR = 3_600
_HALF = 1 << 31
_WEEK_S = 7 * 24 * _HOUR


def light_symbol(account: Account, symbol: Symbol) -> Any:
    """A row of the symbol list; base and quote asset stand only here."""
    instrument = symbol.instrument
    assets = account.catalogue.assets
    return model.ProtoOALightSymbol(
        symbolId=symbol.symbol_id,
        symbolName=instrument.symbol,
        enabled=True,
        baseAssetId=assets[instrument.base],
        quoteAssetId=assets[instrument.quote],
        symbolCategoryId=1,
        description=f"{instrument.base} vs {instrument.quote}",
    )


def full_symbol(symbol: Symbol, terms: Terms, conversion_fee_bp: int) -> Any:
    """The specification of a symbol, in the wire's units."""
    instrument: Instrument = symbol.instrument
    pip_position = 5
    while 10 ** (5 - pip_position) < instrument.pip_e5 and pip_position > 0:
        pip_position -= 1
    charge = terms.charge or _charge_of(instrument)
    swap = terms.swap or Swap(
        kind=PIPS, long=instrument.swap_long_millipips / 1_000, short=instrument.swap_short_millipips / 1_000
    )
    out = model.ProtoOASymbol(
        symbolId=symbol.symbol_id,
        digits=instrument.digits,
        pipPosition=pip_position,
        enableShortSelling=terms.short_selling,
        guaranteedStopLoss=terms.guaranteed,
        swapRollover3Days=instrument.swap_triple_weekday + 1,
        swapLong=swap.long,
        swapShort=swap.short,
        maxVolume=instrument.max_volume_e2,
        minVolume=instrument.min_volume_e2,
        stepVolume=instrument.step_volume_e2,
        maxExposure=terms.most_exposure_e2,
        slDistance=terms.stop_points,
        tpDistance=terms.target_points,
        gslDistance=terms.guaranteed_points,
        distanceSetIn=2 if terms.distances_in_percent else 1,
        commissionType=charge.kind,
        preciseTradingCommissionRate=charge.rate,
        preciseMinCommission=charge.minimum,
        minCommissionType=1 if charge.minimum_asset else 2,
        minCommissionAsset=charge.minimum_asset or instrument.quote,
        scheduleTimeZone=terms.zone if terms.hours else _FX_ZONE,
        tradingMode=terms.mode,
        lotSize=instrument.lot_e2,
        pnlConversionFeeRate=conversion_fee_bp if terms.fee_bp is None else terms.fee_bp,
        swapPeriod=24,
        chargeSwapAtWeekends=False,
    )
    if swap.kind == POINTS:  # which the generated messages do not know
        put_varint(out, 29, POINTS)
    else:
        out.swapCalculationType = swap.kind
    if terms.leverage is not None:
        out.leverageId = symbol.symbol_id
    put_text(out, 40, instrument.base)
    for number, rest in enumerate(terms.holidays, 1):
        out.holiday.add(
            holidayId=number, name="holiday", scheduleTimeZone=rest.zone, holidayDate=rest.day, isRecurring=False,
            startSecond=rest.start_s, endSecond=rest.end_s,
        )  # fmt: skip
    if terms.hours:
        for start, end in terms.hours:
            out.schedule.add(startSecond=start, endSecond=end)
    elif instrument.session == "always":
        out.schedule.add(startSecond=0, endSecond=_WEEK_S)
    else:
        for day in range(5):  # Sunday 17:00 to Friday 17:00, seconds since Sunday 00:00
            start = day * 24 * _HOUR + 17 * _HOUR
            out.schedule.add(startSecond=start, endSecond=start + 24 * _HOUR)
    return out


def _charge_of(instrument: Instrument) -> Charge:
    """The exchange charges a share of the traded value, converted to the deposit asset: that is PERCENTAGE_OF_VALUE.

    A rate too fine for that encoding is told as the same amount in US dollars a million.
    """
    rate = instrument.commission_per_million_e2
    if rate % 10 == 0:
        return Charge(kind=PERCENTAGE, rate=rate // 10)
    return Charge(kind=USD_PER_MILLION, rate=rate * 1_000_000)


def answer(account: Account, request: Any, conversion_fee_bp: int) -> Any | Refused:
    """Answer a request of this module for a logged-in account."""
    return _ANSWERS[request.DESCRIPTOR.name](account, request, conversion_fee_bp)


def _assets(account: Account, _request: Any, _fee: int) -> Any:
    out = openapi.ProtoOAAssetListRes(ctidTraderAccountId=account.account_id)
    for name, number in account.catalogue.assets.items():
        out.asset.add(assetId=number, name=name, displayName=name, digits=0 if name == "JPY" else 2)
    return out


def _classes(account: Account, _request: Any, _fee: int) -> Any:
    out = openapi.ProtoOAAssetClassListRes(ctidTraderAccountId=account.account_id)
    out.assetClass.add(id=1, name="Forex")
    return out


def _categories(account: Account, _request: Any, _fee: int) -> Any:
    out = openapi.ProtoOASymbolCategoryListRes(ctidTraderAccountId=account.account_id)
    out.symbolCategory.add(id=1, assetClassId=1, name="Forex")
    return out


def _symbols(account: Account, _request: Any, _fee: int) -> Any:
    out = openapi.ProtoOASymbolsListRes(ctidTraderAccountId=account.account_id)
    out.symbol.extend(light_symbol(account, symbol) for symbol in account.catalogue.symbols)
    return out


def _symbols_by_id(account: Account, request: Any, fee: int) -> Any | Refused:
    found = [account.catalogue.by_id(number) for number in dict.fromkeys(request.symbolId)]
    if None in found:
        return Refused("SYMBOL_NOT_FOUND", f"one of {list(request.symbolId)} is no symbol")
    out = openapi.ProtoOASymbolByIdRes(ctidTraderAccountId=account.account_id)
    terms_of = account.catalogue.terms_of
    out.symbol.extend(full_symbol(each, terms_of(each.instrument.symbol), fee) for each in found if each is not None)
    return out


def _conversion(account: Account, request: Any, _fee: int) -> Any | Refused:
    chain = account.catalogue.chain(request.firstAssetId, request.lastAssetId)
    if chain is None:
        return Refused("SYMBOL_NOT_FOUND", f"no symbols link {request.firstAssetId} and {request.lastAssetId}")
    out = openapi.ProtoOASymbolsForConversionRes(ctidTraderAccountId=account.account_id)
    out.symbol.extend(light_symbol(account, symbol) for symbol in chain)
    return out


def _trader(account: Account, _request: Any, _fee: int) -> Any:
    return openapi.ProtoOATraderRes(ctidTraderAccountId=account.account_id, trader=account.trader())


def _reconcile(account: Account, request: Any, _fee: int) -> Any:
    out = openapi.ProtoOAReconcileRes(ctidTraderAccountId=account.account_id)
    out.position.extend(position.message() for position in account.positions.values() if position.status == OPEN)
    protective = bool(get_varint(request, 3))
    out.order.extend(
        order.message()
        for order in account.orders.values()
        if order.status == ACCEPTED and (protective or order.order_type != STOP_LOSS_TAKE_PROFIT)
    )
    return out


def _expected_margin(account: Account, request: Any, _fee: int) -> Any | Refused:
    symbol = account.catalogue.by_id(request.symbolId)
    if symbol is None:
        return Refused("SYMBOL_NOT_FOUND", f"no symbol {request.symbolId}")
    instrument = symbol.instrument
    if not all(0 < volume <= instrument.max_volume_e2 for volume in request.volume):
        return Refused("TRADING_BAD_VOLUME", f"volumes lie between 1 and {instrument.max_volume_e2}")
    out = openapi.ProtoOAExpectedMarginRes(
        ctidTraderAccountId=account.account_id, moneyDigits=account.spec.money_digits
    )
    for volume in request.volume:
        buy, sell = (account.broker.expected_margin(instrument, side, volume) for side in (Side.BUY, Side.SELL))
        if buy is None or sell is None:
            return Refused("NO_QUOTES", f"no price of {instrument.symbol}, or none that converts it")
        out.margin.add(volume=volume, buyMargin=buy, sellMargin=sell)
    return out


def _leverage(account: Account, request: Any, _fee: int) -> Any | Refused:
    symbol = account.catalogue.by_id(request.leverageId)
    terms = None if symbol is None else account.catalogue.terms_of(symbol.instrument.symbol).leverage
    if terms is None:
        return Refused("ENTITY_NOT_FOUND", f"no dynamic leverage {request.leverageId}")
    out = openapi.ProtoOAGetDynamicLeverageByIDRes(ctidTraderAccountId=account.account_id)
    out.leverage.leverageId = request.leverageId
    for bound_e2, leverage in terms.tiers:
        out.leverage.tiers.add(volume=bound_e2, leverage=leverage * (100 if terms.hundredths else 1))
    return out


def _profits(account: Account, _request: Any, _fee: int) -> Any:
    out = openapi.ProtoOAGetPositionUnrealizedPnLRes(
        ctidTraderAccountId=account.account_id, moneyDigits=account.spec.money_digits
    )
    for position in account.positions.values():
        held = account.broker.held(position.exchange_id) if position.status == OPEN else None
        if held is not None:
            gross, net = account.broker.floating(held)
            # The bindings read the wire's 64 bits as 32; what a client of theirs would read is what can be told here.
            net = (net + _HALF) % (2 * _HALF) - _HALF
            out.positionUnrealizedPnL.add(
                positionId=position.position_id, grossUnrealizedPnL=gross, netUnrealizedPnL=net
            )
    return out


_ANSWERS: dict[str, Any] = {
    "ProtoOAAssetListReq": _assets,
    "ProtoOAAssetClassListReq": _classes,
    "ProtoOASymbolCategoryListReq": _categories,
    "ProtoOASymbolsListReq": _symbols,
    "ProtoOASymbolByIdReq": _symbols_by_id,
    "ProtoOASymbolsForConversionReq": _conversion,
    "ProtoOATraderReq": _trader,
    "ProtoOAReconcileReq": _reconcile,
    "ProtoOAExpectedMarginReq": _expected_margin,
    "ProtoOAGetDynamicLeverageByIDReq": _leverage,
    "ProtoOAGetPositionUnrealizedPnLReq": _profits,
}
CATALOGUE_REQUESTS = frozenset(_ANSWERS)
"""Names of the requests that `answer` takes."""
