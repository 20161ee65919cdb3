"""What a search found, and how much of that is luck: figures, a page, and settings that `plimsoll train` takes.

The more is tried, the better the best one looks, whatever it is worth. So the number of attempts is told first; beside
the best trial stands what the luckiest of as many worthless ones would show; and what counts is the later part, which
no trial has seen and where the best was one attempt.
"""

import html
from pathlib import Path
from statistics import NormalDist
from typing import Any

import msgspec

from daemon.config import Config, toml_of
from daemon.research.trials import Trial
from daemon.state import write_durably
from daemon.trainingreport import page
from models.space import Space, Value
from models.train.judging import Gain

_NORMAL = NormalDist()


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the table.

    Attributes:
        role: best, defaults, Pareto, or nothing.
        gain_pct: over the random walk, on the judged rows, in percent of its CRPS.
        error_pct: its standard error.
        forecast_us: microseconds a forecast, where that is searched for.
    """

    number: int
    role: str
    gain_pct: float
    error_pct: float
    forecast_us: float | None
    parameters: dict[str, Value]


class SearchReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is told of a search. Gains are in percent of the random walk's CRPS on the same rows.

    Attributes:
        stopped: why it ended before it had its trials; empty = it has them.
        attempts: trials that came to an end: complete, pruned and failed ones.
        died: trials whose process did; they were tried again and count once.
        rows: of the judged and the later part.
        mean_pct: of the complete trials' gains.
        luck_pct: how far above the mean the luckiest of as many trials would stand if all were worth the same and
            spread as these do (Bailey and Lopez de Prado 2014).
        judged_over_defaults: the best's gain over the defaults on the rows that it was chosen by.
        later: over the random walk on the later rows, of the best and of the defaults.
        later_over_defaults: the best's over the defaults there.
        verdict: the same in sentences.
    """

    study: str
    model: str
    symbols: tuple[str, ...]
    horizons: tuple[int, ...]
    storage: str
    sampler: str
    pruner: str
    seed: int
    stopped: str
    attempts: int
    complete: int
    pruned: int
    failed: int
    died: int
    rows: dict[str, int]
    best: dict[str, Value]
    defaults: dict[str, Value]
    entries: tuple[Entry, ...]
    mean_pct: float
    luck_pct: float
    judged_over_defaults: Gain
    later: dict[str, Gain]
    later_over_defaults: Gain
    trials: tuple[Trial, ...]
    verdict: tuple[str, ...] = ()


def verdict(report: SearchReport) -> tuple[str, ...]:
    """What the figures say, and what they do not."""
    best = next(each for each in report.entries if each.role.startswith("best"))
    over, later = report.judged_over_defaults, report.later_over_defaults
    died = f"; {report.died} died and were tried again" if report.died else ""
    ended = f" The search is not at its end: {report.stopped}." if report.stopped else ""
    made = (
        f"{report.attempts} attempts were made: {report.complete} complete, {report.pruned} pruned, "
        f"{report.failed} failed{died}.{ended}"
    )
    luck = (
        f"On the rows that it was chosen by, the best gains {_pct(best.gain_pct, best.error_pct)} over the random "
        f"walk. The trials' mean is {report.mean_pct:+.4f} %; the luckiest of {report.attempts} equal ones would stand "
        f"{report.luck_pct:.4f} % above it, and it stands {best.gain_pct - report.mean_pct:.4f} % above."
    )
    if report.best == report.defaults:
        nothing = "Nothing that was tried beats the defaults: there is nothing to take."
        return made, luck, nothing, _later_line(report)
    chance = 0.5 if over.error_pct <= 0.0 else 1.0 - _NORMAL.cdf(over.pct / over.error_pct)
    chosen = (
        f"There it gains {_pct(over.pct, over.error_pct)} over the defaults: p = {chance:.3g} for one attempt, "
        f"{1.0 - (1.0 - chance) ** report.attempts:.3g} for {report.attempts} of them (Sidak 1967)."
    )
    clear = later.pct > 2.0 * later.error_pct > 0.0
    edge = report.later["best"]
    so = "keep the defaults"
    if clear:
        better = edge.pct > 2.0 * edge.error_pct > 0.0
        so = "take it" if better else "take it in place of the defaults, but neither is better than the random walk"
    once = (
        f"There, as one attempt, it gains {_pct(later.pct, later.error_pct)} over the defaults, "
        f"{'more' if clear else 'not more'} than twice its standard error: {so}."
    )
    return made, luck, chosen, _later_line(report), once


def _later_line(report: SearchReport) -> str:
    best, usual = report.later["best"], report.later["defaults"]
    return (
        f"On {report.rows['later']:,} later rows, which no trial saw, the best gains {_pct(best.pct, best.error_pct)} "
        f"over the random walk, the defaults {_pct(usual.pct, usual.error_pct)}."
    )


def _pct(value: float, error: float) -> str:
    return f"{value:+.4f} % (standard error {error:.4f})"


def table(report: SearchReport) -> list[list[str]]:
    """The best trials, the defaults and the random walk; the first row is the heading."""
    timed = any(each.forecast_us is not None for each in report.entries)
    names = list(report.defaults)
    rows = [["trial", "", "gain %", "s.e.", *(["us"] if timed else []), *names]]
    for each in report.entries:
        shown = [_value(each.parameters.get(name, "")) for name in names]
        spent = [f"{each.forecast_us:.0f}" if each.forecast_us is not None else ""] if timed else []
        rows.append([str(each.number), each.role, f"{each.gain_pct:+.4f}", f"{each.error_pct:.4f}", *spent, *shown])
    rows.append(["-", "random walk", "+0.0000", "-", *([""] if timed else []), *("" for _ in names)])
    return rows


def _value(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def snippet(config: Config, model: str, space: Space, best: dict[str, Value]) -> str:
    """The best settings as a configuration, with what else of data, horizons and training was set.

    It holds everything that training depends on, so that `plimsoll train --config FILE` needs nothing besides.
    """
    given: dict[str, Any] = msgspec.to_builtins(config)
    kept: dict[str, dict[str, Any]] = {}
    for key in config.sources:
        section, _, name = key.partition(".")
        if section in {"data", "forecast", "training"} and name:
            kept.setdefault(section, {})[name] = given[section][name]
    own = dict(config.models.parameters.get(model, {}))
    for dimension in space:
        if dimension.section == "training":
            kept.setdefault("training", {})[dimension.name] = best[dimension.name]
        else:
            own[dimension.name] = best[dimension.name]
    kept["models"] = {"architectures": [model], "seed": config.models.seed}
    if own:
        kept[f"models.parameters.{model}"] = own
    lines = ["# The best settings of a search; report.html beside this file says how far to believe them."]
    for section, values in kept.items():
        lines += ["", f"[{section}]", *(f"{name} = {toml_of(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def write(folder: Path, report: SearchReport, settings: str) -> None:
    """Write report.json, report.html and search.toml."""
    write_durably(folder / "search.toml", settings.encode())
    write_durably(folder / "report.json", msgspec.json.format(msgspec.json.encode(report), indent=2))
    write_durably(folder / "report.html", _html(report, settings).encode())


def _html(report: SearchReport, settings: str) -> str:
    heading, *rows = table(report)
    facts = {
        "network": report.model,
        "symbols": ", ".join(report.symbols),
        "bars ahead": ", ".join(map(str, report.horizons)),
        "sampler, pruner, seed": f"{report.sampler}, {report.pruner}, {report.seed}",
        "judged rows, later rows": f"{report.rows['judged']:,}, {report.rows['later']:,}",
        "trials are kept in": report.storage,
    }
    every = [["trial", "state", "gain %", "epochs told", "s", "parameters", ""]]
    every += [
        [str(each.number), each.state, f"{each.attributes['gain_pct']:+.4f}" if each.values else "", str(each.steps),
         f"{each.seconds:.1f}", " ".join(f"{name}={_value(value)}" for name, value in each.parameters.items()),
         each.reason]
        for each in report.trials
    ]  # fmt: skip
    parts = [
        f"<h1>Search {html.escape(report.study)}</h1>",
        *(f"<p>{html.escape(line)}</p>" for line in report.verdict),
        "<h2>The best trials, the defaults and the random walk</h2>",
        "<p>Gains are percent of the random walk's CRPS on the judged rows; more is better.</p>",
        _rows([heading, *rows]),
        "<h2>As settings</h2>",
        f"<pre>{html.escape(settings)}</pre>",
        "<h2>What was searched</h2>",
        _rows([["", ""], *([name, value] for name, value in facts.items())]),
        "<h2>Every trial</h2>",
        _rows(every),
    ]
    return page(f"Search {report.study}", parts)


def _rows(rows: list[list[str]]) -> str:
    head, *rest = rows
    top = "".join(f"<th>{html.escape(each)}</th>" for each in head)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(each)}</td>' for each in row)}</tr>" for row in rest)
    return f"<table><tr>{top}</tr>{body}</table>"
