"""Losses and drawdowns against a plain reference that shares nothing with them, on 100,000 random paths of equity.

The reference keeps lists and works everything out anew: a day is told by the zone's wall clock, a high-water mark is a
maximum over all that came before. Every path crosses a day on which some zone's clocks change.
"""

import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import accumulate
from zoneinfo import ZoneInfo

import pytest

from bus.calendar import next_day_ns, to_ns, week_begin_ns
from risk.policies.losses import Losses
from risk.policy import Policy
from risk.watermarks import Watermarks

PATHS_A_CHUNK, CHUNKS, STEPS = 12_500, 8, 10
HOUR = timedelta(hours=1)
PLACES = [
    ("America/New_York", 17), ("America/New_York", 2), ("Europe/Prague", 0), ("Europe/London", 2), ("UTC", 0),
    ("Australia/Lord_Howe", 2), ("America/Sao_Paulo", 0), ("Asia/Kathmandu", 23), ("America/Havana", 1),
    ("Pacific/Chatham", 2),
]  # fmt: skip
# Clocks go from 02:45 to 03:45 in spring: the hour does not begin there.
SKIPPED = ("Pacific/Chatham", 3)
CHANGES = [
    datetime(2018, 3, 11, 7, tzinfo=UTC), datetime(2018, 11, 4, 6, tzinfo=UTC), datetime(2024, 3, 31, 1, tzinfo=UTC),
    datetime(2024, 10, 27, 1, tzinfo=UTC), datetime(2018, 4, 7, 15, tzinfo=UTC), datetime(2018, 11, 4, 3, tzinfo=UTC),
    datetime(2018, 2, 18, 2, tzinfo=UTC), datetime(2018, 9, 29, 14, tzinfo=UTC), datetime(2018, 6, 13, 0, tzinfo=UTC),
]  # fmt: skip
NAMES = ("daily_loss", "trailing_drawdown", "weekly_loss", "static_drawdown", "day_end_drawdown", "intraday_drawdown")


def day_of(moment, zone, hour):
    """The trading day by the wall clock: its ordinal is the date on which it begins."""
    local = moment.astimezone(zone)
    return local.toordinal() - (local.hour < hour)


class Plain:
    """What is known of one account, kept whole."""

    def __init__(self, policy, balance, equity, moment):
        self.policy, self.losses = policy, policy.losses
        self.zone = ZoneInfo(self.losses.day_zone)
        self.history = [(moment, equity, balance)]
        self.opening = self.losses.initial_balance * 100 or balance
        self.cash = 0

    def value(self, equity, balance):
        return {"equity": equity, "balance": balance, "higher": max(equity, balance)}[self.losses.day_from]

    def tell(self, moment, equity, balance):
        self.history.append((moment, equity, balance))

    def move(self, delta):
        self.cash += delta
        self.opening += delta
        self.history = [(when, equity + delta, balance + delta) for when, equity, balance in self.history]

    def starts(self, periods):
        """From what the running day or week starts: the last that the period before it left, or the first of all."""
        before = [row[1:] for row, period in zip(self.history, periods, strict=True) if period != periods[-1]]
        return self.value(*(before[-1] if before else self.history[0][1:]))

    def floors(self):
        losses, hour = self.losses, self.losses.day_hour
        # A clock that is put back shows yesterday's hours again; no day begins twice.
        days = list(accumulate((day_of(when, self.zone, hour) for when, _, _ in self.history), max))
        # Monday's day begins on Monday, or on Sunday where days begin at noon or later.
        weeks = [(day - (0 if hour >= 12 else 1)) // 7 for day in days]
        started, weekly = self.starts(days), self.starts(weeks)
        equities = [equity for _, equity, _ in self.history]
        ends = [self.value(*self.history[0][1:])]
        for (_, equity, balance), first, second in zip(self.history, days, days[1:], strict=False):
            if first != second:
                ends.append(self.value(equity, balance))
        known = max(self.opening, (losses.high_water * 100 + self.cash) if losses.high_water else self.opening)
        initial = losses.percent_of == "initial"
        rows = [
            ("daily_loss", started, self.opening if initial else started, self.policy.daily_loss_pct_e2, False),
            ("trailing_drawdown", max(equities), max(equities), self.policy.trailing_drawdown_pct_e2, False),
            ("weekly_loss", weekly, self.opening if initial else weekly, losses.weekly_loss_pct_e2, False),
            ("static_drawdown", self.opening, self.opening, losses.static_drawdown_pct_e2, False),
            ("day_end_drawdown", max(known, *ends), self.opening, losses.day_end_drawdown_pct_e2, True),
            ("intraday_drawdown", max(known, *equities), self.opening, losses.intraday_drawdown_pct_e2, True),
        ]
        found = {}
        for name, mark, base, limit_pct_e2, trails in rows:
            if limit_pct_e2:
                floor = mark - Fraction(base * limit_pct_e2, 10_000)
                found[name] = min(floor, self.opening) if trails and losses.lock_at_initial else floor
        return found


def drawn_policy(r):
    zone, hour = r.choice(PLACES)
    share = lambda: r.choice([0, 1, 37, 100, 300, 999])  # noqa: E731
    losses = Losses(
        day_zone=zone, day_hour=hour, day_from=r.choice(["equity", "balance", "higher"]),
        percent_of=r.choice(["start", "initial"]), weekly_loss_pct_e2=share(), static_drawdown_pct_e2=share(),
        day_end_drawdown_pct_e2=share(), intraday_drawdown_pct_e2=share(), lock_at_initial=r.random() < 0.5,
        initial_balance=r.choice([0, 0, 10_000, 9_999]), high_water=r.choice([0, 0, 10_250]),
    )  # fmt: skip
    return Policy(daily_loss_pct_e2=share(), trailing_drawdown_pct_e2=share(), losses=losses)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_floor_is_the_reference_s_to_the_smallest_unit_and_breaks_at_the_same_quote(chunk):
    r = random.Random(f"paths {chunk}")
    policies = [drawn_policy(r) for _ in range(200)]
    broken = dict.fromkeys(NAMES, 0)
    for _ in range(PATHS_A_CHUNK):
        policy = r.choice(policies)
        balance = r.choice([1_000_000, 1_000_001, 987_654])
        equity = balance + r.choice([0, 0, r.randint(-3_000, 3_000)])
        moment = r.choice(CHANGES) - r.randrange(1, 40) * HOUR
        marks, plain = Watermarks(policy, 2), Plain(policy, balance, equity, moment)
        marks.start(equity, balance, to_ns(moment))
        for _ in range(STEPS):
            moment += timedelta(seconds=r.choice([1, 600, 3_600, 3_600, 20_000, 90_000, 200_000]))
            moved = r.choice([-50_000, 70_000]) if r.random() < 0.03 else 0
            now_ns = to_ns(moment)
            if now_ns >= marks.next_day_ns:
                marks.turn(equity, balance, now_ns)
            if moved:
                plain.move(moved)
                marks.moved(moved)
                equity, balance = equity + moved, balance + moved
            equity += r.choice([0, r.randint(-9_000, 9_000), r.randint(-400, 400)])
            balance = equity if r.random() < 0.2 else balance
            if equity > marks.peak:
                marks.rise(equity)
            plain.tell(moment, equity, balance)
        expected = plain.floors()
        told = {floor.rule: floor.at for floor in marks.floors(policy)}
        assert told == {name: floor.numerator // floor.denominator for name, floor in expected.items()}
        for name, floor in expected.items():
            assert (equity <= told[name]) == (equity <= floor)
            broken[name] += equity <= floor
    assert all(count > 100 for count in broken.values()), broken


def test_what_breaks_a_floor_breaks_it_at_the_same_quote_all_along_the_way():
    """The same, asked after every single step of fewer paths."""
    r = random.Random("steps")
    for _ in range(1_500):
        policy = drawn_policy(r)
        moment, balance = r.choice(CHANGES) - r.randrange(1, 40) * HOUR, 1_000_000
        equity = balance
        marks, plain = Watermarks(policy, 2), Plain(policy, balance, equity, moment)
        marks.start(equity, balance, to_ns(moment))
        for _ in range(25):
            moment += timedelta(seconds=r.choice([1, 3_600, 20_000, 90_000]))
            if to_ns(moment) >= marks.next_day_ns:
                marks.turn(equity, balance, to_ns(moment))
            equity += r.randint(-4_000, 4_000)
            if equity > marks.peak:
                marks.rise(equity)
            plain.tell(moment, equity, balance)
            expected = {name for name, floor in plain.floors().items() if equity <= floor}
            assert {floor.rule for floor in marks.floors(policy) if equity <= floor.at} == expected


@pytest.mark.parametrize(("zone", "hour"), [*PLACES, SKIPPED])
def test_days_and_weeks_of_a_zone_begin_where_its_wall_clock_says_so(zone, hour):
    place = ZoneInfo(zone)
    for change in CHANGES:
        moment = change - 100 * HOUR
        for _ in range(400):
            later = moment + timedelta(minutes=30)
            turned = day_of(moment, place, hour) != day_of(later, place, hour)
            assert (to_ns(moment) < next_day_ns(to_ns(moment), zone, hour) <= to_ns(later)) == turned
            begun = datetime.fromtimestamp(week_begin_ns(to_ns(moment), zone, hour) / 1e9, UTC).astimezone(place)
            assert begun.weekday() == (6 if hour >= 12 else 0)
            assert timedelta(0) <= moment - begun < timedelta(days=7, hours=1)
            moment = later


def test_resuming_moves_the_floors_that_are_broken_and_no_other():
    policy = Policy(losses=Losses(static_drawdown_pct_e2=1_000, weekly_loss_pct_e2=300, intraday_drawdown_pct_e2=900))
    marks = Watermarks(policy, 2)
    marks.start(1_000_000, 1_000_000, to_ns(CHANGES[0]))
    before = {floor.rule: floor.at for floor in marks.floors(policy)}
    marks.resume(960_000)
    after = {floor.rule: floor.at for floor in marks.floors(policy)}

    assert before == {"daily_loss": 970_000, "trailing_drawdown": 900_000, "weekly_loss": 970_000,
                      "static_drawdown": 900_000, "intraday_drawdown": 910_000}  # fmt: skip
    assert after == {"daily_loss": 931_200, "trailing_drawdown": 864_000, "weekly_loss": 931_200,
                     "static_drawdown": 900_000, "intraday_drawdown": 910_000}  # fmt: skip
    marks.resume(890_000)
    after = {floor.rule: floor.at for floor in marks.floors(policy)}
    assert (after["static_drawdown"], after["intraday_drawdown"]) == (790_000, 800_000)
