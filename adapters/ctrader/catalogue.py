"""What an account trades and on which terms: asked of the broker anew on every connection.

Besides the symbols that are wanted it takes in those that convert their money into the account's, and those that the
account already holds for somebody else: what counts against limits must be valued.
"""

import difflib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

from adapters.ctrader.messages import openapi
from adapters.ctrader.symbols import Specification, assets, light_symbols, missing, specification
from adapters.ctrader.wire import digits_of
from bus.errors import ConfigError, DataError, Refused
from bus.values import Instrument

Ask = Callable[[Any], Awaitable[Any]]
"""Sends a request and gives its answer; raises what `Connection.request` raises."""

_NETTED = 1
_NAMES_SHOWN = 5


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The account, and the symbols that may be traded on it or are needed to value what it holds.

    Attributes:
        instruments: `traded` first, in the order wanted, then `others`.
        traded: names of the symbols wanted.
        others: names of symbols that only convert money or are held by somebody else.
    """

    account_id: int
    currency: str
    money_digits: int
    leverage: int
    hedged: bool
    limited_risk: bool
    instruments: tuple[Instrument, ...]
    traded: tuple[str, ...]
    others: tuple[str, ...]


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Terms, and the broker's own numbers behind them: specifications by symbolId."""

    terms: Terms
    specifications: dict[int, Specification]


async def read_catalogue(ask: Ask, account_id: int, wanted: Sequence[str]) -> Catalogue:
    """Read assets, symbols, account and holdings.

    Args:
        ask: for a logged-in account.
        account_id: ctidTraderAccountId.
        wanted: our names of the symbols to trade.

    Raises:
        ConfigError: the broker has no such symbol, or one cannot be traded exactly.
        DataError: the broker's lists contradict themselves.
        BrokerError: as `Connection.request`.
    """
    names = assets(await ask(openapi.ProtoOAAssetListReq(ctidTraderAccountId=account_id)))
    lights = light_symbols(await ask(openapi.ProtoOASymbolsListReq(ctidTraderAccountId=account_id)))
    by_id = {row.symbolId: (name, row) for name, row in lights.items()}
    trader = (await ask(openapi.ProtoOATraderReq(ctidTraderAccountId=account_id))).trader
    money_digits = digits_of(trader)
    if trader.depositAssetId not in names:
        raise DataError(f"the account's asset {trader.depositAssetId} is not in the asset list")
    held = await ask(openapi.ProtoOAReconcileReq(ctidTraderAccountId=account_id))
    chosen = {_known(name, lights).symbolId: None for name in wanted}
    others: dict[int, None] = {}
    for entry in (*held.position, *held.order):
        if entry.tradeData.symbolId in by_id:
            others[entry.tradeData.symbolId] = None
    for symbol_id in (*chosen, *others):
        quote_asset = by_id[symbol_id][1].quoteAssetId
        for row in await _chain(ask, account_id, quote_asset, trader.depositAssetId):
            others[row] = None
    ids = [*chosen, *(number for number in others if number not in chosen and number in by_id)]
    full = await ask(openapi.ProtoOASymbolByIdReq(ctidTraderAccountId=account_id, symbolId=ids))
    rows = {row.symbolId: row for row in full.symbol}
    gone = missing(chosen, full)
    if gone:
        raise ConfigError(f"the broker gives no specification of {by_id[gone[0]][0]}; leave it out of data.symbols")
    specifications: dict[int, Specification] = {}
    for number in ids:  # in our order, and nothing that was not asked for
        if number not in rows:
            continue
        try:
            specifications[number] = specification(rows[number], by_id[number][1], names)
        except (ConfigError, DataError):
            if number in chosen:
                raise
            # Somebody else's symbol that cannot be valued keeps new risk out (`risk.limits`).
    terms = Terms(
        account_id=account_id,
        currency=names[trader.depositAssetId],
        money_digits=money_digits,
        leverage=trader.leverageInCents // 100,
        hedged=trader.accountType != _NETTED,
        limited_risk=trader.isLimitedRisk,
        instruments=tuple(each.instrument for each in specifications.values()),
        traded=tuple(specifications[number].instrument.symbol for number in chosen),
        others=tuple(each.instrument.symbol for number, each in specifications.items() if number not in chosen),
    )
    return Catalogue(terms=terms, specifications=specifications)


def _known(name: str, lights: dict[str, Any]) -> Any:
    if name in lights:
        return lights[name]
    near = difflib.get_close_matches(name, lights, n=_NAMES_SHOWN, cutoff=0.5) or list(lights)[:_NAMES_SHOWN]
    raise ConfigError(f"data.symbols: this broker has no {name}; it has {', '.join(near)}")


async def _chain(ask: Ask, account_id: int, first: int, last: int) -> Iterable[int]:
    """Symbols that convert one asset into another; none where the broker knows no way."""
    if first == last:
        return ()
    request = openapi.ProtoOASymbolsForConversionReq(
        ctidTraderAccountId=account_id, firstAssetId=first, lastAssetId=last
    )
    try:
        return [row.symbolId for row in (await ask(request)).symbol]
    except Refused:
        return ()
