"""A book that has begun, and short ways to say what happens to it."""

from bus import messages as m
from bus.values import NS_PER_HOUR, NS_PER_S, OrderType, Side, default_instrument
from risk.book import Book
from risk.policies.keys import Group
from risk.policy import Policy

NOW_NS = 1_525_186_800_000_000_000 // NS_PER_HOUR * NS_PER_HOUR  # Tuesday, 1 May 2018, 15:00 UTC
SYMBOLS = ("EURUSD", "USDJPY", "EURGBP", "GBPUSD")
PRICES = {"EURUSD": 120_000, "USDJPY": 10_900_000, "EURGBP": 88_000, "GBPUSD": 136_000}


def switched_off(**changes):
    """The policy whose limits are all off, but for the changes."""
    return _policy(lambda key: 0 if key.zero else None, changes)


def as_tight_as_can_be(**changes):
    """The policy that allows least, but for the changes."""
    ends = {"lower": lambda key: max(key.lowest, 1), "higher": lambda key: key.highest, "": lambda key: None}
    return _policy(lambda key: ends[key.tighter](key), changes)


def _policy(value_of, changes):
    values = {name: value_of(key) for name, key in Policy.KEYS.items()}
    for field in Policy.__struct_fields__:
        default = getattr(Policy(), field)
        if isinstance(default, Group):
            more = {"file": "calendar.csv"} if field == "news" else {}
            values[field] = type(default)(**_given({name: value_of(key) for name, key in default.KEYS.items()}), **more)
    return Policy(**(_given(values) | {"loss_halt_level": 3} | changes))


def _given(values):
    return {name: value for name, value in values.items() if value is not None}


def empty_book(currency="USD", leverage=30, symbols=SYMBOLS, policy=None):
    return Book(currency=currency, money_digits=2, leverage=leverage, hedged=True, policy=policy,
                instruments=tuple(default_instrument(s) for s in symbols))  # fmt: skip


def account(balance=1_000_000, positions=(), orders=(), ts=NOW_NS, **fields):
    values = {"currency": "USD", "hedged": True, "leverage": 30, "money_digits": 2} | fields
    return m.AccountSnapshot(account_id="a", balance=balance, positions=tuple(positions), orders=tuple(orders),
                             ts_event_ns=ts, ts_init_ns=ts, **values)  # fmt: skip


def quote(symbol="EURUSD", bid=None, spread=8, ts=NOW_NS):
    bid = PRICES[symbol] if bid is None else bid
    return m.Quote(symbol=symbol, bid_e5=bid, ask_e5=bid + spread, ts_event_ns=ts, ts_init_ns=ts)


def begun(balance=1_000_000, symbols=SYMBOLS, quoted=True, currency="USD", policy=None):
    book = empty_book(currency, symbols=symbols, policy=policy)
    book.apply_snapshot(account(balance, currency=currency))
    for symbol in symbols if quoted else ():
        book.mark(quote(symbol))
    return book


def order(name, side=Side.BUY, volume=100_000, symbol="EURUSD", position="", kind=OrderType.MARKET, **fields):
    return m.SubmitOrder(client_order_id=name, intent_id=name, strategy="s", symbol=symbol, side=side, order_type=kind,
                         volume_e2=volume, reference_e5=PRICES.get(symbol, 100_000), ts_init_ns=NOW_NS,
                         position_id=position, **fields)  # fmt: skip


def fill(deal, command, position, price, volume=None, *, closing=False, remaining=0, cause="order", done=None,
         ts=NOW_NS, **money):  # fmt: skip
    volume = command.volume_e2 if volume is None else volume
    amounts = {"commission": 0, "gross_profit": 0, "booked_commission": 0, "booked_swap": 0, "conversion_fee": 0}
    return m.OrderFilled(
        deal_id=deal, client_order_id=command.client_order_id, order_id="o", position_id=position,
        symbol=command.symbol, side=command.side, volume_e2=volume, price_e5=price, closing=closing, cause=cause,
        remaining_e2=remaining, balance=0, bid_e5=price, ask_e5=price, ts_event_ns=ts, ts_init_ns=ts,
        order_done=volume == command.volume_e2 if done is None else done, **(amounts | money),
    )  # fmt: skip


def accepted(name, symbol="EURUSD"):
    return m.OrderAccepted(client_order_id=name, order_id=f"o-{name}", symbol=symbol, ts_event_ns=NOW_NS,
                           ts_init_ns=NOW_NS)  # fmt: skip


def rejected(name, code="NO", symbol="EURUSD"):
    return m.OrderRejected(client_order_id=name, symbol=symbol, code=code, text="", ts_event_ns=NOW_NS,
                           ts_init_ns=NOW_NS)  # fmt: skip


def cancelled(name, filled=0, symbol="EURUSD"):
    return m.OrderCancelled(client_order_id=name, symbol=symbol, reason="", filled_e2=filled, ts_event_ns=NOW_NS,
                            ts_init_ns=NOW_NS)  # fmt: skip


def unknown(name, symbol="EURUSD"):
    return m.OrderUnknown(client_order_id=name, symbol=symbol, ts_init_ns=NOW_NS)


def levels(position, stop, target=0, ts=NOW_NS, symbol="EURUSD"):
    return m.ProtectionChanged(position_id=position, symbol=symbol, stop_loss_e5=stop, take_profit_e5=target,
                               trailing_e5=0, ts_event_ns=ts, ts_init_ns=ts)  # fmt: skip


def swap(position, amount, ts=NOW_NS, symbol="EURUSD"):
    return m.SwapCharged(position_id=position, symbol=symbol, amount=amount, nights=1, ts_event_ns=ts, ts_init_ns=ts)


def opened(book, name="c1", position="P1", side=Side.BUY, volume=100_000, price=None, symbol="EURUSD", commission=-3,
           stop=None):  # fmt: skip
    """Send an entry and let it be filled and protected at once."""
    price = PRICES[symbol] if price is None else price
    command = order(name, side, volume, symbol)
    book.sent(command, NOW_NS)
    book.fold(fill(f"D-{name}", command, position, price, remaining=volume, commission=commission))
    book.fold(levels(position, price - side * 500 if stop is None else stop, symbol=symbol))
    return command


def entry(side=Side.BUY, symbol="EURUSD", distance=300, **fields):
    """An intent to enter at the market with a stop that far away."""
    reference = PRICES[symbol] + (8 if side > 0 else 0)
    values = {
        "intent_id": "i", "strategy": "s", "symbol": symbol, "action": "enter", "side": side, "reason": "",
        "reference_e5": reference, "ts_init_ns": NOW_NS, "stop_loss_e5": reference - side * distance,
        "take_profit_e5": reference + side * distance, "scale_e5": 150, "edge_e5": 10,
    } | fields  # fmt: skip
    return m.Intent(**values)


def leave(position, side=Side.SELL, symbol="EURUSD", **fields):
    values = {"intent_id": "i", "strategy": "s", "symbol": symbol, "action": "exit", "side": side, "reason": "",
              "reference_e5": PRICES[symbol], "ts_init_ns": NOW_NS, "position_id": position} | fields  # fmt: skip
    return m.Intent(**values)


MINUTE_NS = 60 * NS_PER_S
