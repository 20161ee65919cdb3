"""The witnesses of the sea: they look at venue, wire and journal from outside, and do none of the book's arithmetic."""

import hashlib
import math
from collections import Counter

from adapters.ctrader.live import ANSWER_S, POLL_S, State
from adapters.ctrader.messages import openapi
from bus.messages import (
    Bar,
    HaltLatched,
    HaltLevel,
    HaltLifted,
    OrderFilled,
    ReconcileFound,
    SubmitOrder,
)
from bus.values import NS_PER_S
from daemon.journal import read, verify
from daemon.replay import replay
from risk.adherence import Adherence
from tests.harness.reign import Reign, reign_of
from tests.harness.sea_weather import ACCOUNT, LABEL

PROTECTED_S = 5
STALE_S = 1.5
DARK_S = POLL_S + ANSWER_S + 15
"""A socket that carries nothing in one direction is given up after so long."""


class Witness:
    """The part of `tests.harness.sea.Sea` that watches: while it goes, at rest, and afterwards in the journal."""

    # --- witnesses ------------------------------------------------------------------------------------------------

    def leaves(self, message):
        """A request is about to leave: if it is an order, it must be on the disk, and must not have left before."""
        if isinstance(message, openapi.ProtoOANewOrderReq):
            name = message.clientOrderId
            self.sent[name] += 1
            if self.sent[name] > 1:
                self.problems.append(f"order {name} left {self.sent[name]} times")
            self.tape.wind()
            order = self.tape.orders.get(name)
            if order is None:
                self.problems.append(f"order {name} left before it was durable")
            elif order.intent_id not in self.tape.intents:
                self.problems.append(f"order {name} has no durable intent")
            elif self.clock.now_ns() - order.ts_init_ns > STALE_S * NS_PER_S:
                self.problems.append(f"order {name} left {(self.clock.now_ns() - order.ts_init_ns) / 1e9:.1f} s late")
        elif isinstance(message, openapi.ProtoOAClosePositionReq):
            held = self.network.endpoint.venue.accounts[ACCOUNT].positions.get(message.positionId)
            # On a netted account an order of ours joins somebody's position, and makes it ours.
            if held is not None and self.hedged and not held.label.startswith(f"{LABEL}/"):
                self.problems.append(f"a close of position {message.positionId}, which is not ours, left")

    def _positions(self):
        """Open positions at the venue, as records."""
        account = self.network.endpoint.venue.accounts[ACCOUNT]
        return [record for record in account.positions.values() if self._exchange_position(record) is not None]

    def _exchange_position(self, record):
        account = self.network.endpoint.venue.accounts[ACCOUNT]
        name = next((key for key, each in account._by_exchange.items() if each is record), None)
        return None if name is None else account.broker.held(name)

    def _look(self):
        """Twice a second: every position of ours is protected, and the account keeps its floor under a passed limit."""
        self.network.loop.call_later(0.5, self._look)
        now = self.world.now
        alive = self.process is not None and not self.process.ended
        up = alive and self.venue is not None and self.venue.state is State.UP
        self.up_since = min(self.up_since, now) if up else math.inf
        ours = [record for record in self._positions() if record.label.startswith(f"{LABEL}/")]
        for record in ours:
            if self._exchange_position(record).stop_loss_e5:
                self.naked_since.pop(record.position_id, None)
            else:
                since = self.naked_since.setdefault(record.position_id, now)
                if up and now - max(since, self.up_since) > PROTECTED_S + self.settings.risk.protect_within_s:
                    self.problems.append(f"position {record.position_id} has had no stop for {now - since:.1f} s")
        if not self.others_moved:
            account = self.network.endpoint.venue.accounts[ACCOUNT]
            names = [
                account.orders[int(each.client_order_id)].message().clientOrderId for each in account.broker.orders
            ]
            resting = [self.tape.orders[name] for name in names if name]
            fallen = self.floor.look(now, account.broker, resting, self.jump_e5)
            if fallen is not None:
                self.problems.append(fallen)

    def _agrees(self):
        """Book and venue, one beside the other; None = they agree."""
        account = self.network.endpoint.venue.accounts[ACCOUNT]
        book = self.engine.core.book
        theirs, strangers = {}, {}
        for record in self._positions():
            held = self._exchange_position(record)
            key = str(record.position_id)
            if key in book.positions or record.label.startswith(f"{LABEL}/"):
                theirs[key] = (int(held.side), held.volume_e2, held.stop_loss_e5, held.take_profit_e5)
            else:
                strangers[key] = (int(held.side), held.volume_e2)
        ours = {key: (int(p.side), p.volume_e2, p.stop_loss_e5, p.take_profit_e5) for key, p in book.positions.items()}
        if ours != theirs:
            return f"positions: the book has {ours}, the venue {theirs}"
        foreign = {f.subject: (int(f.side), f.volume_e2) for f in book.foreign.values() if f.kind == "position"}
        if foreign != strangers:
            return f"strangers' positions: the book has {foreign}, the venue {strangers}"
        if book.balance != account.broker.balance:
            return f"balance: the book has {book.balance}, the venue {account.broker.balance}"
        resting = {
            o.message().clientOrderId
            for o in account.orders.values()
            if account.broker.resting(str(o.order_id), o.symbol.instrument.symbol) is not None
            and o.label.startswith(f"{LABEL}/")
        }
        waiting = {o.client_order_id for o in book.orders.values() if not o.position_id}
        if resting != waiting:
            return f"resting orders: the book has {waiting}, the venue {resting}"
        return None

    def _halted_in_vain(self):
        """A halt that cancels leaves no entry at rest, one that flattens no position of ours; None = it is so."""
        core = self.engine.core
        resting = [order.client_order_id for order in core.book.orders.values() if not order.position_id]
        if core.halts.level >= HaltLevel.CANCEL_ENTRIES and resting:
            return f"entries rest under a halt: {resting}"
        if core.halts.level >= HaltLevel.FLATTEN and core.book.positions:
            return f"positions are open under a halt: {list(core.book.positions)}"
        return None

    def _same_models_trade(self):
        """Who trades after a start is whom the journal on the disk says, by a fold of its own."""
        if self.engine.journal.seq != self.engine.recovered_to or not self.engine.recovered_to:
            return  # a fresh run; or the last record's consequences were lost, and said again just now
        reign = reign_of(record.message for record in read(self.folder))
        trades = {symbol: each.in_force for symbol, each in self.engine.core.successions.items() if each.in_force}
        if trades != reign.in_force:
            self.problems.append(f"after a start {trades} trade, the journal says {reign.in_force}")

    # --- afterwards -----------------------------------------------------------------------------------------------

    def _afterwards(self):
        dark_s = self.network.seen.longest_dark_s
        if dark_s > DARK_S:
            self.problems.append(f"a dead link was held for {dark_s:.1f} s")
        self.losses_seen = self.venue.counters.losses if self.venue is not None else 0
        if not verify(self.folder).intact:
            self.problems.append("the journal's chain is broken")
        again = replay(self.folder)
        if not again.identical:
            self.problems.append(f"replay differs: {again.difference}")
        self._read_journal()
        names = Counter(
            o.message().clientOrderId
            for o in self.network.endpoint.venue.accounts[ACCOUNT].orders.values()
            if o.label.startswith(f"{LABEL}/") and not o.closing
        )
        names.pop("", None)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            self.problems.append(f"orders at the venue more than once: {twice}")

    def _read_journal(self):
        adherence, halted, orders, bars, deals = Adherence(), False, set(), {}, set()
        reign = Reign()
        digest = hashlib.sha256()
        for record in read(self.folder):
            message = record.message
            adherence.add(record.seq, message)
            reign.add(message)
            digest.update(repr(message).encode())
            match message:
                case HaltLatched():
                    halted = True
                case HaltLifted():
                    halted = False
                case SubmitOrder():
                    if message.intent_id in orders:
                        self.problems.append(f"two orders for intent {message.intent_id}")
                    orders.add(message.intent_id)
                    if halted and not message.position_id:
                        self.problems.append(f"order {message.client_order_id} opens risk while a halt is latched")
                case ReconcileFound():
                    self.problems.append(f"{message.kind} {message.subject}: {message.ours} against {message.theirs}")
                case Bar():
                    bars.setdefault(message.symbol, {})[message.ts_open_ns] = message
                case OrderFilled():
                    deals.add(message.deal_id)
                case _:
                    pass
        self.digest = digest.hexdigest()
        self.bars = bars
        self._bars_without_gap(bars)
        self.problems += reign.over()
        self.swaps = reign.swaps
        summary = adherence.summary()
        if not summary.conservation.exact:
            self.problems.append(f"money is not conserved: {summary.conservation}")
        self.fills = len(summary.fills)
        ours = {
            str(d.deal_id)
            for d in self.network.endpoint.venue.accounts[ACCOUNT].deals
            if (o := self.network.endpoint.venue.accounts[ACCOUNT].orders.get(d.order_id)) is not None
            and o.message().clientOrderId in self.sent
        }
        lost = ours - {deal.rstrip("+") for deal in deals}
        if lost:
            self.problems.append(f"deals that nobody folded: {sorted(lost)[:5]}")

    def _bars_without_gap(self, bars):
        """Every minute in which the venue had a price, between the first and the last bar, has its bar."""
        venue = self.network.endpoint.venue
        for symbol in self.symbols:
            have = bars.get(symbol, {})
            if not have:
                continue
            tape = venue.market.tapes[venue.catalogue.by_name(symbol).symbol_id]
            first, last = min(have), max(have)
            theirs, _ = tape.bars(1, first, last, limit=100_000)
            missing = [bar.ts_open_ns for bar in theirs if bar.ts_open_ns not in have]
            if missing:
                self.problems.append(f"{symbol}: no bar for {len(missing)} of {len(theirs)} minutes")
