import msgspec

from bus.messages import HaltLatched, HaltLevel, HaltLifted, HaltTrading, ResumeRefused, ResumeTrading
from risk.halt import Halts
from risk.policy import Policy
from tests.harness.books import NOW_NS, begun, empty_book, opened, quote

POLICY = Policy(daily_loss_pct_e2=200, trailing_drawdown_pct_e2=500)
RESUME = ResumeTrading(operator="mo", reason="looked", ts_init_ns=NOW_NS)


def command(level, source="cli"):
    return HaltTrading(level=level, source=source, operator="mo", reason="news", ts_init_ns=NOW_NS)


def losing(points):
    book = begun()
    opened(book, volume=10_000_000, price=120_000, commission=0)
    book.mark(quote(bid=120_000 - points))
    return book


def test_a_daily_loss_on_floating_equity_latches_once_and_stays_when_prices_come_back():
    book, halts = losing(199), Halts()
    assert halts.check(book, POLICY, NOW_NS) is None
    book.mark(quote(bid=119_800))
    latched = halts.check(book, POLICY, NOW_NS)
    assert (latched.rule, latched.level) == ("daily_loss", HaltLevel.FLATTEN)
    assert (latched.limit, latched.value) == ("2.00 % of 1000000", "20000 lost, 2.00 %")
    assert halts.check(book, POLICY, NOW_NS) is None
    book.mark(quote(bid=121_000))
    assert halts.check(book, POLICY, NOW_NS) is None
    assert halts.level is HaltLevel.FLATTEN


def test_a_drawdown_from_the_highest_floating_equity_latches_beside_the_daily_loss():
    book, halts = losing(0), Halts()
    book.mark(quote(bid=120_400))
    assert book.peak_equity == 1_040_000
    book.mark(quote(bid=119_879))
    latched = halts.check(book, POLICY, NOW_NS)
    assert latched.rule == "trailing_drawdown"
    book.mark(quote(bid=119_000))
    assert halts.check(book, POLICY, NOW_NS).rule == "daily_loss"
    assert halts.latched == ("trailing_drawdown", "daily_loss")


def test_resuming_starts_from_the_equity_of_now_and_a_further_loss_halts_again():
    book, halts = losing(200), Halts()
    halts.check(book, POLICY, NOW_NS)
    assert halts.lift(RESUME).operator == "mo"
    book.reset_references()
    assert halts.level is HaltLevel.NONE
    assert halts.check(book, POLICY, NOW_NS) is None
    book.mark(quote(bid=119_600))
    assert halts.check(book, POLICY, NOW_NS).rule == "daily_loss"


def test_an_operator_s_halt_holds_and_is_never_lowered_by_a_lower_one():
    halts = Halts()
    assert halts.lift(RESUME) is None
    assert halts.on_command(command(HaltLevel.FLATTEN)).level is HaltLevel.FLATTEN
    assert halts.on_command(command(HaltLevel.NO_NEW_RISK)).level is HaltLevel.FLATTEN
    halts.on_command(command(HaltLevel.NO_NEW_RISK, "file"))
    assert halts.level is HaltLevel.FLATTEN
    assert halts.lift(RESUME)
    assert halts.level is HaltLevel.NONE


def test_limits_of_zero_and_an_account_not_yet_known_halt_nothing():
    off = Policy(daily_loss_pct_e2=0, trailing_drawdown_pct_e2=0)
    assert Halts().check(losing(90_000), off, NOW_NS) is None
    assert Halts().check(empty_book(), POLICY, NOW_NS) is None


def test_the_level_of_a_loss_halt_is_the_policy_s():
    assert Halts().check(losing(300), Policy(loss_halt_level=1), NOW_NS).level is HaltLevel.NO_NEW_RISK


def test_what_an_operator_says_is_latched_word_for_word_and_names_no_limit():
    told = Halts().on_command(command(HaltLevel.CANCEL_ENTRIES, "web"))
    assert told == HaltLatched(level=HaltLevel.CANCEL_ENTRIES, rule="web", limit="", value="", reason="mo: news",
                               ts_init_ns=NOW_NS)  # fmt: skip
    halts = Halts()
    assert halts.on_command(command(HaltLevel.NO_NEW_RISK, "")).rule == "operator"
    assert halts.latched == ("operator",)


def test_what_does_not_work_halts_once_a_level_and_again_at_a_higher_one():
    halts = Halts()
    told = halts.trip("valuation", HaltLevel.CANCEL_ENTRIES, "no rate", NOW_NS + 5)
    assert told == HaltLatched(level=HaltLevel.CANCEL_ENTRIES, rule="valuation", limit="", value="", reason="no rate",
                               ts_init_ns=NOW_NS + 5)  # fmt: skip
    assert halts.trip("valuation", HaltLevel.CANCEL_ENTRIES, "no rate", NOW_NS) is None
    assert halts.trip("valuation", HaltLevel.NO_NEW_RISK, "no rate", NOW_NS) is None
    assert halts.trip("valuation", HaltLevel.FLATTEN, "still none", NOW_NS).level is HaltLevel.FLATTEN
    assert halts.trip("connection", HaltLevel.NO_NEW_RISK, "gone", NOW_NS).rule == "connection"
    assert (halts.level, halts.latched) == (HaltLevel.FLATTEN, ("valuation", "connection"))


def test_nobody_lifts_without_a_name_and_a_reason_and_whoever_does_is_told():
    halts = Halts()
    halts.on_command(command(HaltLevel.FLATTEN))
    for lacking, missing in (({"operator": "-"}, "a named operator"), ({"reason": " "}, "a reason")):
        asked = msgspec.structs.replace(RESUME, ts_init_ns=NOW_NS + 7, **lacking)
        assert halts.lift(asked) == ResumeRefused(
            operator=asked.operator, reason=asked.reason, ts_init_ns=NOW_NS + 7,
            why=f"lifting halts needs {missing}: say who you are and why it is safe to go on",
        )  # fmt: skip
        assert halts.level is HaltLevel.FLATTEN
    lifted = halts.lift(msgspec.structs.replace(RESUME, ts_init_ns=NOW_NS + 8))
    assert lifted == HaltLifted(operator="mo", reason="looked", ts_init_ns=NOW_NS + 8)
    assert halts.latched == ()


def test_a_loss_halt_says_which_equity_it_held_against_which_mark():
    told = Halts().check(losing(200), POLICY, NOW_NS + 9)
    assert told == HaltLatched(
        level=HaltLevel.FLATTEN, rule="daily_loss", limit="2.00 % of 1000000", value="20000 lost, 2.00 %",
        reason="floating equity 980000 against 1000000 at the start of the trading day", ts_init_ns=NOW_NS + 9,
    )  # fmt: skip
