"""Rows of returns worked out again from all bars that were told, and covariances by hand."""

import math
import random
from fractions import Fraction

import pytest

from bus.values import NS_PER_HOUR
from risk.portfolio.covariance import Products, cholesky, principal
from risk.portfolio.history import FLOOR, WARM, History

THREE = ("EURUSD", "GBPUSD", "USDJPY")
ROOT = math.sqrt(0.5)


def half_away(value):
    return math.floor(value + Fraction(1, 2)) if value >= 0 else -math.floor(-value + Fraction(1, 2))


def clipped(value, most):
    return max(-most, min(most, value))


class Plain:
    """One symbol: returns, scores and volatility from its closes, `None` where a bar is missing."""

    def __init__(self, line):
        self.returns, self.scores, self.numbers = [], [], []
        before, seen = None, []
        for number, close in enumerate(line):
            change = score = 0
            if close is not None and before is not None:
                change = clipped(half_away(Fraction(close - before, before) * 10**9), 10**9)
                if len(seen) >= WARM:
                    score = clipped(change * 1e6 / self.volatility(seen), 1e8)
                    self.numbers.append(number)
                seen.append(change)
            before = close if close is not None else before
            self.returns.append(change)
            self.scores.append(score)
        self.now = self.volatility(seen)

    @staticmethod
    def volatility(seen):
        """Weighted root mean square, each bar 1.5 % lighter than the one after it."""
        weights = [0.985**age for age in range(len(seen))]
        squares = sum(w * x * x for w, x in zip(weights, reversed(seen), strict=True))
        return max(FLOOR, math.floor(math.sqrt(squares / sum(weights)))) if seen else FLOOR


def walk(source, count, start, size, there):
    price, line = start, []
    for n in range(count):
        price = max(1, round(price * (1 + source.gauss(0, size))))
        line.append(price if there(n) else None)
    return line


def test_rows_are_those_of_the_bars_with_what_is_missing_standing_still():
    source = random.Random(21)
    lines = {
        "EURUSD": walk(source, 180, 120_000, 0.001, lambda n: True),
        "GBPUSD": walk(source, 180, 9_000_000, 0.4, lambda n: n > 2 and source.random() < 0.7),
        "USDJPY": walk(source, 180, 100_000, 0, lambda n: n != 90),
    }
    lines["USDJPY"][150] = 150_000
    history = History(THREE, 100)
    assert [history.volatility(symbol) for symbol in THREE] == [FLOOR] * 3
    assert [history.bars(symbol) for symbol in (*THREE, "XXXYYY")] == [0, 0, 0, 0]
    assert history.settle() is False
    for n in range(180):
        for symbol in THREE:
            if lines[symbol][n] is not None:
                history.note(symbol, n * NS_PER_HOUR, lines[symbol][n])
        whole = all(lines[symbol][n] is not None for symbol in THREE)
        told = n + whole
        waited = n > 0 and any(lines[symbol][n - 1] is None for symbol in THREE)
        assert history.settle() is (whole or waited)
        assert history.settle() is False
        assert (history.count, len(history.rows), history.generation) == (told, min(told, 100), 0)
        if n % 13 and n < 178:
            continue
        plain = {symbol: Plain(lines[symbol][:told]) for symbol in THREE}
        for row, number in zip(history.rows, range(max(0, told - 100), told), strict=True):
            assert row.ts_ns == number * NS_PER_HOUR
            assert row.returns == tuple(plain[symbol].returns[number] for symbol in THREE)
            scores = [plain[symbol].scores[number] for symbol in THREE]
            assert row.scores == pytest.approx(scores, rel=3e-6, abs=1)
            assert [score == 0 for score in row.scores] == [score == 0 for score in scores]
        for symbol in THREE:
            assert history.volatility(symbol) == pytest.approx(plain[symbol].now, abs=1)
            numbers = plain[symbol].numbers
            assert history.bars(symbol) == len([number for number in numbers if number >= told - 100])
            assert history.since(symbol) == max(numbers[0] if numbers else 0, told - min(told, 100))
    assert any(abs(row.returns[1]) == 10**9 for row in history.rows), "a price that leaps"
    assert any(row.scores[2] == 10**8 for row in history.rows), "one that stood and moved"


def bars(history, *told):
    for symbol, hour, close in told:
        history.note(symbol, hour * NS_PER_HOUR, close)
    return history.settle()


def hours(history):
    return [row.ts_ns // NS_PER_HOUR for row in history.rows]


def test_a_late_bar_makes_all_rows_anew_but_not_the_one_that_is_still_open():
    history = History(("EURUSD", "GBPUSD"), 50)
    assert bars(history, ("EURUSD", 1, 100_000), ("GBPUSD", 1, 100_000), ("EURUSD", 3, 103_000)) is True
    assert (hours(history), history.generation, history.count) == ([1], 0, 1)
    assert bars(history, ("EURUSD", 2, 101_000)) is True
    assert (hours(history), history.generation, history.count) == ([1, 2], 1, 2)
    assert history.rows[1].returns == (10_000_000, 0)
    assert bars(history) is False
    assert bars(history, ("GBPUSD", 3, 101_000)) is True
    assert (hours(history), history.generation, history.count) == ([1, 2, 3], 1, 3)
    assert history.rows[2].returns == (19_801_980, 10_000_000)
    assert bars(history, ("GBPUSD", 2, 102_000)) is True
    assert (hours(history), history.generation, history.count) == ([1, 2, 3], 2, 3)
    assert [row.returns for row in history.rows] == [(0, 0), (10_000_000, 20_000_000), (19_801_980, -9_803_922)]


def test_a_bar_at_the_beginning_of_time_is_one():
    history = History(("EURUSD", "GBPUSD"), 50)
    assert bars(history, ("EURUSD", 0, 1), ("GBPUSD", 0, 1)) is True
    assert hours(history) == [0]


def test_a_price_of_nothing_is_none_and_leaves_room_for_the_true_one():
    history = History(("EURUSD",), 50)
    bars(history, ("EURUSD", 0, 100_000))
    assert bars(history, ("EURUSD", 1, 0), ("EURUSD", 1, -1)) is False
    assert bars(history, ("EURUSD", 1, 101_000), ("EURUSD", 2, 1)) is True
    assert [row.returns for row in history.rows] == [(0,), (10_000_000,), (-999_990_099,)]


def test_an_open_row_that_nobody_finished_is_finished_by_the_next():
    history = History(("EURUSD", "GBPUSD"), 50)
    assert bars(history, ("EURUSD", 1, 100_000)) is False
    assert bars(history, ("GBPUSD", 2, 100_000)) is True
    assert bars(history, ("EURUSD", 2, 100_000)) is True
    assert bars(history, ("EURUSD", 3, 100_000), ("EURUSD", 4, 100_000), ("EURUSD", 5, 100_000)) is True
    assert (hours(history), history.generation) == ([1, 2, 3, 4], 0)


def test_what_is_folded_again_is_no_more_than_what_is_remembered():
    """A window of 50 and the 21 bars that warm it up: of 80 told hours 71 are remembered."""
    history = History(("EURUSD",), 50)
    for n in range(80):
        bars(history, ("EURUSD", 2 * n, 100_000 + n))
    assert (history.count, history.generation) == (80, 0)
    bars(history, ("EURUSD", 2 * 79 - 1, 100_079))
    assert (history.count, history.generation) == (50 + WARM + 1, 1)
    assert hours(history)[-3:] == [156, 157, 158]
    assert len(history.rows) == 50
    assert history.bars("EURUSD") == 50


def test_symbols_of_different_memories_are_folded_again_over_the_same_hours():
    history = History(("EURUSD", "GBPUSD"), 50)
    for n in range(90):
        bars(history, ("EURUSD", n, 100_000 + n), *([("GBPUSD", n, 100_000)] if n % 2 else []))
    bars(history, ("GBPUSD", 60, 100_000))
    assert (history.generation, history.count, hours(history)[-1]) == (1, 50 + WARM + 1, 89)
    assert history.bars("EURUSD") == 50


# --- covariances -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1, 10**6])
@pytest.mark.parametrize(
    "rows",
    [[(3, -1), (1, 2), (0, 5), (-2, 2)], [(1, 1), (2, 1)], [(5, 0), (0, 1), (3, 1)], [(1, 0), (0, 0)], [(1, 0)]],
)
def test_a_covariance_is_shrunk_by_the_share_of_what_is_noise(rows, unit):
    """Ledoit and Wolf's lemma 3.4 in fractions: d2 = |S - m I|^2, b2 = the sum of |x x' - S|^2 over n^2."""
    n, p = len(rows), 2
    sample = [[Fraction(sum(row[i] * row[j] for row in rows), n) for j in range(p)] for i in range(p)]
    mean = sum(sample[i][i] for i in range(p)) / p
    pairs = [(i, j) for i in range(p) for j in range(p)]
    distance = sum((sample[i][j] - mean * (i == j)) ** 2 for i, j in pairs)
    noise = sum((row[i] * row[j] - sample[i][j]) ** 2 for row in rows for i, j in pairs) / n**2
    share = min(Fraction(1), noise / distance)
    products = Products(p)
    for row in rows:
        products.add([x * unit for x in row])
    matrix, found = products.shrunk()
    assert found == pytest.approx(float(share), rel=1e-12)
    for i, j in pairs:
        wanted = float((1 - share) * sample[i][j] + share * mean * (i == j)) * unit**2 / 10**12
        assert matrix[i][j] == pytest.approx(wanted, rel=1e-12)
    assert (products.size, products.n) == (p, n)


def test_of_no_symbols_and_of_no_rows_there_is_no_covariance():
    empty = Products(0)
    empty.add([])
    assert empty.shrunk() == Products(2).shrunk() == ([], 0.0)


@pytest.mark.parametrize(
    ("matrix", "lower"),
    [
        ([[4.0, 2.0], [2.0, 5.0]], [[2.0, 0.0], [1.0, 2.0]]),
        ([[0.0, 0.0], [0.0, 9.0]], [[0.0, 0.0], [0.0, 3.0]]),
        ([[1.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]),
        ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.0], [2.0, 0.0]]),
        ([[4.0, 2.0, 2.0], [2.0, 2.0, 3.0], [2.0, 3.0, 9.0]], [[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 2.0, 2.0]]),
    ],
)
def test_a_factor_is_worked_out_by_hand_and_what_has_no_variance_has_no_row(matrix, lower):
    assert cholesky(matrix) == lower


@pytest.mark.parametrize(
    ("matrix", "components"),
    [
        ([[1.0, 0.0], [0.0, 3.0]], [(3.0, [0.0, 1.0]), (1.0, [1.0, 0.0])]),
        ([[2.0, 0.0], [0.0, 2.0]], [(2.0, [1.0, 0.0]), (2.0, [0.0, 1.0])]),
        ([[2.0, 1.0], [1.0, 2.0]], [(3.0, [ROOT, ROOT]), (1.0, [ROOT, -ROOT])]),
        ([[2.0, -1.0], [-1.0, 2.0]], [(3.0, [ROOT, -ROOT]), (1.0, [ROOT, ROOT])]),
        ([[0.0, 1.0], [1.0, 0.0]], [(1.0, [ROOT, ROOT]), (0.0, [ROOT, -ROOT])]),
        ([[0.0, 0.0], [0.0, 0.0]], [(0.0, [1.0, 0.0]), (0.0, [0.0, 1.0])]),
        (
            [[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 5.0]],
            [(5.0, [0.0, 0.0, 1.0]), (3.0, [ROOT, ROOT, 0.0]), (1.0, [ROOT, -ROOT, 0.0])],
        ),
    ],
)
def test_components_are_worked_out_by_hand_largest_first_with_their_largest_entry_positive(matrix, components):
    before = [row[:] for row in matrix]
    found = principal(matrix)
    assert matrix == before
    for (value, vector), (wanted, direction) in zip(found, components, strict=True):
        assert value == pytest.approx(wanted, abs=1e-15)
        same = vector == pytest.approx(direction, abs=1e-12)
        other = vector == pytest.approx([-x for x in direction], abs=1e-12)
        equal = abs(abs(direction[0]) - abs(direction[1])) < 1e-9
        assert same or (equal and other)
