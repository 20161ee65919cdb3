"""The gate: an intent goes in, an order or a refusal comes out. Nothing reaches a venue by another way.

An entry is sized first (`risk.sizing`) and held against every limit then (`risk.limits`). An exit is held against
sanity only, so that risk can always be reduced: its numbers are numbers, the position is open, belongs to the strategy
that asks, lies on the other side, and no order to close it is at work already. It closes all that the position holds.
"""

from typing import TYPE_CHECKING

from bus.messages import HaltLevel, Intent, IntentRefused, SubmitOrder
from bus.values import OrderType, TimeInForce
from risk.alerts.cost import reduced_ppm
from risk.book import Book
from risk.evidence import ModelStanding
from risk.limits import NO_CONNECTION, Breach, first_breach, impossible, look
from risk.policy import Policy
from risk.sizing import PPM, SizingSettings, size_e2

if TYPE_CHECKING:
    from risk.portfolio.model import Portfolio


def review(
    intent: Intent,
    book: Book,
    policy: Policy,
    sizing: SizingSettings,
    now_ns: int,
    *,
    client_order_id: str,
    model: ModelStanding | None = None,
    size_multiplier_ppm: int = PPM,
    halt_level: HaltLevel = HaltLevel.NONE,
    link_up: bool = True,
    largest_e2: int = 0,
    portfolio: "Portfolio | None" = None,
) -> SubmitOrder | IntentRefused:
    """Hold an intent against every limit.

    Args:
        intent: any; impossible numbers, NaN and infinity among them, are refused and never raise.
        book: is read, not changed. Tell it of the order (`Book.sent`) before the next review.
        policy: the limits.
        sizing: how an entry becomes a volume.
        now_ns: time of the newest message.
        client_order_id: for the order; never used before.
        model: what an entry rests on (`Evidence.standing`); its size falls with it. None = not known.
        size_multiplier_ppm: what else its size is multiplied by (measured cost); it multiplies with the model's.
        halt_level: the highest halt in force.
        link_up: whether the venue can be reached.
        largest_e2: an entry's volume is at most this, rounded down to a step; 0 = as sized.
        portfolio: how the symbols move together; None = no limit of the book as a whole is on.

    Returns:
        The order, or the first limit it would break and what would have passed.
    """
    breach = impossible(intent, size_multiplier_ppm, now_ns)
    if breach is None and intent.symbol not in book.instruments:
        breach = Breach("symbol", "a configured symbol", repr(intent.symbol), f"one of {', '.join(book.instruments)}")
    if breach is not None:
        return _refused(intent, breach, now_ns)
    if intent.action == "exit":
        return _exit(intent, book, now_ns, client_order_id, link_up=link_up)
    if model is not None:
        size_multiplier_ppm = reduced_ppm(size_multiplier_ppm, model.multiplier_ppm(policy.models))
    volume_e2 = _sized(intent, book, sizing, size_multiplier_ppm, largest_e2)
    check = look(
        intent,
        book,
        policy,
        volume_e2=volume_e2,
        now_ns=now_ns,
        halt_level=halt_level,
        link_up=link_up,
        model=model,
        portfolio=portfolio,
    )
    breach = first_breach(check)
    return (
        _order(intent, book, volume_e2, now_ns, client_order_id) if breach is None else _refused(intent, breach, now_ns)
    )


def _sized(intent: Intent, book: Book, sizing: SizingSettings, multiplier_ppm: int, largest_e2: int) -> int:
    """Volume of an entry; 0 where nothing values it, or it is too small."""
    price_e5 = intent.price_e5
    if intent.order_type == OrderType.MARKET:
        quote = book.quotes.get(intent.symbol)
        price_e5 = 0 if quote is None else quote.ask_e5 if intent.side > 0 else quote.bid_e5
    scale = book.marks.scale_of(intent.symbol)
    if scale is None:
        return 0
    instrument = book.instruments[intent.symbol]
    volume_e2 = size_e2(
        intent,
        sizing,
        instrument,
        equity=book.equity,
        price_e5=price_e5,
        rate_e8=scale[0],
        money_digits=book.money_digits,
        multiplier_ppm=multiplier_ppm,
    )
    if largest_e2:
        volume_e2 = min(volume_e2, largest_e2 - largest_e2 % instrument.step_volume_e2)
    return volume_e2


def _order(intent: Intent, book: Book, volume_e2: int, now_ns: int, client_order_id: str) -> SubmitOrder:
    """The order of an entry that every limit passed."""
    market = intent.order_type == OrderType.MARKET
    time_in_force = TimeInForce.GTD if intent.valid_until_ns else TimeInForce.GTC
    return SubmitOrder(
        client_order_id=client_order_id,
        intent_id=intent.intent_id,
        strategy=intent.strategy,
        symbol=intent.symbol,
        side=intent.side,
        order_type=intent.order_type,
        volume_e2=volume_e2,
        reference_e5=intent.reference_e5,
        ts_init_ns=now_ns,
        time_in_force=TimeInForce.IOC if market else time_in_force,
        limit_e5=intent.price_e5 if intent.order_type == OrderType.LIMIT else 0,
        trigger_e5=intent.price_e5 if intent.order_type == OrderType.STOP else 0,
        expires_ns=0 if market else intent.valid_until_ns,
        stop_loss_e5=intent.stop_loss_e5,
        take_profit_e5=intent.take_profit_e5,
        trailing_e5=intent.trailing_e5,
        reason=intent.reason,
        expected_profit=book.marks.value(intent.symbol, volume_e2 * intent.edge_e5) or 0,
    )


def _exit(
    intent: Intent, book: Book, now_ns: int, client_order_id: str, *, link_up: bool
) -> SubmitOrder | IntentRefused:
    position = book.positions.get(intent.position_id)
    breach: Breach | None = None
    if position is None or position.symbol != intent.symbol:
        breach = Breach("position", f"an open position in {intent.symbol}", repr(intent.position_id), "its id")
    elif position.strategy != intent.strategy:
        breach = Breach("position_owner", position.strategy, intent.strategy, "the strategy that opened it")
    elif position.side is intent.side:
        breach = Breach("position_side", position.side.opposite.name, intent.side.name, "the other side")
    elif book.closing(position.position_id):
        breach = Breach("already_closing", "1 closing order at work", "2", "the answer to the first")
    elif not link_up:
        breach = NO_CONNECTION
    if breach is not None or position is None:
        return _refused(intent, breach or Breach("position", "", "", ""), now_ns)
    return SubmitOrder(
        client_order_id=client_order_id,
        intent_id=intent.intent_id,
        strategy=intent.strategy,
        symbol=intent.symbol,
        side=intent.side,
        order_type=OrderType.MARKET,
        volume_e2=position.volume_e2,
        reference_e5=intent.reference_e5,
        ts_init_ns=now_ns,
        position_id=position.position_id,
        reason=intent.reason,
    )


def _refused(intent: Intent, breach: Breach, now_ns: int) -> IntentRefused:
    return IntentRefused(
        intent_id=intent.intent_id,
        strategy=intent.strategy,
        symbol=intent.symbol,
        rule=breach.rule,
        limit=breach.limit,
        value=breach.value,
        would_pass=breach.would_pass,
        ts_init_ns=now_ns,
    )
