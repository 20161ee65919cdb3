"""The audit: positions and money derived once more from the journal, by arithmetic of its own, and compared.

Theory of operation. `Books` is a third reading of the journal, apart from the core's book and from `risk.adherence`: it
adds up what the venue told, deal by deal, and knows nothing of orders, prices or limits. It is held against the book of
a core that replays the journal, against the rows of the database, and, at every account snapshot in the journal,
against what the broker said. Whatever differs is listed with both figures. A reconcile difference that the core itself
found is told as well: it is the broker's word against ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bus.errors import TradingError
from bus.messages import (
    AccountSnapshot,
    AnyMessage,
    BalanceMoved,
    OrderFilled,
    PositionState,
    ReconcileFound,
    SwapCharged,
)
from daemon.core import Core
from daemon.journal import INPUT, Record
from risk.book import Book

LISTED = 1_000
"""Differences that are listed; beyond this they are counted."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One figure on which two records differ. `against` is `book`, `store` or `broker`; `seq` 0 = at the end."""

    against: str
    what: str
    subject: str
    journal: str
    theirs: str
    seq: int = 0


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal adds up to, in the account's smallest unit. `balance` None = no snapshot opened the books."""

    balance: int | None
    realised: int
    gross_profit: int
    commission: int
    swap: int
    conversion_fee: int
    moved: int
    deals: int
    open_positions: int


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found. `agrees` = no difference, and nothing that was to be compared was missing.

    `snapshots` counts the account snapshots that were held against the journal; `compared` names what was.
    """

    agrees: bool
    totals: Totals
    compared: tuple[str, ...]
    snapshots: int
    differences: tuple[Difference, ...]
    more: int = 0


class Held(msgspec.Struct, kw_only=True):
    """An open position. Commission and swap are what it has run up and the balance does not show."""

    symbol: str
    side: int
    volume_e2: int = 0
    commission: int = 0
    swap: int = 0


class Books:
    """The journal's money and positions; see the module's theory of operation."""

    def __init__(self) -> None:
        self.balance: int | None = None
        self.held: dict[str, Held] = {}
        self.gross_profit = self.commission = self.swap = self.conversion_fee = self.moved = 0
        self.problems: list[Difference] = []
        self._deals: set[str] = set()
        self._nights: set[tuple[str, int]] = set()
        self._moves: set[str] = set()
        self._early_swap: dict[str, int] = {}
        self._over: set[str] = set()

    @property
    def realised(self) -> int:
        """Everything that closing deals have booked."""
        return self.gross_profit + self.commission + self.swap + self.conversion_fee

    def totals(self) -> Totals:
        """The sums so far."""
        return Totals(
            balance=self.balance,
            realised=self.realised,
            gross_profit=self.gross_profit,
            commission=self.commission,
            swap=self.swap,
            conversion_fee=self.conversion_fee,
            moved=self.moved,
            deals=len(self._deals),
            open_positions=len(self.held),
        )

    def open(self, snapshot: AccountSnapshot) -> None:
        """Begin with what the account holds."""
        self.balance = snapshot.balance
        for state in snapshot.positions:
            self.held[state.position_id] = Held(
                symbol=state.symbol,
                side=int(state.side),
                volume_e2=state.volume_e2,
                commission=state.commission,
                swap=state.swap,
            )

    def filled(self, seq: int, deal: OrderFilled) -> None:
        """A deal, once."""
        if deal.deal_id in self._deals:
            return
        self._deals.add(deal.deal_id)
        held = self.held.get(deal.position_id)
        if not deal.closing:
            if held is None:
                held = self.held[deal.position_id] = Held(symbol=deal.symbol, side=int(deal.side))
                held.swap = self._early_swap.pop(deal.position_id, 0)
            held.volume_e2 += deal.volume_e2
            held.commission += deal.commission
        else:
            booked = deal.gross_profit + deal.booked_commission + deal.booked_swap + deal.conversion_fee
            self.gross_profit += deal.gross_profit
            self.commission += deal.booked_commission
            self.swap += deal.booked_swap
            self.conversion_fee += deal.conversion_fee
            self.balance = (self.balance or 0) + booked
            if held is None or held.volume_e2 < deal.volume_e2:
                there = "none" if held is None else str(held.volume_e2)
                self._differ(seq, "closed_volume", deal.position_id, there, str(deal.volume_e2))
            if held is not None:
                held.volume_e2 -= deal.volume_e2
                held.commission += deal.commission - deal.booked_commission
                held.swap -= deal.booked_swap
                if held.volume_e2 <= 0:
                    del self.held[deal.position_id]
                    self._over.add(deal.position_id)
                    if held.commission or held.swap:
                        left = f"commission {held.commission}, swap {held.swap}"
                        self._differ(seq, "charges_left", deal.position_id, left, "commission 0, swap 0")
        remaining_e2 = held.volume_e2 if held is not None else 0
        if remaining_e2 != deal.remaining_e2:
            self._differ(seq, "remaining_volume", deal.position_id, str(remaining_e2), str(deal.remaining_e2))
        if self.balance is not None and self.balance != deal.balance:
            self._differ(seq, "balance_after_deal", deal.deal_id, str(self.balance), str(deal.balance))

    def charged(self, swap: SwapCharged) -> None:
        """A night, once; it may be told before the position's first deal."""
        night = (swap.position_id, swap.ts_event_ns)
        if night in self._nights or swap.position_id in self._over:
            return
        self._nights.add(night)
        held = self.held.get(swap.position_id)
        if held is None:
            self._early_swap[swap.position_id] = self._early_swap.get(swap.position_id, 0) + swap.amount
        else:
            held.swap += swap.amount

    def moved_by(self, seq: int, move: BalanceMoved) -> None:
        """Cash, or somebody else's deal, once."""
        if move.move_id in self._moves:
            return
        self._moves.add(move.move_id)
        self.moved += move.delta
        self.balance = (self.balance or 0) + move.delta
        if self.balance != move.balance:
            self._differ(seq, "balance_after_move", move.move_id, str(self.balance), str(move.balance))

    def _differ(self, seq: int, what: str, subject: str, journal: str, theirs: str) -> None:
        self.problems.append(
            Difference(against="broker", what=what, subject=subject, journal=journal, theirs=theirs, seq=seq)
        )


def audit(records: Iterable[Record], stored: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> Audit:
    """Audit one journal.

    Args:
        records: of a whole journal, in order.
        stored: rows of the store's tables `runs`, `positions`, `deals` and `trades` of this run; None = no store is
            kept.

    Returns:
        What differs. A journal that a core refuses to go through again differs from the book at that record.
    """
    books, core = Books(), Core()
    found: list[Difference] = []
    snapshots = 0
    broken = False
    for record in records:
        message = record.message
        snapshots += _read(record.seq, message, books, found)
        if record.kind != INPUT or broken:
            continue
        try:
            core.process(record.seq, message)
        except TradingError as error:
            broken = True
            found.append(
                Difference(
                    against="book", what="replay", subject=type(message).__name__, journal="on record",
                    theirs=str(error), seq=record.seq,
                )
            )  # fmt: skip
    book: Book | None = getattr(core, "book", None)
    if not broken and book is not None:
        found += with_book(books, book)
    compared = ["book", "broker"]
    if stored is not None:
        compared.append("store")
        found += with_store(books, stored)
    found = [*books.problems, *found]
    return Audit(
        agrees=not found,
        totals=books.totals(),
        compared=tuple(compared),
        snapshots=snapshots,
        differences=tuple(found[:LISTED]),
        more=max(0, len(found) - LISTED),
    )


def _read(seq: int, message: AnyMessage, books: Books, found: list[Difference]) -> int:
    """Fold one message; 1 where it is a snapshot that was held against the books."""
    if isinstance(message, OrderFilled):
        books.filled(seq, message)
    elif isinstance(message, SwapCharged):
        books.charged(message)
    elif isinstance(message, BalanceMoved):
        books.moved_by(seq, message)
    elif isinstance(message, AccountSnapshot):
        if books.balance is None:
            books.open(message)
        else:
            found += with_broker(books, message, seq)
            return 1
    elif isinstance(message, ReconcileFound):
        found.append(
            Difference(
                against="broker", what=f"reconcile_{message.kind}", subject=message.subject, journal=message.ours,
                theirs=message.theirs, seq=seq,
            )
        )  # fmt: skip
    return 0


def with_book(books: Books, book: Book) -> list[Difference]:
    """Against the core's book: balance, positions, and what they have run up."""
    ours = {name: _position(held.symbol, held.side, held.volume_e2) for name, held in books.held.items()}
    theirs = {name: _position(each.symbol, each.side, each.volume_e2) for name, each in book.positions.items()}
    found = [*_one("book", "balance", "account", books.balance, book.balance), *_all("book", "position", ours, theirs)]
    for name in ours.keys() & theirs.keys():
        held, position = books.held[name], book.positions[name]
        found += _one("book", "commission", name, held.commission, position.commission)
        found += _one("book", "swap", name, held.swap, position.swap)
    return found


def with_broker(books: Books, snapshot: AccountSnapshot, seq: int) -> list[Difference]:
    """Against an account snapshot. Charges not yet booked are left out: a venue may book a night before it says so."""
    ours = {name: _position(held.symbol, held.side, held.volume_e2) for name, held in books.held.items()}
    theirs = {state.position_id: _of_state(state) for state in snapshot.positions}
    return [
        *_one("broker", "balance", snapshot.account_id, books.balance, snapshot.balance, seq),
        *_all("broker", "position", ours, theirs, seq),
    ]


def with_store(books: Books, stored: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Difference]:
    """Against the database's rows: the run's balance, open positions, deals, and the sums over its trades."""
    runs = stored.get("runs", ())
    if not runs:
        return [
            Difference(against="store", what="run", subject="run", journal="on record", theirs="not in the database")
        ]
    totals = books.totals()
    ours = {name: _position(held.symbol, held.side, held.volume_e2) for name, held in books.held.items()}
    theirs = {
        str(row["position_id"]): _position(str(row["symbol"]), int(row["side"]), int(row["volume_e2"]))
        for row in stored["positions"]
        if row["closed_ns"] is None
    }
    found = [
        *_one("store", "balance", "account", totals.balance, runs[0]["balance"]),
        *_all("store", "position", ours, theirs),
        *_one("store", "deals", "account", totals.deals, len(stored["deals"])),
    ]
    for name in ("gross_profit", "commission", "swap", "conversion_fee"):
        found += _one("store", name, "trades", getattr(totals, name), sum(int(row[name]) for row in stored["trades"]))
    net = sum(int(row["net_profit"]) for row in stored["trades"])
    return [*found, *_one("store", "realised", "trades", totals.realised, net)]


def _position(symbol: str, side: int, volume_e2: int) -> str:
    return f"{'BUY' if side > 0 else 'SELL'} {volume_e2} {symbol}"


def _of_state(state: PositionState) -> str:
    return _position(state.symbol, int(state.side), state.volume_e2)


def _one(against: str, what: str, subject: str, ours: object, theirs: object, seq: int = 0) -> list[Difference]:
    if ours == theirs:
        return []
    return [
        Difference(against=against, what=what, subject=subject, journal=str(ours), theirs=str(theirs), seq=seq)
    ]  # fmt: skip


def _all(against: str, what: str, ours: Mapping[str, str], theirs: Mapping[str, str], seq: int = 0) -> list[Difference]:
    found: list[Difference] = []
    for name in sorted(ours.keys() | theirs.keys()):
        found += _one(against, what, name, ours.get(name, "none"), theirs.get(name, "none"), seq)
    return found
