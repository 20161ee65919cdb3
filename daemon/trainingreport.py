"""A training run on one page: what ran and why, loss curves, what was saved, what it ran on. One file, no scripts.

Made from the run's own files alone, so that it can be written again at any time, whatever became of the run.
"""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from daemon.state import write_durably

_WIDTH, _HEIGHT, _EDGE = 720, 240, 44
_COLOURS = {"train_loss": "#7a8fa6", "validation_loss": "#c0392b"}
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1,h2{font-weight:600}table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;
vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}pre{background:#f5f5f2;padding:1rem;
overflow-x:auto;font-size:12px}svg{max-width:100%;height:auto}.t{fill:#666;font-size:12px}"""


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run's folder, and return its path."""
    records = _records(folder / "metrics.jsonl")
    log = _text(folder / "log.txt")
    parts = [f"<h1>Training run {html.escape(folder.name)}</h1>", f"<p>{_outcome(folder, log)}</p>"]
    jobs = dict.fromkeys((record["symbol"], record["network"]) for record in records if "network" in record)
    for symbol, network in jobs:
        mine = [each for each in records if (each.get("symbol"), each.get("network")) == (symbol, network)]
        parts += [f"<h2>{html.escape(symbol)} {html.escape(network)}</h2>", _summary(mine), curves(mine)]
    parts += ["<h2>Environment</h2>", _environment(folder / "environment.json")]
    parts += ["<h2>Log</h2>", f"<pre>{html.escape(log)}</pre>"]
    parts += ["<h2>Settings</h2>", f"<pre>{html.escape(_settings(folder / 'config.json'))}</pre>"]
    path = folder / "report.html"
    write_durably(path, page(f"Training run {folder.name}", parts).encode())
    return path


def page(title: str, parts: Sequence[str]) -> str:
    """A page without scripts: a title, and parts that are HTML already."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><body>{''.join(parts)}</body>"
        "</html>"
    )


def curves(records: Sequence[Mapping[str, Any]]) -> str:
    """Losses over epochs as an SVG; nothing where no epoch was finished; an epoch's later record counts."""
    epochs = {each["epoch"]: each for each in records if each.get("kind") == "epoch"}
    lines = {
        name: [(epoch, each[name]) for epoch, each in sorted(epochs.items()) if math.isfinite(each.get(name, math.nan))]
        for name in _COLOURS
    }
    values = [value for line in lines.values() for _, value in line]
    if not values:
        return "<p>No epoch was finished.</p>"
    low, high, last = min(values), max(values), max(epochs)
    span = (high - low) or 1.0

    def place(epoch: int, value: float) -> str:
        x = _EDGE + (epoch - 1) / max(1, last - 1) * (_WIDTH - 2 * _EDGE)
        return f"{x:.1f},{_HEIGHT - _EDGE - (value - low) / span * (_HEIGHT - 2 * _EDGE):.1f}"

    drawn: list[str] = []
    for index, (name, line) in enumerate((name, line) for name, line in lines.items() if line):
        colour, points = _COLOURS[name], " ".join(place(*each) for each in line)
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        drawn += [f'<circle r="2.5" fill="{colour}" cx="{x}" cy="{y}"/>' for x, y in
                  (point.split(",") for point in points.split())]  # fmt: skip
        drawn.append(
            f'<text x="{_EDGE + 130 * index}" y="16" fill="{colour}" class="t">{name.replace("_", " ")}</text>'
        )
    for value, y in ((high, _EDGE), (low, _HEIGHT - _EDGE)):
        drawn.append(f'<text x="2" y="{y + 4}" class="t">{value:.4g}</text>')
    drawn.append(f'<text x="{_WIDTH - _EDGE - 60}" y="{_HEIGHT - 12}" class="t">epoch {last}</text>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="losses by epoch">{"".join(drawn)}</svg>'


def _summary(records: Sequence[Mapping[str, Any]]) -> str:
    epochs = [each for each in records if each.get("kind") == "epoch"]
    if not epochs:
        return "<p>No epoch was finished.</p>"
    last = epochs[-1]
    speeds = sorted(each["samples_per_s"] for each in epochs)
    rows = {
        "epochs": f"{last['epoch']} of at most {last['epochs']}",
        "steps": f"{last['step']:,}",
        "best loss on the validation part": f"{last['best_loss']:.6g}" if "best_loss" in last else "-",
        "last learning rate": f"{last['rate']:.3g}",
        "samples a second, median of the epochs": f"{speeds[len(speeds) // 2]:,.0f}",
        "checkpoints": str(sum(each.get("kind") == "checkpoint" for each in records)),
    }
    cells = "".join(f'<tr><td>{name}</td><td class="n">{value}</td></tr>' for name, value in rows.items())
    return f"<table>{cells}</table>"


def _outcome(folder: Path, log: str) -> str:
    if (folder / "finished").exists():
        return "Finished; what it trained is published."
    last = log.strip().splitlines()[-1] if log.strip() else "nothing was logged"
    return f"Not finished; the same command continues it. Its last words: {html.escape(last)}"


def _environment(path: Path) -> str:
    try:
        facts = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return "<p>Not known.</p>"
    rows = "".join(
        f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(str(value))}</td></tr>" for name, value in facts.items()
    )
    return f"<table>{rows}</table>"


def _settings(path: Path) -> str:
    try:
        return msgspec.json.format(path.read_bytes(), indent=2).decode()
    except (OSError, msgspec.MsgspecError):
        return "not known"


def _records(path: Path) -> list[dict[str, Any]]:
    """Every whole line; the last may have been cut short."""
    found: list[dict[str, Any]] = []
    for line in _text(path).splitlines():
        try:
            found.append(msgspec.json.decode(line, type=dict[str, Any]))
        except msgspec.MsgspecError:
            continue
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
