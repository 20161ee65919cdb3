"""Every limit in words: what it does and why, the settings that it reads, and what is in force.

One table for people and machines alike; the limits themselves are in `risk.limits`, the settings in `risk.policies`.
"""

from typing import Any

import msgspec

from risk.limits import RULES
from risk.policies.keys import Group
from risk.policy import Policy


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One key that a limit reads. `value` is in force; `default` where nothing is written.

    `key` is dotted from ``risk`` on. `zero` is what 0 means, empty where it is a value like any other; `lowest` and
    `highest` are None for what is no number.
    """

    key: str
    value: Any
    default: Any
    unit: str
    sentence: str
    zero: str = ""
    lowest: int | None = None
    highest: int | None = None


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit. `does` is what happens when it is met, `scopes` in which tables it can be made tighter."""

    rule: str
    does: str
    sentence: str
    settings: tuple[Setting, ...]
    scopes: tuple[str, ...]


# What is no rule of an entry: asked of every intent before the rules, or done by the core by itself.
_OTHERS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("number", "refuses entries and exits", "What is no whole number within reason is no price, volume or time.", ()),
    ("symbol", "refuses entries and exits", "Only configured symbols are traded.", ()),
    (
        "protection",
        "closes the position",
        "Every open position has a stop at the broker, or is being closed.",
        ("protect_within_s",),
    ),
    (
        "holding",
        "closes the position",
        "What was meant for hours does not become an investment.",
        ("orders.max_holding_s", "*.max_holding_s"),
    ),
    (
        "weekend_flat",
        "closes the position and withdraws resting entries",
        "Nothing is held over a weekend that nothing can be closed in.",
        ("hours.weekend_flat_min",),
    ),
)
_SCOPES = ("symbols", "currencies", "strategies")


def explain(policy: Policy) -> tuple[Limit, ...]:
    """Every limit with what is in force, in the order of asking; what the core does by itself comes last."""
    rules = [(rule.ask.__name__, _does(rule.keys), rule.why, rule.keys) for rule in RULES]
    return tuple(
        Limit(
            rule=name,
            does=does,
            sentence=why,
            settings=tuple(setting for key in keys for setting in _settings(policy, key)) or _in_scopes(keys),
            scopes=tuple(dict.fromkeys(scope for key in keys if key.startswith("*.") for scope in _tables(key[2:]))),
        )
        for name, does, why, keys in (*_OTHERS[:2], *rules, *_OTHERS[2:])
    )


def _does(keys: tuple[str, ...]) -> str:
    return "refuses entries and halts" if "loss_halt_level" in keys else "refuses entries"


def _kinds() -> dict[str, type[Group]]:
    """By table, the struct of a scope."""
    fields = {field.name: field.type for field in msgspec.structs.fields(Policy)}
    return {table: fields[table].__args__[1] for table in _SCOPES}


def _tables(key: str) -> list[str]:
    return [table for table, kind in _kinds().items() if key in kind.__struct_fields__]


def _settings(policy: Policy, key: str) -> list[Setting]:
    """The setting of a key; of ``*.key`` every one that a scope makes tighter."""
    table, _, name = key.rpartition(".")
    if table == "*":
        found: list[Setting] = []
        for scope in _SCOPES:
            named: dict[str, Group] = getattr(policy, scope)
            found += [
                _setting(f"risk.{scope}.{which}.{name}", limits, type(limits)(), name)
                for which, limits in named.items()
                if getattr(limits, name, None)
            ]
        return found
    group: Group | Policy = getattr(policy, table) if table else policy
    default: Group | Policy = getattr(Policy(), table) if table else Policy()
    return [_setting(f"risk.{key}", group, default, name)]


def _in_scopes(keys: tuple[str, ...]) -> tuple[Setting, ...]:
    """The settings of a limit that only scopes have, and none has set."""
    kinds = _kinds()
    return tuple(
        _setting(f"risk.{table}.NAME.{key[2:]}", kinds[table](), kinds[table](), key[2:])
        for key in keys
        for table in _tables(key[2:])
    )


def _setting(dotted: str, group: Group | Policy, default: Group | Policy, name: str) -> Setting:
    key = group.KEYS.get(name)
    value, usual = getattr(group, name), getattr(default, name)
    if key is None:
        words = group.WORDS[name] if isinstance(group, Group) else ""
        return Setting(key=dotted, value=value, default=usual, unit="", sentence=words)
    return Setting(
        key=dotted, value=value, default=usual, unit=key.unit, sentence=key.why, zero=key.zero, lowest=key.lowest,
        highest=key.highest,
    )  # fmt: skip


def table(policy: Policy) -> str:
    """The limits as a Markdown table: one row a limit, one line a setting."""
    rows = ["| limit | what it does, and why | settings below `risk` (default) |", "| --- | --- | --- |"]
    for limit in explain(policy):
        settings = "<br>".join(
            f"`{each.key.removeprefix('risk.')}` ({_shown(each.default)}{', ' + each.unit if each.unit else ''})"
            for each in limit.settings
        )
        scopes = f"<br>also in {', '.join(f'`{scope}.NAME`' for scope in limit.scopes)}" if limit.scopes else ""
        rows.append(f"| `{limit.rule}` | {limit.does.capitalize()}. {limit.sentence} | {settings or '-'}{scopes} |")
    return "\n".join(rows) + "\n"


def _shown(value: object) -> str:
    """A value for a person: empty lists and words as such, numbers plain."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "empty" if value in ("", ()) else str(value)
