from bus.values import Side
from strategies.metronome import Metronome, MetronomeParams
from tests.harness.views import StaticView, held


def test_it_acts_on_every_nth_quote_and_alternates_sides():
    view, metronome = StaticView(), Metronome(MetronomeParams(every_quotes=3))
    said = [metronome.on_quote(view.last, view) for _ in range(9)]
    assert [len(x) for x in said] == [0, 0, 1] * 3
    assert [x[0].side for x in said if x] == [Side.BUY, Side.SELL, Side.BUY]


def test_what_it_holds_it_closes_first_and_it_waits_for_answers():
    view, metronome = StaticView(positions=[held(strategy="metronome")]), Metronome(MetronomeParams(every_quotes=1))
    assert [i.action for i in metronome.on_quote(view.last, view)] == ["exit"]
    view.pending = True
    assert metronome.on_quote(view.last, view) == ()
