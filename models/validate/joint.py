"""The default's bands over all horizons at once, made in two ways, and whether whole paths stayed within them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bus.messages import Band
from models import scores
from models.columns import Floats, Ints
from models.conformal import (
    JointCalibrator,
    Pid,
    bonferroni_ppm,
    calibrator,
    rates,
    score,
    step_for,
    stride_for,
)
from models.validate.rows import DEFAULT, Issued, JointRow, round_to


@dataclass(frozen=True, kw_only=True)
class Paths:
    """A market, the scale of each horizon at each close (shape (n, horizons), 0 = not yet), and where counting starts.

    The older half of what comes before `start` gives the joint scores' rates, the newer half warms calibrators up.
    """

    symbol: str
    horizons: tuple[str, ...]
    bars: tuple[int, ...]
    level_ppm: int
    close_e5: Ints
    scales_e5: Ints
    start: int

    @cached_property
    def known(self) -> int:
        """The first row with a scale for every horizon."""
        return int(np.argmax((self.scales_e5 > 0).all(axis=1)))

    @cached_property
    def first(self) -> int:
        """The first row that bands are issued on."""
        return (self.known + self.start) // 2

    @property
    def stop(self) -> int:
        """Behind the last row whose whole path is in the data."""
        return len(self.close_e5) - max(self.bars)


def joint_rows(paths: Paths) -> Iterator[JointRow]:
    """By the largest score of a path (`models.conformal.joint`), and each horizon by itself at Bonferroni's level."""
    yield _row(paths, "max-score", _together(paths))
    yield _row(paths, "bonferroni", _apart(paths))


def _together(paths: Paths) -> list[list[Band]]:
    longest, closes = max(paths.bars), paths.close_e5.tolist()
    all_scores = _scores(paths)
    usual = rates(all_scores[paths.known : paths.first - longest].T.tolist(), 1.0 - paths.level_ppm / 1e6)
    step = step_for(longest)
    joint = JointCalibrator(
        (paths.level_ppm,), usual, method=lambda target: Pid(target, step), stride=stride_for(longest)
    )
    issued: list[list[Band]] = []
    for row in range(paths.first, paths.stop):
        due = row - longest
        if due >= paths.first:
            held = all(_holds(issued[due - paths.first], [closes[due + ahead] for ahead in paths.bars]))
            joint.update(all_scores[due].tolist(), (held,))
        bands = joint.bands([closes[row]] * len(paths.bars), paths.scales_e5[row].tolist())
        issued.append([levels[0] for levels in bands])
    return issued


def _apart(paths: Paths) -> list[list[Band]]:
    closes = paths.close_e5.tolist()
    level_ppm = bonferroni_ppm(paths.level_ppm, len(paths.bars))
    columns: list[list[Band]] = []
    for column, ahead in enumerate(paths.bars):
        own, scales = calibrator((level_ppm,), ahead), paths.scales_e5[:, column].tolist()
        issued: list[Band] = []
        for row in range(paths.first, paths.stop):
            due = row - ahead
            if due >= paths.first:
                held = _holds([issued[due - paths.first]], [closes[row]])
                own.update(score(closes[row], closes[due], scales[due]), held)
            issued.append(own.interval(closes[row], scales[row])[0])
        columns.append(issued)
    return [list(bands) for bands in zip(*columns, strict=True)]


def _scores(paths: Paths) -> Floats:
    """|y - point| / scale, shape (rows up to `stop`, horizons)."""
    stop = paths.stop
    columns = [
        np.abs(paths.close_e5[ahead : stop + ahead] - paths.close_e5[:stop])
        / np.maximum(paths.scales_e5[:stop, column], 1)
        for column, ahead in enumerate(paths.bars)
    ]
    return np.stack(columns, axis=1)


def _holds(bands: Sequence[Band], truths: Sequence[int]) -> list[bool]:
    return [
        not band.bounded or band.lower_e5 <= truth <= band.upper_e5 for band, truth in zip(bands, truths, strict=True)
    ]


def _row(paths: Paths, method: str, issued: Sequence[Sequence[Band]]) -> JointRow:
    counted = issued[paths.start - paths.first :]
    truths = np.stack([paths.close_e5[paths.start + ahead : paths.stop + ahead] for ahead in paths.bars], axis=1)
    close = paths.close_e5[paths.start : paths.stop]
    widths: list[float] = []
    held = np.ones(len(counted), bool)
    bounded = np.ones(len(counted), bool)
    for column in range(len(paths.bars)):
        bands = [path[column] for path in counted]
        one = Issued(
            lower_e5=np.array([band.lower_e5 for band in bands]),
            upper_e5=np.array([band.upper_e5 for band in bands]),
            bounded=np.array([band.bounded for band in bands]),
        )
        held &= one.held(truths[:, column])
        bounded &= one.bounded
        width = one.width_bp(close)
        if width is not None:
            widths.append(width)
    found = scores.coverage(held, overlap=max(paths.bars))
    return JointRow(
        symbol=paths.symbol,
        horizons=paths.horizons,
        model=DEFAULT[0],
        method=method,
        n=found.n,
        effective=found.effective,
        coverage=round_to(found.share),
        coverage_lo=round_to(found.low),
        coverage_hi=round_to(found.high),
        width=round_to(sum(widths) / len(widths)) if len(widths) == len(paths.bars) else None,
        unbounded=int((~bounded).sum()),
    )
