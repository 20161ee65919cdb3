"""The limits. One pure function a rule: what an entry would make of the book, in; a breach or None, out.

Theory of operation. `look` works out once what every rule needs to know (`Check`); each rule then compares a few
integers. RULES lists them in the order in which they are asked; the first breach refuses. A rule of value 0 in the
policy is off. Tightening any limit can only turn an acceptance into a refusal, never the reverse.

To add a rule: write the function in the file of its kind, and give it a line in that file's RULES, with the settings
that it reads (`risk.policies`); a new file's RULES are joined here.
"""

from collections.abc import Callable, Iterable
from itertools import groupby

from risk.limits import hours, losses, market, models, orders, portfolio, sizes, standing
from risk.limits.check import Breach, Check, Rule, look
from risk.limits.numbers import impossible
from risk.limits.standing import NO_CONNECTION

__all__ = ["NO_CONNECTION", "RULES", "Breach", "Check", "Rule", "first_breach", "impossible", "in_order", "look"]

RULES: tuple[Rule, ...] = (
    *standing.RULES,
    *models.RULES,
    *market.RULES,
    *hours.RULES,
    *orders.RULES,
    *losses.RULES,
    *sizes.RULES,
    *portfolio.RULES,
)
"""Every rule with its reason, in the order of asking. `number` (see `impossible`) comes before all of them."""


Asked = tuple[tuple[str, tuple[Callable[[Check], Breach | None], ...]], ...]


def in_order(rules: Iterable[Rule]) -> Asked:
    """Rules as `first_breach` asks them: in their order, what needs the same together, to be passed over together."""
    return tuple((needs, tuple(rule.ask for rule in some)) for needs, some in groupby(rules, lambda rule: rule.needs))


ASKED = in_order(RULES)


def first_breach(check: Check) -> Breach | None:
    """The first limit that an entry would break, or None."""
    for needs, asked in ASKED:
        if needs and not getattr(check, needs):
            continue
        for ask in asked:
            breach = ask(check)
            if breach is not None:
                return breach
    return None
