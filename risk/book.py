"""Orders, positions and equity as a fold over facts. The order table lives here and nowhere else.

Theory of operation. `sent` notes a command at the moment it leaves: from then on the order counts as exposure, until a
fact says how it ended. `fold` takes each fact exactly once: deals are known by their id, orders by what is already
known about them, swaps by position and night, levels by value and time. What was told before returns False. Facts may
come before the ones that explain them (a fill before its acceptance, levels or swap before the opening deal, a
cancellation before the fills that it counts); closing a position that was never opened may not, and raises.

It stands in one file of more than 400 lines because it is one fold over one state; the order table, positions and
valuation have files of their own.

Balance moves by the four booked amounts of a closing deal, and by what the venue tells of cash and of other people's
deals (`BalanceMoved`); cash moves the references with it, because it is no result of trading. Positions and orders that
are not ours count in exposure, equity and margin like ours; no order of ours ever names them. Equity is the balance
plus, for every open position, its floating profit (long at the bid, short at the ask, each rounded once) and the
commission and swap not yet booked. `mark` revalues only what a quote touches. Until a quote has come a position counts
at its entry.

Facts do not depend on what they are worth: where valuing raises, the fact is folded all the same, the last value
stands, and `blind` says why. Whoever limits losses must halt then.

Memory is bounded: the last REMEMBERED deals, ended orders, closed positions and swaps are known by id, and EARLY facts
wait for their position. Beyond that a repetition is not recognised; venues repeat minutes, not years.
"""

from collections.abc import Sequence

import msgspec

from bus.errors import InvariantBroken
from bus.messages import (
    AccountSnapshot,
    AmendProtection,
    BalanceMoved,
    CancelOrder,
    ForeignChanged,
    OrderFilled,
    ProtectionChanged,
    Quote,
    SwapCharged,
    VenueCommand,
    VenueFact,
)
from bus.values import LARGEST, Instrument, divide_half_away
from risk.marks import VALUE_SCALE, Marks
from risk.orders import Order, OrderTable, Position, adopted_order, adopted_position, remember
from risk.policy import Policy
from risk.record import Record
from risk.watermarks import Watermarks

EARLY = 1_000


class Book:
    """One account as its own facts tell it.

    Attributes:
        balance: closed money in the smallest unit; None before the first snapshot.
        positions: open positions by id, oldest first.
        orders: orders at work by client order id, oldest first.
        quotes: the last possible quote of each symbol.
        foreign: open positions and orders that are not ours, by kind and id.
        suspect: impossible quotes (crossed, not positive) that no good one has replaced yet, by symbol.
        record: what the limits remember besides: rates, results in a row, slippage.
        watermarks: where day and week began and the highest points, from which losses are counted.
        blind: why something could not be valued; empty = everything could, since the last `reset_references`.
    """

    def __init__(
        self,
        *,
        currency: str,
        money_digits: int,
        leverage: int,
        hedged: bool,
        instruments: Sequence[Instrument],
        policy: Policy | None = None,
    ) -> None:
        self.currency = currency
        self.money_digits = money_digits
        self.leverage = leverage
        self.hedged = hedged
        self.instruments = {entry.symbol: entry for entry in instruments}
        self.marks = Marks(currency, money_digits, instruments)
        self.quotes = self.marks.quotes
        self.suspect = self.marks.suspect
        self.balance: int | None = None
        self.positions: dict[str, Position] = {}
        self.table = OrderTable()
        self.orders = self.table.orders
        self.record = Record()
        self.watermarks = Watermarks(policy or Policy(), money_digits)
        self.blind = ""
        self._floating = 0
        self._held: dict[str, list[Position]] = {}
        self._deals: dict[str, None] = {}
        self._closed: dict[str, None] = {}
        self._swaps: dict[tuple[str, int], None] = {}
        self.foreign: dict[str, ForeignChanged] = {}
        self._foreign_held: dict[str, Position] = {}
        self._moves: dict[str, None] = {}
        self._early_levels: dict[str, ProtectionChanged] = {}
        self._early_swaps: dict[str, int] = {}

    # --- figures -----------------------------------------------------------------------------------------------

    @property
    def floating(self) -> int:
        """Floating result of all positions with the commission and swap not yet booked."""
        return self._floating

    @property
    def equity(self) -> int:
        """Balance plus floating result; 0 before the first snapshot."""
        return 0 if self.balance is None else self.balance + self._floating

    @property
    def peak_equity(self) -> int:
        """Highest equity since the start or the last `reset_references`."""
        return self.watermarks.peak

    @property
    def day_start_equity(self) -> int:
        """Equity when the trading day began (`risk.policies.losses` says when), or at a later start or reset."""
        return self.watermarks.day_start

    @property
    def used_margin(self) -> int:
        """Margin of the open positions: of two sides of a symbol the larger, each at its opening price and rate."""
        total = 0
        for symbol, held in self._held.items():
            sides = {1: 0, -1: 0}
            divisor = VALUE_SCALE * self.leverage_of(symbol)
            for p in held:
                sides[p.side] += divide_half_away(p.cost * p.rate_e8 * 10**self.money_digits, divisor)
            total += max(sides.values())
        return total

    @property
    def free_margin(self) -> int:
        """Equity less the margin in use."""
        return self.equity - self.used_margin

    @property
    def unknown_symbols(self) -> tuple[str, ...]:
        """Symbols with a command of unknown outcome; they take no new risk."""
        return tuple(dict.fromkeys(self.table.unknown.values()))

    def leverage_of(self, symbol: str) -> int:
        """The smaller of the account's and the symbol's leverage."""
        own = self.instruments[symbol].leverage
        return own if 0 < own < self.leverage else self.leverage

    def exposure_of(self, symbol: str) -> int:
        """Signed volume held in a symbol, in 1/100 units."""
        return sum(p.side * p.volume_e2 for p in self._held.get(symbol, ()))

    def worst_case_e2(self) -> dict[str, tuple[int, int]]:
        """Long and short volume by symbol, others' included, if every entry at work were filled and nothing closed."""
        sides: dict[str, list[int]] = {}
        for p in self.positions.values():
            sides.setdefault(p.symbol, [0, 0])[p.side < 0] += p.volume_e2
        for theirs in self.foreign.values():
            sides.setdefault(theirs.symbol, [0, 0])[theirs.side < 0] += theirs.volume_e2
        for order in self.orders.values():
            if not order.position_id:
                sides.setdefault(order.symbol, [0, 0])[order.side < 0] += order.remaining_e2
        return {symbol: (long, short) for symbol, (long, short) in sides.items()}

    @property
    def at_risk(self) -> bool:
        """Whether a price can move the equity: a position is open, ours or not."""
        return bool(self._held)

    def orders_in_last_minute(self, now_ns: int) -> int:
        """Orders sent in the sixty seconds before a moment, entries and exits alike."""
        return self.table.sent_in_last_minute(now_ns)

    def closing(self, position_id: str) -> bool:
        """Whether an order to close the position is at work."""
        return any(order.position_id == position_id for order in self.orders.values())

    def has_pending(self, strategy: str, symbol: str) -> bool:
        """Whether an order of the strategy is in flight or resting in a symbol."""
        return any(order.symbol == symbol and order.strategy == strategy for order in self.orders.values())

    def resting_entries(self) -> tuple[Order, ...]:
        """Entries that rest at the venue and that no cancel is on its way for."""
        return self.table.resting_entries()

    def reset_references(self) -> None:
        """Start day, peak and what is broken anew from the equity of now: what resuming after a halt means."""
        self.blind = ""
        try:
            self.watermarks.resume(self.equity)
        except Exception as error:  # noqa: BLE001 (see `_cannot_value`)
            self._cannot_value(error)

    def _cannot_value(self, error: Exception) -> None:
        """Whatever it was, it must not keep anybody from halting and closing: the core halts on `blind`."""
        self.blind = f"{type(error).__name__}: {error}"[:200]

    # --- prices and time ---------------------------------------------------------------------------------------

    def mark(self, quote: Quote) -> None:
        """Take a price and revalue what it touches. An impossible one goes to `suspect` and values nothing."""
        symbol, bid_e5, ask_e5 = quote.symbol, quote.bid_e5, quote.ask_e5
        feeds = self.marks.feeds.get(symbol)
        if feeds is None:
            return
        # Exact types: a float (and so NaN) or a bool is no price.
        if type(bid_e5) is not int or type(ask_e5) is not int or not 0 < bid_e5 <= ask_e5 <= LARGEST:
            self.suspect[symbol] = quote
            return
        if quote.ts_init_ns >= self.watermarks.next_day_ns:
            self.turn(quote.ts_init_ns)
        if self.suspect:
            self.suspect.pop(symbol, None)
        self.quotes[symbol] = quote
        if feeds:
            self.marks.forget(feeds)
            for other in self._held:
                if other != symbol and self.instruments[other].quote in feeds:
                    self._revalue(other)
        if symbol in self._held:
            self._revalue(symbol)

    def on_bar(self, symbol: str) -> None:
        """A bar of the symbol closed: its positions are one bar older."""
        for position in self._held.get(symbol, ()):
            position.bars_held += 1

    def _revalue(self, symbol: str) -> None:
        change = 0
        try:
            quote = self.quotes.get(symbol)
            scale = self.marks.scale_of(symbol)
            if quote is None or scale is None:
                return
            _, multiplier, divisor = scale
            for position in self._held[symbol]:
                side = position.side
                price_e5 = quote.bid_e5 if side > 0 else quote.ask_e5
                value = side * (position.volume_e2 * price_e5 - position.cost) * multiplier
                profit = (
                    (2 * value + divisor) // (2 * divisor) if value >= 0 else -((divisor - 2 * value) // (2 * divisor))
                )
                change += profit - position.profit
                position.profit = profit
        except Exception as error:  # noqa: BLE001 (see `_cannot_value`)
            self._cannot_value(error)
        if change:
            self._floating += change
            self._raise_peak()

    def _raise_peak(self) -> None:
        try:
            equity = self.equity
            if equity > self.watermarks.peak:
                self.watermarks.rise(equity)
        except Exception as error:  # noqa: BLE001 (see `_cannot_value`)
            self._cannot_value(error)

    def turn(self, now_ns: int) -> None:
        """Time has come to a moment; a trading day that began since then starts from the equity of now."""
        if self.balance is None or now_ns < self.watermarks.next_day_ns:
            return
        try:
            self.watermarks.turn(self.equity, self.balance, now_ns)
        except Exception as error:  # noqa: BLE001 (see `_cannot_value`)
            self._cannot_value(error)
        else:
            self.record.turn(self.positions.values(), now_ns)

    def _rate_e8(self, symbol: str) -> int:
        """Conversion rate of a symbol's quote asset; 0 = none is known."""
        try:
            scale = self.marks.scale_of(symbol)
        except Exception as error:  # noqa: BLE001 (see `_cannot_value`)
            self._cannot_value(error)
            return 0
        return scale[0] if scale else 0

    def sent(self, order: VenueCommand, now_ns: int, horizon: int = 0) -> None:
        """Note a command that leaves now.

        Args:
            order: counts as exposure from this moment, if it is an entry.
            now_ns: for the rate of orders.
            horizon: bars that the position is meant to be held, 0 = not said.

        Raises:
            InvariantBroken: the client order id was used before.
        """
        if isinstance(order, CancelOrder):
            self.table.cancelling(order.client_order_id)
            withdrawn = self.table.find(order.client_order_id)
            self.record.cancelled(order.symbol, withdrawn.strategy if withdrawn else "", now_ns)
        elif not isinstance(order, AmendProtection):  # the venue's answer changes levels, our wish does not
            self.table.add(order, now_ns, horizon)
            self.record.ordered(order.symbol, order.strategy, now_ns)

    # --- facts -------------------------------------------------------------------------------------------------

    def fold(self, fact: VenueFact) -> bool:
        """Take one fact; False = it was known already and changed nothing.

        Raises:
            InvariantBroken: it contradicts the book (an unknown position closed, more closed or filled than there is).
        """
        if fact.ts_init_ns >= self.watermarks.next_day_ns:
            self.turn(fact.ts_init_ns)
        if isinstance(fact, OrderFilled):
            return self._on_filled(fact)
        if isinstance(fact, ProtectionChanged):
            return self._on_levels(fact)
        if isinstance(fact, SwapCharged):
            return self._on_swap(fact)
        if isinstance(fact, ForeignChanged):
            return self._on_foreign(fact)
        if isinstance(fact, BalanceMoved):
            return self._on_moved(fact)
        return self.table.fold(fact)

    def _on_filled(self, fact: OrderFilled) -> bool:
        if fact.deal_id in self._deals:
            return False
        if self.balance is None:
            raise InvariantBroken(f"deal {fact.deal_id} was told before the first account snapshot")
        if fact.symbol not in self.instruments or fact.volume_e2 <= 0 or fact.price_e5 <= 0:
            raise InvariantBroken(f"deal {fact.deal_id} is impossible: {fact.symbol} {fact.volume_e2}@{fact.price_e5}")
        # A protective deal carries the id of the order that opened the position, and fills nothing of it.
        filling = self.table.filled_by(fact) if fact.cause == "order" else None
        self._count_slippage(fact)
        if fact.closing:
            self._close(fact)
        else:
            self._open(fact, self.table.find(fact.client_order_id))
        remember(self._deals, fact.deal_id, None)
        if filling is not None:
            self.table.fill(filling, fact)
        if fact.symbol in self._held:
            self._revalue(fact.symbol)
        self._raise_peak()
        return True

    def _count_slippage(self, fact: OrderFilled) -> None:
        """Against the level of a protective deal, the price of a resting order, or the price that the decision saw."""
        order = self.table.find(fact.client_order_id)
        held = self.positions.get(fact.position_id)
        meant_e5 = fact.level_e5
        if fact.cause == "order":
            meant_e5 = (order.price_e5 or order.reference_e5) if order is not None else 0
        worse_e5 = (fact.price_e5 - meant_e5) * fact.side
        if meant_e5 > 0 and worse_e5 > 0:
            owner = order if fact.cause == "order" else held
            try:
                spent = self.marks.value(fact.symbol, fact.volume_e2 * worse_e5) or 0
            except Exception as error:  # noqa: BLE001 (see `_cannot_value`)
                self._cannot_value(error)
            else:
                self.record.slipped(fact.symbol, owner.strategy if owner is not None else "", spent)

    def _open(self, fact: OrderFilled, order: Order | None) -> None:
        position = self.positions.get(fact.position_id)
        if position is None:
            position = Position(
                position_id=fact.position_id,
                symbol=fact.symbol,
                side=fact.side,
                ts_open_ns=fact.ts_event_ns,
                ts_told_ns=fact.ts_init_ns,
                client_order_id=fact.client_order_id,
                strategy=order.strategy if order else "",
                horizon=order.horizon if order else 0,
                reference_e5=order.reference_e5 if order else 0,
            )
            self._hold(position)
        elif position.side is not fact.side or position.symbol != fact.symbol:
            raise InvariantBroken(f"deal {fact.deal_id} opens against position {fact.position_id}")
        position.rate_e8 = self._rate_e8(fact.symbol)
        position.volume_e2 += fact.volume_e2
        position.cost += fact.volume_e2 * fact.price_e5
        position.price_e5 = divide_half_away(position.cost, position.volume_e2)
        position.commission += fact.commission
        self._floating += fact.commission
        self._take_early(position)

    def _hold(self, position: Position) -> None:
        self.positions[position.position_id] = position
        self._held.setdefault(position.symbol, []).append(position)
        self._closed.pop(position.position_id, None)

    def _close(self, fact: OrderFilled) -> None:
        position = self.positions.get(fact.position_id)
        if position is None or position.symbol != fact.symbol:
            raise InvariantBroken(f"deal {fact.deal_id} closes position {fact.position_id}, which the book lacks")
        if position.side is fact.side or fact.volume_e2 > position.volume_e2:
            raise InvariantBroken(
                f"deal {fact.deal_id} closes {fact.volume_e2} ({fact.side.name}) of position {position.position_id}, "
                f"which holds {position.volume_e2} ({position.side.name})"
            )
        whole_e2 = position.volume_e2
        charged = position.commission + position.swap
        booked = fact.gross_profit + fact.booked_commission + fact.booked_swap + fact.conversion_fee
        self.balance = (self.balance or 0) + booked
        position.booked += booked
        self.record.booked(position, booked, closed=fact.volume_e2 == whole_e2, now_ns=fact.ts_init_ns)
        if fact.volume_e2 == whole_e2:
            self._floating -= position.profit + charged
            self._drop(position)
            return
        position.cost -= divide_half_away(position.cost * fact.volume_e2, whole_e2)
        position.volume_e2 -= fact.volume_e2
        # What the deal booked beyond its own charge was the opening commission of the closed part.
        position.commission -= fact.booked_commission - fact.commission
        position.swap -= fact.booked_swap
        self._floating += position.commission + position.swap - charged

    def _drop(self, position: Position) -> None:
        del self.positions[position.position_id]
        self._let_go(position)
        remember(self._closed, position.position_id, None)

    def _let_go(self, position: Position) -> None:
        held = self._held[position.symbol]
        # By identity: somebody else's position may be equal to the letter.
        held[:] = [each for each in held if each is not position]
        if not held:
            del self._held[position.symbol]

    def _take_early(self, position: Position) -> None:
        levels = self._early_levels.pop(position.position_id, None)
        if levels is not None:
            self._on_levels(levels)
        swap = self._early_swaps.pop(position.position_id, 0)
        position.swap += swap
        self._floating += swap

    def _on_levels(self, fact: ProtectionChanged) -> bool:
        position = self.positions.get(fact.position_id)
        if position is None:
            early = self._early_levels.get(fact.position_id)
            if fact.position_id in self._closed or (early is not None and early.ts_event_ns >= fact.ts_event_ns):
                return False
            remember(self._early_levels, fact.position_id, fact, EARLY)
            return True
        levels = (fact.stop_loss_e5, fact.take_profit_e5, fact.trailing_e5)
        held = (position.stop_loss_e5, position.take_profit_e5, position.trailing_e5)
        if fact.ts_event_ns < position.levels_ns or levels == held:
            return False
        position.stop_loss_e5, position.take_profit_e5, position.trailing_e5 = levels
        position.levels_ns = fact.ts_event_ns
        return True

    def _on_swap(self, fact: SwapCharged) -> bool:
        key = (fact.position_id, fact.ts_event_ns)
        if key in self._swaps or fact.position_id in self._closed:
            return False
        remember(self._swaps, key, None)
        position = self.positions.get(fact.position_id)
        if position is None:
            earlier = self._early_swaps.get(fact.position_id, 0)
            remember(self._early_swaps, fact.position_id, earlier + fact.amount, EARLY)
            return True
        position.swap += fact.amount
        self._floating += fact.amount
        self._raise_peak()
        return True

    # --- what is not ours --------------------------------------------------------------------------------------

    def _on_foreign(self, fact: ForeignChanged) -> bool:
        key = f"{fact.kind} {fact.subject}"
        before = self.foreign.get(key)
        if before is None and not fact.volume_e2:
            return False
        if before is not None and msgspec.structs.replace(before, ts_event_ns=0, ts_init_ns=0) == (
            msgspec.structs.replace(fact, ts_event_ns=0, ts_init_ns=0)
        ):
            return False
        if fact.volume_e2:
            self.foreign[key] = fact
        else:
            del self.foreign[key]
        if fact.kind == "position" and fact.symbol in self.instruments:
            self._hold_foreign(key, fact)
        return True

    def _hold_foreign(self, key: str, fact: ForeignChanged) -> None:
        """Value somebody's position like one of ours; it stands in no table from which orders are made."""
        position = self._foreign_held.pop(key, None)
        if position is not None:
            self._floating -= position.profit + position.commission
            self._let_go(position)
        if not fact.volume_e2:
            return
        position = self._foreign_held[key] = Position(
            position_id=fact.subject,
            symbol=fact.symbol,
            side=fact.side,
            volume_e2=fact.volume_e2,
            cost=fact.volume_e2 * fact.price_e5,
            price_e5=fact.price_e5,
            commission=fact.charges,
            rate_e8=self._rate_e8(fact.symbol),
        )
        self._floating += fact.charges
        self._held.setdefault(fact.symbol, []).append(position)
        self._revalue(fact.symbol)

    def _on_moved(self, fact: BalanceMoved) -> bool:
        if fact.move_id in self._moves:
            return False
        if self.balance is None:
            raise InvariantBroken(f"{fact.move_id} moved the balance before the first account snapshot")
        remember(self._moves, fact.move_id, None)
        self.balance += fact.delta
        if fact.cause == "cash":
            self.watermarks.moved(fact.delta)
        self._raise_peak()
        return True

    # --- snapshots ---------------------------------------------------------------------------------------------

    def apply_snapshot(self, snapshot: AccountSnapshot) -> None:
        """Adopt all that the venue holds. Only a book that has folded nothing may; later snapshots are compared.

        Raises:
            InvariantBroken: the book holds something already, or the snapshot a symbol that is not configured.
        """
        if self.balance is not None or self.positions or self._deals:
            raise InvariantBroken("a snapshot may only fill an empty book; compare later ones (risk.reconcile)")
        known = self.instruments
        strange = [e.symbol for e in (*snapshot.positions, *snapshot.orders) if e.symbol not in known]
        if strange:
            raise InvariantBroken(f"the account holds {strange[0]}, which is not configured; add it or close it first")
        self.balance = snapshot.balance
        self.leverage = snapshot.leverage
        for state in snapshot.positions:
            position = adopted_position(state)
            position.rate_e8 = self._rate_e8(state.symbol)
            self._hold(position)
            self._floating += position.commission + position.swap
            self._revalue(state.symbol)
        for entry in snapshot.orders:
            order = adopted_order(entry)
            self.orders.setdefault(order.client_order_id, order)
        self.watermarks.start(self.equity, snapshot.balance, snapshot.ts_init_ns)

    def settle_unknown(self, snapshot: AccountSnapshot) -> tuple[str, ...]:
        """Use a later snapshot as evidence about unknown outcomes; gives the client order ids that it settled.

        An order that rests at the venue was accepted; one that neither rests there nor has changed any position never
        arrived. Where a position differs from ours, the order stays unknown.
        """
        theirs = {state.position_id: state.volume_e2 for state in snapshot.positions}
        ours = {position.position_id: position.volume_e2 for position in self.positions.values()}
        return self.table.settle({entry.client_order_id for entry in snapshot.orders}, same_positions=theirs == ours)
