"""Answers about what is offered and what an account holds: symbols, assets, trader, reconcile, margins, profit."""

from typing import Any

from adapters.ctrader.messages import model, openapi
from adapters.ctrader.venue.account import Account
from adapters.ctrader.venue.extras import get_varint, put_text
from adapters.ctrader.venue.records import ACCEPTED, OPEN, STOP_LOSS_TAKE_PROFIT
from adapters.ctrader.venue.specs import Symbol
from adapters.ctrader.venue.trading import Refused
from bus.values import Instrument

_FX_ZONE = "America/New_York"
_HOUR = 3_600
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


def full_symbol(symbol: Symbol, conversion_fee_bp: int) -> Any:
    """The specification of a symbol, in the wire's units."""
    instrument: Instrument = symbol.instrument
    pip_position = 5
    while 10 ** (5 - pip_position) < instrument.pip_e5 and pip_position > 0:
        pip_position -= 1
    out = model.ProtoOASymbol(
        symbolId=symbol.symbol_id,
        digits=instrument.digits,
        pipPosition=pip_position,
        enableShortSelling=True,
        guaranteedStopLoss=False,
        swapRollover3Days=instrument.swap_triple_weekday + 1,
        swapLong=instrument.swap_long_millipips / 1_000,
        swapShort=instrument.swap_short_millipips / 1_000,
        maxVolume=instrument.max_volume_e2,
        minVolume=instrument.min_volume_e2,
        stepVolume=instrument.step_volume_e2,
        distanceSetIn=1,
        minCommissionType=1,
        minCommissionAsset="USD",
        scheduleTimeZone=_FX_ZONE,
        tradingMode=0,
        swapCalculationType=0,
        lotSize=instrument.lot_e2,
        preciseMinCommission=0,
        pnlConversionFeeRate=conversion_fee_bp,
        swapPeriod=24,
        chargeSwapAtWeekends=False,
    )
    put_text(out, 40, instrument.base)
    # The exchange charges a share of the traded value, converted to the deposit asset: that is PERCENTAGE_OF_VALUE
    # in every account currency. A rate too fine for that encoding is told as the same amount in US dollars a million.
    rate = instrument.commission_per_million_e2
    out.commissionType = 3 if rate % 10 == 0 else 1
    out.preciseTradingCommissionRate = rate // 10 if rate % 10 == 0 else rate * 1_000_000
    if instrument.session == "always":
        out.schedule.add(startSecond=0, endSecond=_WEEK_S)
    else:
        for day in range(5):  # Sunday 17:00 to Friday 17:00, seconds since Sunday 00:00
            start = day * 24 * _HOUR + 17 * _HOUR
            out.schedule.add(startSecond=start, endSecond=start + 24 * _HOUR)
    return out


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
    out.symbol.extend(full_symbol(symbol, fee) for symbol in found if symbol is not None)
    return out


def _conversion(account: Account, request: Any, _fee: int) -> Any | Refused:
    chain = account.catalogue.chain(request.firstAssetId, request.lastAssetId)
    if chain is None:
        return Refused("SYMBOL_NOT_FOUND", f"no symbols link {request.firstAssetId} and {request.lastAssetId}")
    out = openapi.ProtoOASymbolsForConversionRes(ctidTraderAccountId=account.account_id)
    out.symbol.extend(light_symbol(account, symbol) for symbol in chain)
    return out


def trader(account: Account) -> Any:
    """The account as `ProtoOATrader`."""
    spec = account.spec
    return model.ProtoOATrader(
        ctidTraderAccountId=spec.account_id,
        balance=account.broker.balance,
        balanceVersion=account.balance_version,
        managerBonus=0,
        ibBonus=0,
        nonWithdrawableBonus=0,
        accessRights=spec.rights,
        depositAssetId=account.catalogue.assets[spec.currency],
        swapFree=False,
        leverageInCents=spec.leverage * 100,
        totalMarginCalculationType=0,
        maxLeverage=spec.leverage * 100,
        traderLogin=spec.login or spec.account_id,
        accountType=0 if spec.hedged else 1,
        brokerName="plimsoll",
        registrationTimestamp=account.registered_ms,
        isLimitedRisk=False,
        moneyDigits=spec.money_digits,
    )


def _trader(account: Account, _request: Any, _fee: int) -> Any:
    return openapi.ProtoOATraderRes(ctidTraderAccountId=account.account_id, trader=trader(account))


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
    quote = account.broker.quote(instrument.symbol)
    rate_e8 = account.broker.rate_e8(instrument)
    if quote is None or not rate_e8:
        return Refused("NO_QUOTES", f"no price of {instrument.symbol}, or none that converts it")
    out = openapi.ProtoOAExpectedMarginRes(
        ctidTraderAccountId=account.account_id, moneyDigits=account.spec.money_digits
    )
    for volume in request.volume:
        out.margin.add(
            volume=volume,
            buyMargin=account.broker.margin(instrument, volume * quote.ask_e5, rate_e8),
            sellMargin=account.broker.margin(instrument, volume * quote.bid_e5, rate_e8),
        )
    return out


def _profits(account: Account, _request: Any, _fee: int) -> Any:
    out = openapi.ProtoOAGetPositionUnrealizedPnLRes(
        ctidTraderAccountId=account.account_id, moneyDigits=account.spec.money_digits
    )
    for position in account.positions.values():
        held = account.broker.held(position.exchange_id) if position.status == OPEN else None
        if held is not None:
            gross, net = account.broker.floating(held)
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
    "ProtoOAGetPositionUnrealizedPnLReq": _profits,
}
CATALOGUE_REQUESTS = frozenset(_ANSWERS)
"""Names of the requests that `answer` takes."""
