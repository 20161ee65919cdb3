"""The formulas of adherence against plain calculations, at their boundaries and where nothing can be said."""

import math
from datetime import date
from statistics import NormalDist, mean, median_low, stdev

import pytest
from msgspec.structs import replace

from risk.adherence.numbers import crps_gaussian, distribution_of, newey_west_t, period_keys, spread_of, t_statistic
from risk.adherence.records import Distribution, Money, Spread


@pytest.mark.parametrize(
    ("day", "keys"),
    [
        (date(2018, 5, 1), ("2018-05-01", "2018-W18", "2018-05")),
        (date(2018, 1, 8), ("2018-01-08", "2018-W02", "2018-01")),
        (date(2018, 12, 31), ("2018-12-31", "2019-W01", "2018-12")),
        (date(2021, 1, 3), ("2021-01-03", "2020-W53", "2021-01")),
        (date(1970, 1, 1), ("1970-01-01", "1970-W01", "1970-01")),
    ],
)
def test_a_trading_day_has_the_names_of_its_date(day, keys):
    assert period_keys(day.toordinal()) == keys


@pytest.mark.parametrize(("error", "sigma"), [(0.0, 1.0), (1.3, 0.7), (-1.3, 0.7), (-40.0, 25.0), (300.0, 55.0)])
def test_crps_is_the_closed_form_of_the_normal_distribution(error, sigma):
    normal, z = NormalDist(), error / sigma
    plain = sigma * (z * (2 * normal.cdf(z) - 1) + 2 * normal.pdf(z) - 1 / math.sqrt(math.pi))

    assert crps_gaussian(error, sigma) == pytest.approx(plain, rel=1e-9)


def test_a_t_statistic_is_the_mean_over_its_standard_error():
    values = [1.0, 2.0, 4.0, 8.0]

    assert t_statistic(values) == pytest.approx(mean(values) / (stdev(values) / 2), rel=1e-12)
    assert t_statistic([1.0, 3.0]) == pytest.approx(2.0)
    assert t_statistic([0.0, 0.5]) == pytest.approx(1.0), "a variance below one is a variance"
    assert t_statistic([3.0]) is None
    assert t_statistic([]) is None
    assert t_statistic([3.0, 3.0, 3.0]) is None


def bartlett(values, lag):
    n, centre = len(values), mean(values)
    gaps = [value - centre for value in values]
    total = sum(gap * gap for gap in gaps)
    for k in range(1, lag + 1):
        total += 2 * (1 - k / (lag + 1)) * sum(gaps[at] * gaps[at - k] for at in range(k, n))
    return centre / math.sqrt(total / n / n)


def test_a_newey_west_statistic_weighs_neighbours_by_their_distance():
    values = [float((7 * k * k + 3 * k) % 23) for k in range(30)]

    for lag in (0, 1, 2):
        assert newey_west_t(values, lag) == pytest.approx(bartlett(values, lag), rel=1e-12)
    assert newey_west_t(values, 3) is None, "30 terms are fewer than ten for each of 4"
    assert newey_west_t(values[:29], 2) is None
    assert newey_west_t(values[:9], 0) is None
    assert newey_west_t(values[:10], 0) is not None
    assert newey_west_t([2.0] * 10, 0) is None
    assert newey_west_t([0.1 * k for k in range(10)], 0) == pytest.approx(bartlett([0.1 * k for k in range(10)], 0))


def test_a_spread_has_the_nearest_rank_and_the_middle_of_two():
    assert spread_of([]) == Spread()
    assert spread_of([7]) == Spread(n=1, mean=7.0, median=7.0, p95=7.0, largest=7.0)
    assert spread_of([4, 1]) == Spread(n=2, mean=2.5, median=2.5, p95=4.0, largest=4.0)
    assert spread_of([9, 1, 5]) == Spread(n=3, mean=5.0, median=5.0, p95=9.0, largest=9.0)
    assert spread_of([8, 1, 3, 4]) == Spread(n=4, mean=4.0, median=3.5, p95=8.0, largest=8.0)
    assert spread_of([9, 1, 5, 2, 8]).median == 5.0
    hundred = [float(value) for value in range(100, 0, -1)]
    assert spread_of(hundred) == Spread(n=100, mean=50.5, median=50.5, p95=95.0, largest=100.0)
    assert spread_of(hundred[:-1]).p95 == 96.0, "95 % of 99 are 94.05: the 95th of 2 to 100"


def test_a_distribution_has_its_ranks_its_deviation_and_its_signs():
    values = [float(value) for value in range(-50, 51)]
    found = distribution_of(list(reversed(values)))

    assert found == Distribution(
        n=101, mean=0.0, deviation=stdev(values), least=-50.0, p05=-45.0, p25=-25.0, median=0.0, p75=25.0, p95=45.0,
        p99=49.0, largest=50.0, below=50, zero=1, above=50,
    )  # fmt: skip
    assert found.median == median_low(values)
    assert distribution_of([]) == Distribution()
    assert distribution_of([3]) == Distribution(n=1, mean=3.0, least=3.0, p05=3.0, p25=3.0, median=3.0, p75=3.0,
                                                p95=3.0, p99=3.0, largest=3.0, above=1)  # fmt: skip
    pair = distribution_of([1, 0])
    assert (pair.deviation, pair.below, pair.zero, pair.above) == (math.sqrt(0.5), 0, 1, 1)
    assert (pair.median, pair.p75) == (0.0, 1.0)
    still = distribution_of([0, 0, 1])
    assert (still.below, still.zero, still.above) == (0, 2, 1)
    uneven = distribution_of([1, 2, 3, 10])
    assert uneven.deviation == pytest.approx(stdev([1, 2, 3, 10]), rel=1e-12)
    twenty = distribution_of(list(range(1, 21)))
    assert (twenty.p05, twenty.p25, twenty.median, twenty.p75, twenty.p95, twenty.p99) == (1, 5, 10, 15, 19, 20)
    assert distribution_of(list(range(1, 22))).p05 == 2.0


# --- money ---------------------------------------------------------------------------------------------------------

ONE = Money(before_costs=100, spread=-20, slippage=-5, gross=75, commission=-7, swap=-3, conversion_fee=-2, net=63,
            delay=-4, impact=-1)  # fmt: skip


def test_money_adds_up_part_by_part():
    other = Money(before_costs=1, spread=2, slippage=4, gross=8, commission=16, swap=32, conversion_fee=64, net=128,
                  delay=256, impact=512)  # fmt: skip

    assert ONE.plus(other) == other.plus(ONE) == Money(
        before_costs=101, spread=-18, slippage=-1, gross=83, commission=9, swap=29, conversion_fee=62, net=191,
        delay=252, impact=511,
    )  # fmt: skip
    assert ONE.costs == -37


def test_money_ties_out_only_where_every_sum_does():
    assert ONE.ties_out
    assert Money().ties_out
    for part in Money.__struct_fields__:
        for off in (-1, 1):
            assert not replace(ONE, **{part: getattr(ONE, part) + off}).ties_out, part
