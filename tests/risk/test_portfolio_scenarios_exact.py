"""Tables of scenarios and what is read from them, by hand: ranks, rounding, and where numbers become too large."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from risk.portfolio.history import Row
from risk.portfolio.points import PAIRS, points
from risk.portfolio.scenarios import Answers, Recent, drawn, tail, worst_moves


def table(*rows):
    return np.array(rows, np.int64)


@pytest.mark.parametrize(
    ("n", "level", "k"),
    [(0, 9_900, 0), (1, 5_000, 1), (1, 5_001, 0), (2, 5_000, 1), (5, 5_000, 3), (6, 5_000, 3), (98, 9_900, 0),
     (99, 9_900, 1), (499, 9_900, 5), (500, 9_900, 5)],
)  # fmt: skip
def test_so_many_scenarios_lie_at_the_value_at_risk_or_beyond(n, level, k):
    assert tail(n, level) == k


def test_the_newest_rows_go_round_in_a_ring():
    recent = Recent([2, 0], 3)
    assert (recent.n, recent.historical().tolist()) == (0, [])
    rows = [Row(n, (10 * n, 11 * n, 12 * n), (20 * n, 21 * n, 22 * n)) for n in range(1, 6)]
    assert [recent.push(row) for row in rows] == [None, None, None, [22, 20], [44, 40]]
    assert recent.n == 3
    assert sorted(recent.historical().tolist()) == [[36, 30], [48, 40], [60, 50]]
    partly = Recent([1], 3)
    partly.push(rows[0])
    before = partly.historical()
    partly.push(rows[1])
    assert partly.historical().dtype == partly.filtered([1]).dtype == np.int64
    assert (before.tolist(), partly.historical().tolist(), partly.n) == ([[11]], [[11], [22]], 2)


def test_filtered_scenarios_are_scores_times_volatility_rounded_down_and_no_more_than_everything():
    recent = Recent([0, 1], 4)
    for scores in ((1_500_000, -1_500_001), (3, -3), (100_000_000, -100_000_000)):
        recent.push(Row(0, (7, 7), scores))
    found = recent.filtered([1_000_001, 2_000_000]).tolist()
    assert found == [[1_500_001, -3_000_002], [3, -6], [100_000_100, -200_000_000]]
    assert recent.filtered([20_000_000, 10_000_001]).tolist()[2] == [1_000_000_000, -1_000_000_000]
    assert recent.filtered([10**7, 1])[2].tolist() == [1_000_000_000, -100]


@pytest.mark.parametrize("student", [False, True])
def test_drawn_scenarios_are_the_points_turned_and_scaled(student):
    factor, sigmas = [[1.0, 0.0], [0.25, 0.5]], [3_000_001, 2_000_003]
    weights = [[3_000_001, 0], [500_001, 1_000_002]]
    fixed = points(2, student=student)
    wanted = [[sum(x * y for x, y in zip(point, row, strict=True)) // 10_000 for row in weights] for point in fixed]
    assert drawn(factor, sigmas, student=student).tolist() == wanted
    assert len(wanted) == 2 * PAIRS
    wild = drawn([[1.0]], [900_000_000], student=student)
    assert (wild.max(), wild.min()) == (10**9, -(10**9))


def test_a_factor_of_other_symbols_is_refused():
    with pytest.raises(ValueError, match="zip"):
        drawn([[1.0]], [1, 2], student=False)


def test_a_book_loses_what_the_ranks_say():
    """Losses of one unit are 4, -6, 9, 1 and -2; at 50 % of five the third largest counts, and the three's mean."""
    answers = Answers(table([-4], [6], [-9], [-1], [2]), 5_000)
    assert answers.n == 5
    assert answers.ask([[1]]) == [(1, 5, [])]
    assert answers.ask([[-1]]) == [(0, 3, [])], "2, 6 and -1: the value at risk is no loss; the mean 7/3 is rounded up"
    assert answers.ask([[0], [10]]) == [(0, 0, []), (10, 47, [])], "140 / 3 is rounded up"


def test_several_books_and_further_rows_are_answered_in_one():
    source = random.Random(1)
    rows = [[source.randrange(-1_000, 1_000) for _ in range(3)] for _ in range(30)]
    beside = [[1, 2, 3], [10, 0, -10], [7, 7, 7]]
    books = [[source.randrange(-50, 50) for _ in range(3)] for _ in range(4)]
    k = tail(30, 9_000)
    wanted = []
    for book in books:
        losses = sorted((-sum(v * x for v, x in zip(book, row, strict=True)) for row in rows), reverse=True)
        further = [sum(v * x for v, x in zip(book, beside[i], strict=True)) for i in (2, 0)]
        wanted.append((max(0, losses[k - 1]), max(0, math.ceil(Fraction(sum(losses[:k]), k))), further))
    assert Answers(table(*rows), 9_000, beside).ask(books, [2, 0]) == wanted


def test_of_many_scenarios_the_worst_are_found():
    moves = random.Random(2).sample(range(-(10**6), 0), 1_000)
    for level, k in ((9_990, 1), (9_900, 10), (5_000, 500)):
        worst = sorted(moves)[:k]
        wanted = (-worst[-1], math.ceil(Fraction(-sum(worst), k)), [])
        assert Answers(table(*([move] for move in moves)), level).ask([[1]]) == [wanted]


def test_a_book_that_is_too_large_for_exact_products_is_rounded_away_from_zero():
    """A move of 10**9 has 30 bits: books of up to 23 bits are exact, of 24 bits in units of two, of 25 of four."""
    answers = Answers(table([-(10**9)], [10**9]), 5_000, [[3]])
    for value, counted in ((2**23 - 1, 2**23 - 1), (2**23 + 1, 2**23 + 2), (2**24 + 1, 2**24 + 4)):
        for sign in (1, -1):
            found = answers.ask([[sign * value]], [0])
            assert found == [(counted * 10**9, counted * 10**9, [sign * counted * 3])]


def test_of_several_books_the_largest_decides_and_of_one_the_sum_of_both_sides():
    answers = Answers(table([-(10**9), 0], [10**9, 0]), 5_000)
    assert answers.ask([[1, 0], [2**24 + 1, 0]])[0][0] == 4 * 10**9
    assert answers.ask([[2**22 + 1, -(2**22)]])[0][0] == (2**22 + 2) * 10**9
    assert answers.ask([[2**22 + 1, -(2**21)]])[0][0] == (2**22 + 1) * 10**9


def test_small_moves_leave_room_for_large_books():
    assert Answers(table([-1], [1]), 5_000).ask([[2**52 - 1]]) == [(2**52 - 1, 2**52 - 1, [])]
    assert Answers(table([0], [0]), 5_000).ask([[2**60 + 1]]) == [(0, 0, [])]


def test_the_largest_further_row_counts_for_the_room_as_well():
    answers = Answers(table([-1], [1]), 5_000, [[-(10**9)]])
    assert answers.ask([[2**23 + 1]], [0])[0] == (2**23 + 2, 2**23 + 2, [-(2**23 + 2) * 10**9])


def test_the_wildest_moves_are_those_of_the_ranks_up_or_down():
    """Sizes are 5 1 2 and 1 4 9: of three the second largest counts at 50 %, and the mean of both is rounded up."""
    assert worst_moves(table([-5, 1], [1, -4], [2, 9]), 5_000) == (4, 7)
    assert worst_moves(table([-5, 0], [4, 0], [-5, 0]), 5_000) == (5, 5)
    assert worst_moves(table([-5, 4], [2, -4]), 5_000) == (5, 5)
