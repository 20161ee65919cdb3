"""What a journal tells of one wish to enter after the other: to be held against the same wishes of another telling.

Theory of operation. Everything hangs on the intent to enter. It is known by who wanted what on which forecast (the
request, or without one the moment), which two tellings of a day share even where order ids no longer agree. To it
belong its refusal, its order and the venue's answers, the position that its deals opened, and all deals that closed
that position. What it is worth is what was booked, and what still floats at the last price.
"""

from collections.abc import Sequence

import msgspec

from bus.messages import (
    AccountSnapshot,
    AnyMessage,
    HaltLifted,
    HaltTrading,
    Intent,
    IntentRefused,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderUnknown,
    PositionState,
    ProtectionChanged,
    Quote,
    RunStarted,
    SubmitOrder,
    SwapCharged,
)
from bus.values import money, quote_to_account_rate_e8

Key = tuple[str, str, int, str, int]
"""Strategy, symbol, side, request (or moment, or position), and how many like it came before."""


class Entry(msgspec.Struct, kw_only=True):
    """One wish to enter and all that became of it; see the module's theory of operation."""

    key: Key
    ts_ns: int
    symbol: str
    side: int
    strategy: str = ""
    model_id: str = ""
    request_id: str = ""
    intent_id: str = ""
    position_id: str = ""
    refused: IntentRefused | None = None
    order: SubmitOrder | None = None
    rejected: OrderRejected | None = None
    ended: str = ""
    opened: list[OrderFilled] = msgspec.field(default_factory=list[OrderFilled])
    closed: list[OrderFilled] = msgspec.field(default_factory=list[OrderFilled])
    exits: dict[str, SubmitOrder] = msgspec.field(default_factory=dict[str, SubmitOrder])
    exits_rejected: list[OrderRejected] = msgspec.field(default_factory=list[OrderRejected])
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    volume_e2: int = 0
    cost: int = 0
    charges: int = 0

    @property
    def outcome(self) -> str:
        """What became of it: `traded`, `refused`, `rejected`, `unfilled` (ended, or never answered)."""
        if self.opened or not self.order:
            return "refused" if self.refused is not None and not self.opened else "traded"
        return "rejected" if self.rejected is not None else "unfilled"

    @property
    def booked(self) -> int:
        """What its closing deals booked."""
        return sum(
            deal.gross_profit + deal.booked_commission + deal.booked_swap + deal.conversion_fee for deal in self.closed
        )

    @property
    def filled_e2(self) -> int:
        """Volume of its opening deals."""
        return sum(deal.volume_e2 for deal in self.opened)


class Story:
    """One telling of a day."""

    def __init__(self, messages: Sequence[AnyMessage]) -> None:
        self.entries: dict[Key, Entry] = {}
        self.quotes: dict[str, Quote] = {}
        self.halted: list[tuple[int, int, str]] = []
        self._run: RunStarted | None = None
        self._counted: dict[tuple[str, str, int, str], int] = {}
        self._by_intent: dict[str, Entry] = {}
        self._by_order: dict[str, Entry] = {}
        self._by_position: dict[str, Entry] = {}
        self._intents: dict[str, Intent] = {}
        self._deals: set[str] = set()
        self._nights: set[tuple[str, int]] = set()
        self._opened = False
        for message in messages:
            self._add(message)

    def _add(self, message: AnyMessage) -> None:
        match message:
            case Quote():
                if 0 < message.bid_e5 <= message.ask_e5:
                    self.quotes[message.symbol] = message
            case RunStarted():
                self._run = message
            case AccountSnapshot():
                self._on_snapshot(message)
            case Intent():
                self._on_intent(message)
            case IntentRefused():
                entry = self._by_intent.get(message.intent_id)
                if entry is not None:
                    entry.refused = message
            case SubmitOrder():
                self._on_order(message)
            case OrderRejected():
                self._on_rejected(message)
            case OrderCancelled() | OrderExpired() | OrderUnknown():
                entry = self._by_order.get(message.client_order_id)
                if entry is not None and entry.order and entry.order.client_order_id == message.client_order_id:
                    entry.ended = type(message).__name__.removeprefix("Order").lower()
            case OrderFilled():
                self._on_filled(message)
            case ProtectionChanged():
                entry = self._by_position.get(message.position_id)
                if entry is not None:
                    entry.stop_loss_e5, entry.take_profit_e5 = message.stop_loss_e5, message.take_profit_e5
            case SwapCharged():
                self._on_swap(message)
            case HaltTrading():
                self.halted.append((message.ts_init_ns, 2**63 - 1, message.operator))
            case HaltLifted():
                self.halted = [
                    (since, min(until, message.ts_init_ns), who) for since, until, who in self.halted
                ]  # fmt: skip
            case _:
                pass

    # --- folding -----------------------------------------------------------------------------------------------

    def _new(self, kind: tuple[str, str, int, str], **fields: object) -> Entry:
        number = self._counted[kind] = self._counted.get(kind, 0) + 1
        strategy, symbol, side, _ = kind
        entry = Entry(key=(*kind, number), symbol=symbol, side=side, strategy=strategy, **fields)  # type: ignore[arg-type]
        self.entries[entry.key] = entry
        return entry

    def _on_snapshot(self, snapshot: AccountSnapshot) -> None:
        if not self._opened:
            self._opened = True
            for state in snapshot.positions:
                self._inherit(state, snapshot.ts_init_ns)

    def _inherit(self, state: PositionState, ts_ns: int) -> None:
        entry = self._new(("", state.symbol, int(state.side), state.position_id), ts_ns=ts_ns)
        entry.position_id = state.position_id
        entry.volume_e2, entry.cost = state.volume_e2, state.volume_e2 * state.price_e5
        entry.charges = state.commission + state.swap
        entry.stop_loss_e5, entry.take_profit_e5 = state.stop_loss_e5, state.take_profit_e5
        self._by_position[state.position_id] = entry

    def _on_intent(self, intent: Intent) -> None:
        self._intents[intent.intent_id] = intent
        if intent.action == "enter":
            about = intent.request_id or f"@{intent.ts_init_ns}"
            entry = self._new(
                (intent.strategy, intent.symbol, int(intent.side), about),
                ts_ns=intent.ts_init_ns,
                model_id=intent.model_id,
                request_id=intent.request_id,
                intent_id=intent.intent_id,
            )
            self._by_intent[intent.intent_id] = entry

    def _on_order(self, order: SubmitOrder) -> None:
        entry = self._by_position.get(order.position_id) if order.position_id else self._by_intent.get(order.intent_id)
        if entry is None:
            return
        self._by_order[order.client_order_id] = entry
        if order.position_id:
            entry.exits[order.client_order_id] = order
        else:
            entry.order = order

    def _on_rejected(self, fact: OrderRejected) -> None:
        entry = self._by_order.get(fact.client_order_id)
        if entry is None:
            return
        if fact.client_order_id in entry.exits:
            entry.exits_rejected.append(fact)
        else:
            entry.rejected = fact

    def _on_filled(self, deal: OrderFilled) -> None:
        if deal.deal_id in self._deals:
            return
        self._deals.add(deal.deal_id)
        entry = self._by_position.get(deal.position_id)
        if entry is None:
            entry = self._by_order.get(deal.client_order_id)
            if entry is None:
                entry = self._new(("", deal.symbol, int(deal.side), deal.position_id), ts_ns=deal.ts_init_ns)
            entry.position_id = deal.position_id
            self._by_position[deal.position_id] = entry
        if not deal.closing:
            entry.opened.append(deal)
            entry.volume_e2 += deal.volume_e2
            entry.cost += deal.volume_e2 * deal.price_e5
            entry.charges += deal.commission
            return
        entry.closed.append(deal)
        left_e2 = entry.volume_e2 - deal.volume_e2
        entry.cost = entry.cost * left_e2 // entry.volume_e2 if left_e2 > 0 else 0
        entry.volume_e2 = max(0, left_e2)
        entry.charges += deal.commission - deal.booked_commission - deal.booked_swap

    def _on_swap(self, swap: SwapCharged) -> None:
        entry = self._by_position.get(swap.position_id)
        if entry is not None and (swap.position_id, swap.ts_event_ns) not in self._nights:
            self._nights.add((swap.position_id, swap.ts_event_ns))
            entry.charges += swap.amount

    # --- worth -------------------------------------------------------------------------------------------------

    def worth(self, symbol: str, volume_e2: int, difference_e5: int) -> int:
        """A price difference on a volume, in the account's smallest unit at the last mid prices; 0 without a rate."""
        run = self._run
        if run is None:
            return 0
        asset = next((each.quote for each in run.instruments if each.symbol == symbol), symbol[3:])
        mids = {name: (quote.bid_e5 + quote.ask_e5) // 2 for name, quote in self.quotes.items()}
        rate_e8 = quote_to_account_rate_e8(asset, run.currency, run.instruments, mids)
        return 0 if rate_e8 is None else money(volume_e2, difference_e5, rate_e8, run.money_digits)

    def value(self, entry: Entry) -> int:
        """What an entry is worth: booked, and floating with its charges where something is open."""
        quote = self.quotes.get(entry.symbol)
        if not entry.volume_e2 or quote is None:
            return entry.booked
        price_e5 = quote.bid_e5 if entry.side > 0 else quote.ask_e5
        floating = self.worth(entry.symbol, 1, entry.side * (entry.volume_e2 * price_e5 - entry.cost))
        return entry.booked + floating + entry.charges

    def halted_by(self, ts_ns: int) -> str:
        """The operator whose halt was in force at a moment; empty = none."""
        return next((who for since, until, who in self.halted if since <= ts_ns <= until), "")

    def exit_of(self, entry: Entry) -> SubmitOrder | None:
        """The order of ours that made the last closing deal; None = a level, or nobody here, did."""
        if not entry.closed or entry.closed[-1].cause != "order":
            return None
        return entry.exits.get(entry.closed[-1].client_order_id)
