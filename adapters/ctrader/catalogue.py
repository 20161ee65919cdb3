"""What an account trades and on which terms: asked of the broker anew on every connection.

Besides the symbols that are wanted it takes in those that convert their money into the account's, and those that the
account already holds for somebody else: what counts against limits must be valued. Dynamic leverage is read with them.
"""

import difflib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

from adapters.ctrader.messages import openapi
from adapters.ctrader.money import CommissionType
from adapters.ctrader.symbols import Specification, assets, leverage_tiers, light_symbols, specification
from adapters.ctrader.wire import digits_of
from bus.errors import ConfigError, DataError, Refused
from bus.values import Instrument

Ask = Callable[[Any], Awaitable[Any]]
"""Sends a request and gives its answer; raises what `Connection.request` raises."""

_NETTED = 1
_USD = "USD"
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
    """Terms, and the broker's own numbers behind them.

    Attributes:
        terms: of the account.
        specifications: by symbolId.
        chains: names of the symbols that convert one asset into another, in the broker's order.
    """

    terms: Terms
    specifications: dict[int, Specification]
    chains: dict[tuple[str, str], tuple[str, ...]]


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
    reader = _Reader(ask, account_id)
    await reader.lists()
    trader = (await ask(openapi.ProtoOATraderReq(ctidTraderAccountId=account_id))).trader
    money_digits = digits_of(trader)
    if trader.depositAssetId not in reader.assets:
        raise DataError(f"the account's asset {trader.depositAssetId} is not in the asset list")
    currency = reader.assets[trader.depositAssetId]
    held = await ask(openapi.ProtoOAReconcileReq(ctidTraderAccountId=account_id))
    chosen = [find(name, reader.lights, "data.symbols").symbolId for name in wanted]
    for name, number in zip(wanted, chosen, strict=True):
        if reader.by_id[number][0] != name:
            raise DataError(f"the broker has two symbols with id {number}: {name}, {reader.by_id[number][0]}")
    others = [entry.tradeData.symbolId for entry in (*held.position, *held.order)]
    await reader.specify([*chosen, *others], chosen=frozenset(chosen))
    gone = [number for number in chosen if number not in reader.specifications]
    if gone:
        raise ConfigError(
            f"the broker gives no specification of {reader.by_id[gone[0]][0]}; leave it out of data.symbols"
        )
    await reader.convert(currency)
    found = reader.specifications
    terms = Terms(
        account_id=account_id,
        currency=currency,
        money_digits=money_digits,
        leverage=trader.leverageInCents // 100,
        hedged=trader.accountType != _NETTED,
        limited_risk=trader.isLimitedRisk,
        instruments=tuple(each.instrument for each in found.values()),
        traded=tuple(found[number].instrument.symbol for number in dict.fromkeys(chosen)),
        others=tuple(each.instrument.symbol for number, each in found.items() if number not in chosen),
    )
    return Catalogue(terms=terms, specifications=found, chains=reader.chains)


class _Reader:
    """Collects what is asked of the broker piece by piece; every piece says what else must be known."""

    def __init__(self, ask: Ask, account_id: int) -> None:
        self._ask = ask
        self._account_id = account_id
        self._tiers: dict[int, tuple[tuple[int, int], ...]] = {}
        self.assets: dict[int, str] = {}
        self.lights: dict[str, Any] = {}
        self.by_id: dict[int, tuple[str, Any]] = {}
        self.specifications: dict[int, Specification] = {}
        self.chains: dict[tuple[str, str], tuple[str, ...]] = {}

    async def lists(self) -> None:
        self.assets = assets(await self._ask(openapi.ProtoOAAssetListReq(ctidTraderAccountId=self._account_id)))
        listed = await self._ask(openapi.ProtoOASymbolsListReq(ctidTraderAccountId=self._account_id))
        self.lights = light_symbols(listed)
        self.by_id = {row.symbolId: (name, row) for name, row in self.lights.items()}

    async def specify(self, numbers: Iterable[int], *, chosen: frozenset[int] = frozenset()) -> None:
        """Read the symbols with these ids that are on the list and not known yet, in this order."""
        ids = [number for number in dict.fromkeys(numbers) if number in self.by_id]
        ids = [number for number in ids if number not in self.specifications]
        if not ids:
            return
        request = openapi.ProtoOASymbolByIdReq(ctidTraderAccountId=self._account_id, symbolId=ids)
        rows = {row.symbolId: row for row in (await self._ask(request)).symbol}
        for number in ids:  # in our order, and nothing that was not asked for
            if number not in rows:
                continue
            try:
                known = specification(rows[number], self.by_id[number][1], self.assets)
            except (ConfigError, DataError):
                if number in chosen:
                    raise
                continue  # somebody else's symbol that cannot be valued keeps new risk out (`risk.limits`)
            if known.leverage_id:
                known = msgspec.structs.replace(known, tiers=await self._leverage(known.leverage_id))
            self.specifications[number] = known

    async def _leverage(self, leverage_id: int) -> tuple[tuple[int, int], ...]:
        """Tiers of a dynamic leverage; none where the broker tells none that make sense."""
        if leverage_id not in self._tiers:
            request = openapi.ProtoOAGetDynamicLeverageByIDReq(
                ctidTraderAccountId=self._account_id, leverageId=leverage_id
            )
            try:
                self._tiers[leverage_id] = leverage_tiers((await self._ask(request)).leverage)
            except (Refused, DataError):
                self._tiers[leverage_id] = ()
        return self._tiers[leverage_id]

    async def convert(self, currency: str) -> None:
        """Learn how every asset is converted in which a symbol is quoted, charged or margined, and the symbols for it.

        A chain may lead through symbols that nobody wants; what these are quoted in is converted by the same chain.
        """
        for known in tuple(self.specifications.values()):
            for first, last in _conversions(known, currency):
                if first != last and (first, last) not in self.chains:
                    self.chains[first, last] = await self._chain(first, last)

    async def _chain(self, first: str, last: str) -> tuple[str, ...]:
        """Names of the symbols that convert one asset into another; none where the broker knows no way."""
        ids = {name: number for number, name in reversed(self.assets.items())}
        if first not in ids or last not in ids:
            return ()
        request = openapi.ProtoOASymbolsForConversionReq(
            ctidTraderAccountId=self._account_id, firstAssetId=ids[first], lastAssetId=ids[last]
        )
        try:
            rows = [row.symbolId for row in (await self._ask(request)).symbol]
        except Refused:
            return ()
        await self.specify(rows)
        if any(number not in self.specifications for number in rows):
            return ()
        return tuple(self.specifications[number].instrument.symbol for number in rows)


def _conversions(known: Specification, currency: str) -> Iterable[tuple[str, str]]:
    """Conversions that the figures of a symbol need; see `valuation`."""
    rule = known.commission
    yield known.instrument.quote, currency
    if rule.precise_rate and rule.kind in {CommissionType.USD_PER_MILLION_USD, CommissionType.USD_PER_LOT}:
        yield _USD, currency
    if rule.precise_rate and rule.kind is CommissionType.USD_PER_MILLION_USD:
        yield known.instrument.base, _USD
    if rule.precise_minimum:
        yield rule.minimum_asset, currency
    if known.tiers:
        yield currency, _USD


def find(name: str, lights: dict[str, Any], asked_by: str) -> Any:
    """The row of the symbol list with one of our names.

    Args:
        name: ours.
        lights: as `symbols.light_symbols` gives them.
        asked_by: what named it, for the error.

    Raises:
        ConfigError: there is none; says what comes near.
    """
    if name in lights:
        return lights[name]
    near = difflib.get_close_matches(name, lights, n=_NAMES_SHOWN, cutoff=0.5) or list(lights)[:_NAMES_SHOWN]
    raise ConfigError(f"{asked_by}: this broker has no {name}; it has {', '.join(near)}")
