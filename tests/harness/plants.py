"""Chart patterns to be found: drawn with random size, duration and noise, in the midst of a random walk.

All is drawn in average true ranges: a candle of the surroundings moves by a normal step of STEP and has two
exponential wicks of WICK, so that its true range is 1 on average. A formation is a skeleton of straight legs; each
close is off the skeleton by normal noise, and wicks are those of the surroundings. Legs last so long that they move
by at most 0.8 a candle, spread by length and chance. At the end everything is multiplied by a random range and set at
a random price, as a market would quote it. Every plant is drawn bullish; a bearish one is turned upside down.

`RECIPES` has a recipe for every pattern of the catalogue under its bullish name; the contract suite insists on it. What
a recipe draws lies within the geometry before noise and wicks are added, and the noise decides what is left of it:
recall on plants is a statement about noise, not about markets.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bus.values import NS_PER_HOUR
from models.columns import Columns
from models.contract import Pattern

STEP, WICK = 0.6, 0.26
BEFORE = (150, 190)
AFTER = 6
NOISE = (0.1, 0.3)
"""Standard deviation of closes about the skeleton, drawn evenly for each plant."""


@dataclass(frozen=True)
class Drawn:
    """Candles in ATRs: rows of open, high, low, close and volume; `done` are the rows that may complete the pattern."""

    rows: np.ndarray
    done: range


@dataclass(frozen=True)
class Plant:
    """A market with one pattern in it, to be told once at one of the bars of `done`."""

    columns: Columns
    done: range


def plant(pattern: Pattern, direction: int, seed: int, noise: float | None = None) -> Plant:
    """A pattern amid a random walk; `noise` fixes what is otherwise drawn from NOISE."""
    random = np.random.default_rng((seed, direction + 1))
    drawn = RECIPES[pattern.bullish](random, random.uniform(*NOISE) if noise is None else noise)
    before = candles(random, np.cumsum(random.normal(0.0, STEP, int(random.integers(*BEFORE)))), 0.0)
    middle = drawn.rows.copy()
    middle[:, :4] += before[-1, 3] - middle[0, 0]
    after = candles(random, middle[-1, 3] + np.cumsum(random.normal(0.0, STEP, AFTER)), middle[-1, 3])
    rows = np.concatenate((before, middle, after))
    point = np.exp(random.uniform(np.log(30.0), np.log(3000.0)))
    prices = np.round(rows[:, :4] * point).astype(np.int64)
    if direction < 0:
        prices = -prices[:, [0, 2, 1, 3]]
    prices += int(point * 200 * np.exp(random.uniform(0.0, 3.0))) - prices.min()
    columns = Columns(
        period_ns=NS_PER_HOUR,
        ts_open_ns=np.arange(len(rows)) * NS_PER_HOUR,
        open_e5=prices[:, 0],
        high_e5=prices[:, 1],
        low_e5=prices[:, 2],
        close_e5=prices[:, 3],
        spread_e5=np.zeros(len(rows), np.int64),
        quotes=np.round(rows[:, 4] * 500).astype(np.int64) + 1,
    )
    return Plant(columns, range(len(before) + drawn.done.start, len(before) + drawn.done.stop))


def candles(random, closes, start):
    """Candles with these closes, the first opening at `start`, each other where the one before closed."""
    opens = np.r_[start, closes[:-1]]
    return wicked(random, np.column_stack((opens, opens, opens, closes, random.lognormal(0.0, 0.25, len(closes)))))


def wicked(random, rows):
    """The same opens and closes with wicks."""
    rows[:, 1] = np.maximum(rows[:, 0], rows[:, 3]) + random.exponential(WICK, len(rows))
    rows[:, 2] = np.minimum(rows[:, 0], rows[:, 3]) - random.exponential(WICK, len(rows))
    return rows


def newest(rows):
    """Drawn candles that the newest completes."""
    return Drawn(rows, range(len(rows) - 1, len(rows)))


def skeleton(random, levels, bars, noise):
    """Straight legs from 0 over `levels`, `bars[i]` candles each, with noise; completed within the last leg."""
    legs = zip([0.0, *levels], levels, bars, strict=False)
    points = np.concatenate([np.linspace(start, stop, n + 1)[1:] for start, stop, n in legs])
    rows = candles(random, points + random.normal(0.0, noise, len(points)), 0.0)
    return Drawn(rows, range(len(points) - bars[-1], len(points)))


def spread_out(random, levels, most):
    """Candles a leg, `most` in all or a few more."""
    heights = np.abs(np.diff([0.0, *levels]))
    least = heights.sum() / 0.8
    shares = heights * random.uniform(0.75, 1.3, len(heights))
    return np.maximum(3, np.round(random.uniform(least, max(least, most)) * shares / shares.sum())).astype(int).tolist()


def bottoms(count, tallest):
    """A fall of 1.5 to 2.2 heights, `count` bottoms within 5 % of a height, necks within 5 %, and 2 to 4 ATR beyond."""

    def recipe(random, noise):
        height = random.uniform(5.0, tallest)
        floor = -height * random.uniform(1.5, 2.2)
        levels = [floor]
        for _ in range(count - 1):
            levels += [floor + height * random.uniform(0.95, 1.05), floor + height * random.uniform(-0.05, 0.05)]
        levels.append(floor + height * 1.05 + random.uniform(2.0, 4.0))
        return skeleton(random, levels, spread_out(random, levels, 110), noise)

    return recipe


def inverse_head_and_shoulders(random, noise):
    """A head of 6 to 9, shoulders of 45 to 55 % of it, a neck tilted by up to 10 % between its tops."""
    head = random.uniform(6.0, 9.0)
    left, right = (head * random.uniform(0.45, 0.55) for _ in range(2))
    tilt = head * random.uniform(-0.1, 0.1)
    floor = -left - head * random.uniform(0.5, 0.9)
    neck = floor + left
    levels = [floor, neck, neck + tilt / 2 - head, neck + tilt, neck + tilt * 1.5 - right,
              neck + tilt * 2 + random.uniform(2.0, 4.0)]  # fmt: skip
    return skeleton(random, levels, spread_out(random, levels, 120), noise)


def ascending_triangle(random, noise):
    """A height of 6 to 10, the second bottom 40 to 60 % of it higher, tops within 3 %."""
    height = random.uniform(6.0, 10.0)
    top = height * random.uniform(0.6, 1.0)
    levels = [top, top - height, top + height * random.uniform(-0.03, 0.03),
              top - height * random.uniform(0.4, 0.6), top + height * 0.03 + random.uniform(2.0, 4.0)]  # fmt: skip
    return skeleton(random, levels, spread_out(random, levels, 100), noise)


def symmetrical_triangle(random, noise):
    """A height of 7 to 11, the second top 25 to 35 % of it lower, the second bottom 25 to 35 % higher."""
    height = random.uniform(7.0, 11.0)
    top = height * random.uniform(0.6, 1.0)
    second = top - height * random.uniform(0.25, 0.35)
    levels = [top, top - height, second, top - height * random.uniform(0.65, 0.75),
              second + random.uniform(2.0, 4.0)]  # fmt: skip
    return skeleton(random, levels, spread_out(random, levels, 100), noise)


def flag(random, noise):
    """A pole of 7 to 12 at 1 to 2 a candle, 10 to 18 candles back by 15 to 30 % of it, and 3 to 5 up in 3."""
    pole = random.uniform(7.0, 12.0)
    back = pole * random.uniform(0.15, 0.3)
    bars = [min(8, int(np.ceil(pole / random.uniform(1.0, 2.0)))), int(random.integers(10, 19)), 3]
    return skeleton(random, [pole, pole - back, pole - back + random.uniform(3.0, 5.0)], bars, noise)


def range_breakout(random, noise):
    """28 to 59 candles that close within 1 to 2.2 (and noise), and one 0.5 to 2 beyond with 2 to 4 times the volume."""
    half, n = random.uniform(0.5, 1.1), int(random.integers(28, 60))
    closes = np.clip(random.normal(0.0, half, n), -half, half) + random.normal(0.0, noise, n)
    rows = candles(random, closes, 0.0)
    last = candles(random, np.array([rows[-24:, 1].max() + random.uniform(0.5, 2.0)]), closes[-1])
    last[0, 4] = rows[-24:, 4].mean() * random.uniform(2.0, 4.0)
    return newest(np.concatenate((rows, last)))


def engulfing(random, _):
    """A falling body of 0.2 to 0.8; a rising one of 0.8 to 2.5 from at or below its end, 1.3 to 2.5 times as large."""
    first = random.uniform(0.2, 0.8)
    second = max(first * random.uniform(1.3, 2.5), random.uniform(0.8, 2.5))
    opening = -first - random.uniform(-0.05, 0.2)
    rows = np.array([[0.0, 0, 0, -first, 1.0], [opening, 0, 0, max(opening + second, 0.01), 1.0]])
    return newest(wicked(random, rows))


def pin_bar(random, _):
    """A candle of 1.2 to 3, its lower wick 70 to 95 % of it, its upper one at most half of the rest, a new low."""
    span, lower = random.uniform(1.2, 3.0), random.uniform(0.7, 0.95)
    body = [lower * span, (1.0 - (1.0 - lower) * random.uniform(0.0, 0.5)) * span]
    opening, close = random.permutation(body)
    before = wicked(random, np.array([[random.uniform(-0.3, 0.3), 0, 0, 0.0, 1.0]]))
    before[0, 2] = max(before[0, 2], 0.05 - opening)
    return newest(np.concatenate((before, [[0.0, span - opening, -opening, close - opening, 1.0]])))


def inside_bar(random, _):
    """A mother of 1.2 to 3 and a candle of 10 to 60 % of it within."""
    mother, share = random.uniform(1.2, 3.0), random.uniform(0.1, 0.6)
    low = random.uniform(0.05, 0.95 - share) * mother
    opening, close = random.uniform(0.0, mother, 2)
    first, last = random.uniform(low, low + share * mother, 2)
    return newest(np.array([[opening, mother, 0.0, close, 1.0], [first, low + share * mother, low, last, 1.0]]))


def three_in_a_row(random, _):
    """After a candle that stands still three bodies of 0.6 to 1.5, each wick at most 30 % of its body."""
    bodies = random.uniform(0.6, 1.5, 3)
    closes = np.cumsum(bodies)
    wicks = bodies * random.uniform(0.0, 0.3, (2, 3))
    opens = closes - bodies
    rows = np.column_stack((opens, closes + wicks[0], opens - wicks[1], closes, np.ones(3)))
    return newest(np.concatenate(([[0.1, 0.4, -0.4, 0.0, 1.0]], rows)))


RECIPES: dict[str, Callable] = {
    "bullish_engulfing": engulfing,
    "bullish_pin_bar": pin_bar,
    "inside_bar": inside_bar,
    "three_white_soldiers": three_in_a_row,
    "double_bottom": bottoms(2, 9.0),
    "triple_bottom": bottoms(3, 7.0),
    "inverse_head_and_shoulders": inverse_head_and_shoulders,
    "ascending_triangle": ascending_triangle,
    "symmetrical_triangle": symmetrical_triangle,
    "range_breakout_up": range_breakout,
    "bull_flag": flag,
}
