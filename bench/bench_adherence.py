"""Adherence of a month of 5,000 trades: fold and roll-up, the audit's arithmetic, and the result as JSON."""

import gc
import time

import msgspec

from bench.common import report
from bus.messages import AccountSnapshot, BalanceMoved, OrderFilled, SwapCharged
from daemon.audit import Books
from risk.adherence.rollup import Roll
from tests.harness.months import Month

SIGNALS, TRADES = 50_000, 5_000


def main() -> None:
    month = Month(signals=SIGNALS, trades=TRADES)
    journal = list(enumerate(month.messages(), start=1))
    gc.collect()
    begin = time.perf_counter()
    roll = Roll()
    for seq, message in journal:
        roll.add(seq, message)
    folded = time.perf_counter()
    rolled = roll.result()
    done = time.perf_counter()
    encoded = msgspec.json.encode(rolled)
    written = time.perf_counter()
    assert rolled.exact
    assert (rolled.total.trades, rolled.total.money.net) == (TRADES, sum(month.truth.nets))
    books = Books()
    for seq, message in journal:
        if isinstance(message, OrderFilled):
            books.filled(seq, message)
        elif isinstance(message, SwapCharged):
            books.charged(message)
        elif isinstance(message, BalanceMoved):
            books.moved_by(seq, message)
        elif isinstance(message, AccountSnapshot):
            books.open(message)
    audited = time.perf_counter()
    assert books.realised == rolled.total.money.net
    report(
        "adherence",
        messages=len(journal),
        trades=TRADES,
        fold_s=round(folded - begin, 2),
        fold_us_per_message=round((folded - begin) / len(journal) * 1e6, 2),
        roll_up_s=round(done - folded, 2),
        json_s=round(written - done, 3),
        json_mb=round(len(encoded) / 1e6, 2),
        audit_arithmetic_s=round(audited - written, 3),
    )


if __name__ == "__main__":
    main()
