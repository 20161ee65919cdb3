"""The limits, in words."""

import difflib

import click

from bus.errors import ConfigError
from daemon.commands.common import Settings, emit, with_settings
from risk.explain import Limit, explain, table


@click.group("risk")
def risk_group() -> None:
    """What limits there are, what is in force, and why."""


@risk_group.command("explain")
@click.argument("rule", required=False)
@click.option("--markdown", is_flag=True, help="The table of docs/limits.md.")
@with_settings
def risk_explain(settings: Settings, rule: str | None, *, markdown: bool) -> int:
    """Every limit, or the one called RULE: what it does and why, its settings with unit, default and value in force.

    A setting of 0 is off where it says so. `[risk.symbols.NAME]`, `[risk.currencies.NAME]` and
    `[risk.strategies.NAME]` can make limits tighter, never looser; what they set is shown below the limit's own.
    """
    policy = settings.load().risk
    limits = explain(policy)
    if rule is not None:
        names = [each.rule for each in limits]
        if rule not in names:
            close = difflib.get_close_matches(rule, names, n=1)
            raise ConfigError(
                f"no limit {rule!r}{f'; did you mean {close[0]}?' if close else ''}; there are {', '.join(names)}"
            )
        limits = tuple(each for each in limits if each.rule == rule)
    if settings.as_json:
        emit(limits)
    elif markdown:
        click.echo(table(policy), nl=False)
    else:
        click.echo("\n\n".join(_words(each) for each in limits))
    return 0


def _words(limit: Limit) -> str:
    lines = [f"{limit.rule}: {limit.does}. {limit.sentence}"]
    for each in limit.settings:
        zero = f"; 0 = {each.zero}" if each.zero else ""
        unit = f", in {each.unit}" if each.unit else ""
        value, default = (_plain(each.value), _plain(each.default))
        usual = "the default" if each.value == each.default else f"default {default}"
        lines += [f"    {each.key} = {value}{unit} ({usual}{zero})", f"        {each.sentence}"]
    if limit.scopes:
        lines.append(f"    tighter in {', '.join(f'[risk.{scope}.NAME]' for scope in limit.scopes)}")
    return "\n".join(lines)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{each}"' for each in value) + "]"  # pyright: ignore[reportUnknownVariableType]
    return f'"{value}"' if isinstance(value, str) else str(value)
