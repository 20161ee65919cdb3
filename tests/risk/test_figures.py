"""What the gate counts of a book is what the book itself tells."""

import random

import msgspec
import pytest

from bus.values import Side
from risk.limits.figures import count_all
from tests.harness.books import NOW_NS, PRICES, SYMBOLS, begun, fill, order


def full(seed):
    """A book with positions and entries of two strategies, and closes at work."""
    chance, book = random.Random(seed), begun(balance=100_000_000)

    def any_order(name, closes=""):
        side, symbol = chance.choice((Side.BUY, Side.SELL)), chance.choice(SYMBOLS)
        made = order(name, side, chance.randrange(1, 9) * 100_000, symbol, closes)
        return msgspec.structs.replace(made, strategy=chance.choice("st"))

    for n in range(chance.randrange(8)):
        command = any_order(f"c{n}")
        book.sent(command, NOW_NS)
        book.fold(fill(f"D{n}", command, f"P{n}", PRICES[command.symbol], remaining=command.volume_e2))
    for n in range(chance.randrange(8)):
        book.sent(any_order(f"r{n}", chance.choice(["", *book.positions])), NOW_NS)
    return book


def volume_of(each):
    return each.remaining_e2 if hasattr(each, "remaining_e2") else each.volume_e2


@pytest.mark.parametrize("seed", range(40))
def test_the_walk_of_the_gate_counts_what_the_book_tells(seed):
    book = full(seed)
    count = count_all(book, "EURUSD", "s")
    sides = {symbol: tuple(found) for symbol, found in count.sides.items() if any(found)}
    assert sides == book.worst_case_e2()
    entries = [each for each in book.orders.values() if not each.position_id]
    assert count.entries == len(entries)
    here = [each for each in (*book.positions.values(), *entries) if each.symbol == "EURUSD"]
    assert count.in_symbol == len(here)
    own = [each for each in (*book.positions.values(), *entries) if each.strategy == "s"]
    assert count.in_strategy == len(own)
    for symbol in SYMBOLS:
        volumes = [(each.side, volume_of(each)) for each in own if each.symbol == symbol]
        long_e2 = sum(volume for side, volume in volumes if side > 0)
        short_e2 = sum(volume for side, volume in volumes if side < 0)
        assert tuple(count.own.get(symbol, (0, 0))) == (long_e2, short_e2)


def test_without_a_strategy_nothing_is_counted_as_its_own():
    count = count_all(full(1), "EURUSD", None)
    assert (count.own, count.in_strategy, count.floating_strategy) == ({"EURUSD": [0, 0]}, 0, 0)
