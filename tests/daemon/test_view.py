"""The terminal view and its plain lines."""

import io
import re
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bus import messages as m
from daemon.snapshot import HorizonView
from daemon.status import Status
from daemon.view import SPARKS, View, cash, export_svg, interval_bar, line, render, sparkline
from tests.harness import records as r


@pytest.fixture
def status():
    folded = Status()
    for seq, message in r.journal(trades=8)[:-1]:
        folded.watch(seq, message)
    order = r.submit(5000, 1)
    folded.apply(r.fill(5000, order, 1, 110_000, "p", folded.balance, order.volume_e2))
    return folded


def shown(status, width=104, height=40, terminal=True):
    """What stands on a screen after start, refresh and stop."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, height=height, color_system=None)
    view = View(status, console, clock_s=lambda: 1.0)
    view.start()
    view.refresh()
    view.stop()
    view.stop()
    return console.file.getvalue()


def test_the_screen_shows_what_a_trader_looks_for(status):
    status.apply(r.pattern("double_top", confidence_ppm=630_000))
    text = shown(status)

    for words in (
        "double top",
        "double_top (63% clear)",
        "Plimsoll",
        "running",
        cash(status.equity, status.snapshot(0.0)),
        "EURUSD",
        "1.10050",
        "├",
        "●",
        "90.0%",
        "62.5%",
        "exposure",
        "▲ buy",
    ):
        assert words in text


def test_the_last_frame_stays_on_the_screen(status):
    assert shown(status).rstrip().rsplit("Lately", 1)[1].count("╯") == 1


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 24), (200, 60), (20, 3)])
def test_any_size_of_terminal_will_do(status, width, height):
    rows = shown(status, width, height).splitlines()

    assert rows
    assert all(len(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", row)) <= width for row in rows)


def test_the_head_of_a_plain_terminal_holds_whole_words(status):
    console = Console(file=io.StringIO(), width=80, height=24)
    snapshot = msgspec.structs.replace(status.snapshot(10.0), run_id="0001", pace=13_078.0, left_s=270.0)
    console.print(render(snapshot, width=80, height=24))
    head = console.file.getvalue().splitlines()[1]

    assert "…" not in head
    assert "4 min 30 s left" in head


def test_an_empty_status_can_be_shown():
    assert "starting" in shown(Status())
    assert "starting" in shown(Status(), terminal=False)


def test_where_there_is_no_terminal_plain_lines_come_at_their_interval(status):
    now = [0.0]
    console = Console(file=io.StringIO(), force_terminal=False, width=60)
    view = View(status, console, line_every_s=5.0, clock_s=lambda: now[0])
    view.start()
    for second in range(12):
        now[0] = float(second)
        view.refresh()
    view.stop()
    lines = console.file.getvalue().splitlines()

    assert len(lines) == 4  # at 0, 5 and 10 seconds, and the last state
    assert all(text.startswith("running | ") for text in lines)
    assert "\x1b" not in console.file.getvalue()


def test_plain_lines_can_be_had_on_a_terminal_as_well(status):
    console = Console(file=io.StringIO(), force_terminal=True, width=60)
    view = View(status, console, plain=True, clock_s=lambda: 1.0)
    view.start()
    view.stop()

    assert console.file.getvalue().startswith("running | ")


def test_frames_are_not_drawn_more_often_than_a_person_can_see(status):
    console, now = Console(file=io.StringIO(), force_terminal=True, width=100, height=40), [0.0]
    view = View(status, console, frame_every_s=0.1, clock_s=lambda: now[0])
    view.start()
    view.refresh()
    before = len(console.file.getvalue())
    now[0] = 0.05
    view.refresh()
    assert len(console.file.getvalue()) == before
    now[0] = 0.11
    view.refresh()
    assert len(console.file.getvalue()) > before
    view.stop()


def test_a_halt_is_seen_in_both_forms(status):
    status.apply(
        m.HaltLatched(
            level=m.HaltLevel.FLATTEN, rule="daily_loss", limit="", value="", reason="lost [2 %]", ts_init_ns=1
        )
    )

    assert "halt daily_loss: flatten: lost [2 %]" in shown(status)
    assert line(status.snapshot(0.0)).endswith("halt daily_loss")


def test_the_picture_is_an_svg_that_loads_nothing(status):
    picture = export_svg(status, 1.0)

    assert ET.fromstring(picture).tag.endswith("svg")
    assert "url(http" not in picture.replace('url("http', "url(http")
    assert cash(status.equity, status.snapshot(0.0)) in picture


@given(st.lists(st.integers(-(10**12), 10**12), max_size=200), st.integers(0, 80))
def test_a_sparkline_fits_and_keeps_its_ends_in_order(values, width):
    drawn = sparkline(tuple(values), width)

    assert len(drawn) == min(width, len(values))
    assert set(drawn) <= set(SPARKS)
    if len(values) <= width and len(set(values)) > 1:
        assert drawn[values.index(max(values))] == SPARKS[-1]
        assert drawn[values.index(min(values))] == SPARKS[0]


@given(
    st.lists(st.integers(90_000, 130_000), min_size=3, max_size=3).map(sorted),
    st.integers(90_000, 130_000),
    st.integers(5, 60),
)
def test_an_interval_bar_holds_its_point_between_its_ends(prices, close_e5, cells):
    lower, point, upper = prices
    view = HorizonView(horizon=1, point_e5=point, lower_e5=lower, upper_e5=upper, level_ppm=900_000, bounded=True)

    text = interval_bar(view, min(lower, close_e5), max(upper, close_e5), close_e5, cells).plain

    assert len(text) == cells
    assert "●" in text
    if "├" in text and "┤" in text:
        assert text.index("├") < text.index("●") < text.index("┤")
