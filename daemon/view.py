"""The live terminal view: a screen of panels on a terminal, a plain line now and then elsewhere. Fed by Status alone.

Theory of operation. `start` takes the screen, `refresh` draws one frame from a fresh snapshot, `stop` draws the last
one and gives the screen back. Where standard output is no terminal, a line is printed at most every `line_every_s`.
Drawing is a pure function of the snapshot (`render`), so a frame can be tested, and exported as a picture
(`export_svg`).
"""

import io
import itertools
import re
import time
from collections.abc import Callable

from rich.align import Align
from rich.box import ROUNDED
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bus.calendar import to_datetime
from daemon.snapshot import ForecastView, HorizonView, Snapshot
from daemon.status import Status

SPARKS = "▁▂▃▄▅▆▇█"
BAND_CELLS = 30
SEA, GOOD, BAD, DIM = "cyan", "green", "red", "dim"
WIDTH, HEIGHT = 104, 33
ROOMY = 100
"""Columns from which on the head of the view has room for everything."""


class View:
    """Shows a status on a console until told to stop."""

    def __init__(
        self,
        status: Status,
        console: Console | None = None,
        *,
        plain: bool = False,
        line_every_s: float = 5.0,
        frame_every_s: float = 0.1,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is shown before `start`.

        Args:
            status: what is shown.
            console: where; None = standard output.
            plain: lines even on a terminal.
            line_every_s: at least this long between two plain lines.
            frame_every_s: at least this long between two frames; drawing one takes about 10 ms.
            clock_s: monotonic seconds.
        """
        self._status = status
        self._console = console or Console()
        self._clock_s = clock_s
        self._drawn = self._console.is_terminal and not plain
        self._every_s = frame_every_s if self._drawn else line_every_s
        self._next_s = 0.0
        self._live: Live | None = None

    def start(self) -> None:
        """Take the screen, where there is one."""
        self._next_s = self._clock_s()
        if self._drawn:
            self._live = Live(self._frame(), console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def refresh(self) -> None:
        """Draw the present state if the last one has stood long enough; cheap to call at any rate."""
        now_s = self._clock_s()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._every_s
        if self._live is not None:
            self._live.update(self._frame(), refresh=True)
        else:
            self._print_line()

    def stop(self) -> None:
        """Leave the last frame (or line) standing and give the screen back. Safe to call twice."""
        if self._next_s == float("inf"):
            return
        self._next_s = float("inf")
        if self._live is None:
            self._print_line()
            return
        frame = self._frame()
        self._live.stop()
        self._live = None
        self._console.print(frame)

    def _frame(self) -> RenderableType:
        height = min(HEIGHT, self._console.size.height - 1) if self._drawn else HEIGHT
        return render(self._status.snapshot(self._clock_s()), height=height, width=self._console.size.width)

    def _print_line(self) -> None:
        self._console.print(line(self._status.snapshot(self._clock_s())), soft_wrap=True, markup=False, highlight=False)


# --- words -----------------------------------------------------------------------------------------------------


def cash(amount: int, snapshot: Snapshot, *, signed: bool = False) -> str:
    """An amount in the account's currency, with thousands separated."""
    value = amount / 10**snapshot.money_digits
    return f"{value:{'+' if signed else ''},.{snapshot.money_digits}f}"


def _when(ts_ns: int) -> str:
    return f"{to_datetime(ts_ns):%Y-%m-%d %H:%M}" if ts_ns else "-"


def _duration(seconds: float) -> str:
    whole = int(seconds + 0.5)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _hue(amount: int) -> str:
    return GOOD if amount > 0 else BAD if amount < 0 else DIM


def line(snapshot: Snapshot) -> str:
    """One plain line with what matters most."""
    counts = snapshot.counts
    coverage = " ".join(
        f"{v.horizon}:{v.measured:.0%}/{v.nominal:.0%}" for v in snapshot.coverage if v.measured is not None
    )
    parts = [
        f"{snapshot.state} {snapshot.progress:4.0%}" if snapshot.progress else snapshot.state,
        f"{_when(snapshot.now_ns)} UTC",
        f"equity {cash(snapshot.equity, snapshot)} {snapshot.currency}",
        f"drawdown {snapshot.drawdown:.1%}",
        f"bars {counts.bars}",
        f"trades {counts.trades}",
        f"open {len(snapshot.positions)}",
        f"refused {counts.refused}",
    ]
    if coverage:
        parts.append(f"coverage {coverage}")
    if snapshot.left_s is not None:
        parts.append(f"{_duration(snapshot.left_s)} left")
    parts += [f"halt {rule}" for rule in snapshot.halts]
    return " | ".join(parts)


def sparkline(values: tuple[int, ...], width: int) -> str:
    """The line in `width` characters: the mean of each slice, scaled between the lowest and the highest."""
    if not values or width < 1:
        return ""
    width = min(width, len(values))
    cuts = [len(values) * cell // width for cell in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]
    low, high = min(means), max(means)
    if high == low:
        return SPARKS[3] * width
    return "".join(SPARKS[round((mean - low) / (high - low) * (len(SPARKS) - 1))] for mean in means)


def interval_bar(view: HorizonView, low_e5: int, high_e5: int, close_e5: int, cells: int = BAND_CELLS) -> Text:
    """An interval on a common scale: ``├──●──┤`` for lower, point, upper, and ``┊`` where the price was."""
    span = max(1, high_e5 - low_e5)

    def cell(price_e5: int) -> int:
        return min(cells - 1, max(0, round((price_e5 - low_e5) / span * (cells - 1))))

    marks = [" "] * cells
    lower, upper = cell(view.lower_e5), cell(view.upper_e5)
    for at in range(lower, upper + 1):
        marks[at] = "─"
    marks[lower], marks[upper] = "├", "┤"
    marks[cell(close_e5)] = "┊"
    marks[cell(view.point_e5)] = "●"
    text = Text("".join(marks), style=SEA)
    text.stylize("bold", cell(view.point_e5), cell(view.point_e5) + 1)
    return text


# --- panels ----------------------------------------------------------------------------------------------------


def _panel(title: str, body: RenderableType) -> Panel:
    return Panel(body, title=f"[bold]{title}[/]", title_align="left", border_style=SEA, box=ROUNDED, padding=(0, 1))


def _table(*columns: str) -> Table:
    """A table whose columns named ``>x`` are flush right."""
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style=DIM)
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
    return table


def _header(snapshot: Snapshot, width: int) -> RenderableType:
    health = snapshot.health
    state = Text(f" {snapshot.state} ", style=f"bold reverse {GOOD if health.ok else BAD}")
    title = Text.assemble(("⊖ Plimsoll ", "bold"), (f"{snapshot.mode} {snapshot.run_id}  ", DIM), state)
    left = f"{_duration(snapshot.left_s)} left" if snapshot.left_s is not None else ""
    pace = f"{snapshot.pace:,.0f}x" if snapshot.pace else snapshot.pace_wanted
    # What the plain width of a terminal cannot hold is left out whole: half a word helps nobody.
    parts = (f"{_when(snapshot.now_ns)} UTC", pace if width >= ROOMY else "", left)
    words = Text("  ".join(part for part in parts if part), style=DIM)
    row = Table.grid(expand=True, padding=(0, 2, 0, 0))
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    bar = ProgressBar(total=1.0, completed=snapshot.progress, complete_style=SEA, finished_style=GOOD)
    row.add_row(title, Align(bar, vertical="middle") if width >= ROOMY else "", words)
    return Panel(row, border_style=SEA, box=ROUNDED)


def _equity(snapshot: Snapshot, width: int) -> Panel:
    change = snapshot.equity - snapshot.start_balance
    top = Text.assemble(
        (f"{cash(snapshot.equity, snapshot)} {snapshot.currency}  ", "bold"),
        (f"{cash(change, snapshot, signed=True)}  ", _hue(change)),
        ("balance ", DIM), f"{cash(snapshot.balance, snapshot)}  ",
        ("costs ", DIM), f"{cash(snapshot.costs, snapshot)}  ",
        ("drawdown ", DIM), f"{snapshot.drawdown:.2%} ",
        (f"(deepest {snapshot.max_drawdown:.2%})", DIM),
    )  # fmt: skip
    return _panel("Equity", Group(top, Text(sparkline(snapshot.equity_line, width), style=SEA)))


def _forecasts(snapshot: Snapshot) -> Panel:
    table = _table("symbol", ">ahead", ">lower", ">point", ">upper", ">level", "")
    for forecast in snapshot.forecasts[:3]:
        bounded = [view for view in forecast.horizons if view.bounded]
        low_e5 = min([forecast.close_e5, *(view.lower_e5 for view in bounded)])
        high_e5 = max([forecast.close_e5, *(view.upper_e5 for view in bounded)])
        for view in forecast.horizons:
            table.add_row(*_forecast_row(forecast, view, low_e5, high_e5))
    newest = max(snapshot.forecasts, key=lambda each: each.as_of_ns, default=None)
    title = f"Last forecast · {newest.model_id} · {_when(newest.as_of_ns)}" if newest else "Last forecast"
    return _panel(title, table if snapshot.forecasts else Text("none yet", style=DIM))


def _forecast_row(forecast: ForecastView, view: HorizonView, low_e5: int, high_e5: int) -> list[RenderableType]:
    def price(price_e5: int) -> str:
        return f"{price_e5 / 1e5:.{forecast.digits}f}"

    point = Text(price(view.point_e5), style=_hue(view.point_e5 - forecast.close_e5))
    if not view.bounded:
        return [forecast.symbol, str(view.horizon), "-", point, "-", f"{view.level_ppm / 1e4:.0f} %", "unbounded"]
    bar = interval_bar(view, low_e5, high_e5, forecast.close_e5)
    ends = price(view.lower_e5), price(view.upper_e5)
    return [forecast.symbol, str(view.horizon), ends[0], point, ends[1], f"{view.level_ppm / 1e4:.0f} %", bar]


def _coverage(snapshot: Snapshot) -> Panel:
    table = _table("ahead", ">promised", ">measured", ">of")
    for view in snapshot.coverage[:4]:
        if view.measured is None:
            table.add_row(str(view.horizon), f"{view.nominal:.1%}", Text("-", style=DIM), "0")
            continue
        # Two standard errors of a share: below that, chance alone explains a shortfall.
        short = view.nominal - view.measured > 2 * (view.nominal * (1 - view.nominal) / view.n) ** 0.5
        measured = Text(f"{view.measured:.1%}", style=BAD if short else GOOD)
        table.add_row(str(view.horizon), f"{view.nominal:.1%}", measured, f"{view.n:,}")
    return _panel("Coverage", table)


def _positions(snapshot: Snapshot) -> Panel:
    table = _table("symbol", "", ">volume", ">entry", ">stop", ">profit")
    for position in snapshot.positions[:4]:
        stop = f"{position.stop_loss_e5 / 1e5:.5f}" if position.stop_loss_e5 else "none"
        table.add_row(
            position.symbol,
            Text("▲ buy" if position.side > 0 else "▼ sell"),
            f"{position.volume_e2 / 100:,.0f}",
            f"{position.entry_e5 / 1e5:.5f}",
            Text(stop, style="" if position.stop_loss_e5 else BAD),
            Text(cash(position.profit, snapshot, signed=True), style=_hue(position.profit)),
        )
    more = len(snapshot.positions) - 4
    return _panel(
        f"Open positions{f' (and {more} more)' if more > 0 else ''}", table if snapshot.positions else _none()
    )


def _none() -> Text:
    return Text("none", style=DIM)


def _refusals(snapshot: Snapshot) -> Panel:
    table = _table("rule", ">times")
    for rule, times in list(snapshot.refusals.items())[:6]:
        table.add_row(rule, f"{times:,}")
    return _panel("Refused by rule", table if snapshot.refusals else _none())


def _patterns(snapshot: Snapshot) -> Panel:
    table = _table("shape", ">times")
    for name, times in list(snapshot.patterns.items())[:6]:
        table.add_row(name.replace("_", " "), f"{times:,}")
    return _panel("Patterns", table if snapshot.patterns else _none())


def _counts(snapshot: Snapshot) -> Panel:
    counts = snapshot.counts
    grid = _table("", ">", "", ">")
    grid.show_header = False
    pairs = [("quotes", counts.quotes), ("bars", counts.bars), ("forecasts", counts.forecasts),
             ("missed", counts.forecasts_missed), ("patterns", counts.patterns), ("intents", counts.intents),
             ("refused", counts.refused), ("orders", counts.orders), ("fills", counts.fills),
             ("trades", counts.trades), ("won", counts.wins), ("halts", counts.halts)]  # fmt: skip
    for (name, value), (name_2, value_2) in zip(pairs[::2], pairs[1::2], strict=True):
        grid.add_row(Text(name, style=DIM), f"{value:,}", Text(name_2, style=DIM), f"{value_2:,}")
    return _panel("Counts", grid)


def _events(snapshot: Snapshot) -> Panel:
    lines = [Text.assemble((f"{_when(ts)}  ", DIM), words) for ts, words in reversed(snapshot.events)]
    reasons = [Text(reason, style=f"bold {BAD}") for reason in snapshot.health.reasons]
    for each in (*reasons, *lines):
        each.no_wrap, each.overflow = True, "ellipsis"
    return _panel("Lately", Group(*reasons, *lines) if reasons or lines else _none())


def render(snapshot: Snapshot, *, height: int = HEIGHT, width: int = WIDTH) -> RenderableType:
    """One frame: what matters most stands highest, so a low terminal loses the least."""
    top = Layout(_header(snapshot, width), size=3)
    equity = Layout(_equity(snapshot, width - 6), size=4)
    rows = sum(len(each.horizons) for each in snapshot.forecasts[:3]) or 1
    forecasts = Layout(_forecasts(snapshot), size=min(12, rows + 3))
    middle, lower = Layout(size=7), Layout(size=8)
    middle.split_row(Layout(_positions(snapshot), ratio=3), Layout(_coverage(snapshot), ratio=2))
    shapes = Layout(_patterns(snapshot), ratio=4)
    lower.split_row(Layout(_refusals(snapshot), ratio=3), shapes, Layout(_counts(snapshot), ratio=4))
    frame = Layout()
    frame.split_column(top, equity, forecasts, middle, lower, Layout(_events(snapshot), minimum_size=3))
    return _Frame(frame, max(12, height))


class _Frame:
    """A layout of a stated height: left alone, it would take the whole screen."""

    def __init__(self, layout: Layout, height: int) -> None:
        self._layout = layout
        self._height = height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._layout, options.update_height(self._height))


def export_svg(status: Status, wall_s: float, *, title: str = "plimsoll paper") -> str:
    """One frame as an SVG picture, for documentation."""
    console = Console(
        record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(render(status.snapshot(wall_s)))
    # The picture names fonts on somebody else's server; without them it uses the reader's own.
    return re.sub(r"@font-face\s*\{[^}]*\}", "", console.export_svg(title=title))
