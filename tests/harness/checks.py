"""What a limit looks at: an entry as the gate would see it, with whatever circumstances a test is about."""

import msgspec

from bus.messages import HaltLevel
from risk.limits import look
from risk.limits.check import terms_of
from risk.limits.figures import NOTHING
from tests.harness.books import NOW_NS, begun, entry, switched_off

OFF = switched_off()
# An entry of 0.10 lots of EURUSD at 1.20008 for an account of 10 000.00 USD, on 1 May 2018 at 15:00 UTC.
ENTRY = look(entry(), begun(), OFF, volume_e2=1_000_000, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
ACCOUNT = ENTRY.figures[0]


def check(*, policy=OFF, intent=None, account=ACCOUNT, own=NOTHING, **changes):
    """The entry with some other circumstances: of `intent` the fields that differ, figures of account and strategy."""
    terms = terms_of(policy, "EURUSD", "s")
    return msgspec.structs.replace(
        ENTRY, intent=msgspec.structs.replace(ENTRY.intent, **(intent or {})), policy=terms.policy,
        limits=terms.limits, figures=(account, NOTHING, own), **changes,
    )  # fmt: skip


def in_scope(**fields):
    """The account's figures with some changed, and those of strategy `s` beside them, the same."""
    account = msgspec.structs.replace(ACCOUNT, **fields)
    return account, msgspec.structs.replace(account, name="s")
