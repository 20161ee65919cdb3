from bus.messages import HaltLevel, HaltTrading, ResumeTrading
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
