"""What the simulated broker offers: symbols with ids, assets, accounts, limits, delays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from adapters.ctrader.venue.terms import Terms
from adapters.exchange.model import ExecutionModel
from bus.errors import ConfigError
from bus.values import NS_PER_MS, Instrument

_PLAIN = Terms()


class AccountSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One trading account. `balance` is in the smallest unit of the currency, `leverage` units of value a unit margin.

    Attributes:
        account_id: the wire's ``ctidTraderAccountId``.
        rights: 0 full, 1 close only, 2 no trading, 3 no login.
        limited_risk: every position needs a guaranteed stop.
        margin_rule: how long and short margin of one symbol combine: 0 the larger, 1 both, 2 their difference.
    """

    account_id: int
    hedged: bool = True
    currency: str = "USD"
    money_digits: int = 2
    leverage: int = 100
    balance: int = 1_000_000
    login: int = 0
    live: bool = False
    rights: int = 0
    limited_risk: bool = False
    margin_rule: int = 0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the server allows. Numbers of the protocol reference, sections 1.4, 3 and 6."""

    requests_per_s: int = 50
    history_per_s: int = 5
    connections: int = 25
    heartbeat_s: int = 25
    unauthorised_s: int = 30
    idle_s: int = 30
    bars_per_response: int = 5_000
    ticks_per_response: int = 5_000
    rows_per_response: int = 1_000
    frame_bytes: int = 1_000_000
    ids_per_request: int = 1_000
    positions: int = 2_000


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """How long after a request its events leave, in ms. All 0 by default: a test that wants latency says so."""

    accept_ms: int = 0
    fill_ms: int = 0
    server_ms: int = 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """An instrument with the id it has at this broker."""

    symbol_id: int
    instrument: Instrument


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Symbols and assets of the broker. Ids are counted from 1 in the order given; asset ids likewise.

    `terms` by symbol may change while the broker is open; one that is not there has none of its own.
    """

    symbols: tuple[Symbol, ...]
    assets: dict[str, int] = field(default_factory=dict[str, int])
    terms: dict[str, Terms] = field(default_factory=dict[str, Terms])

    def terms_of(self, symbol: str) -> Terms:
        """Terms of a symbol, by its name."""
        return self.terms.get(symbol, _PLAIN)

    @classmethod
    def of(
        cls, instruments: Sequence[Instrument], currencies: Sequence[str], terms: Mapping[str, Terms] | None = None
    ) -> "Catalogue":
        """Number the instruments, and every asset that they or the accounts name."""
        names: list[str] = []
        for name in [n for i in instruments for n in (i.base, i.quote)] + [*currencies, "USD"]:
            if name not in names:
                names.append(name)
        symbols = tuple(Symbol(number, instrument) for number, instrument in enumerate(instruments, 1))
        return cls(symbols, {name: number for number, name in enumerate(names, 1)}, dict(terms or {}))

    def by_id(self, symbol_id: int) -> Symbol | None:
        """The symbol with an id."""
        return self.symbols[symbol_id - 1] if 0 < symbol_id <= len(self.symbols) else None

    def by_name(self, name: str) -> Symbol:
        """The symbol with a name; it must exist."""
        return next(symbol for symbol in self.symbols if symbol.instrument.symbol == name)

    def chain(self, first: int, last: int) -> list[Symbol] | None:
        """The shortest ordered chain of symbols that links two assets; empty for equal ones, None where there is none.

        Breadth first; of chains of one length the one with the earlier symbols.
        """
        ways: dict[int, list[Symbol]] = {first: []}
        queue = [first]
        while queue:
            here = queue.pop(0)
            if here == last:
                return ways[here]
            for symbol in self.symbols:
                ends = self.assets[symbol.instrument.base], self.assets[symbol.instrument.quote]
                if here in ends:
                    there = ends[1] if here == ends[0] else ends[0]
                    if there not in ways:
                        ways[there] = [*ways[here], symbol]
                        queue.append(there)
        return None


class VenueSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a venue is made of.

    Attributes:
        instruments: what it trades, in the order of their symbol ids.
        accounts: at least one.
        terms: of symbols, by name; what is not there is as its instrument says.
        conversion: ``bid``, ``mid`` or ``ask``: at which price money is converted.
        model: how orders are executed, on every account.
        salt: of client secrets and tokens; equal salts give equal ones.
        silent_logout: a request for an account that is not logged in is answered by ``INVALID_REQUEST`` with a text,
            which the real server was seen to do, instead of ``ACCOUNT_NOT_AUTHORIZED``.
        declined_as: status of the deal that goes with an order refused by the liquidity provider: 4 rejected, 5
            internally rejected, 6 error, 7 missed; 0 = there is no deal.
        token_lifetime_s: of access tokens; 2 628 000 s at the real one.
    """

    instruments: tuple[Instrument, ...]
    accounts: tuple[AccountSpec, ...]
    terms: dict[str, Terms] = {}
    conversion: Literal["bid", "mid", "ask"] = "mid"
    model: ExecutionModel = ExecutionModel()
    limits: Limits = Limits()
    delays: Delays = Delays()
    salt: str = "venue"
    silent_logout: bool = False
    declined_as: int = 0
    token_lifetime_s: int = 2_628_000

    def __post_init__(self) -> None:
        """Refuse a venue without accounts or symbols, or with one twice.

        Raises:
            ConfigError: says what is missing.
        """
        ids = [account.account_id for account in self.accounts]
        names = [instrument.symbol for instrument in self.instruments]
        if not ids or not names or len(set(ids)) < len(ids) or len(set(names)) < len(names):
            raise ConfigError(f"a venue needs symbols and accounts, each once; it has {names} and {ids}")


def to_ms(ts_ns: int) -> int:
    """Nanoseconds to the wire's milliseconds."""
    return ts_ns // NS_PER_MS
