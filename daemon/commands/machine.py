"""Commands about what is there: doctor, config."""

import click
from rich.console import Console

from daemon.commands.common import EXIT_FAILED, Settings, emit, with_settings
from daemon.config import explain, explain_json


@click.command()
@with_settings
def doctor(settings: Settings) -> int:
    """Check this machine: environment, clock, disk, state directory, GPU, optional programs; says what to do."""
    from daemon.doctor import print_checks, run_checks

    checks = run_checks(settings.load(), settings.open_state().folder)
    if settings.as_json:
        emit({"checks": checks, "ok": not any(check.status == "fail" for check in checks)})
    else:
        print_checks(checks, Console())
    return EXIT_FAILED if any(check.status == "fail" for check in checks) else 0


@click.group("config")
def config_group() -> None:
    """Show and check the configuration."""


@config_group.command("show")
@with_settings
def config_show(settings: Settings) -> int:
    """Print every setting in force as TOML, with where it comes from; secrets are masked."""
    loaded = settings.load()
    if settings.as_json:
        emit(explain_json(loaded))
    else:
        click.echo(explain(loaded))
    return 0


@config_group.command("check")
@with_settings
def config_check(settings: Settings) -> int:
    """Check a configuration: unknown keys, wrong types and impossible values are named with a suggestion."""
    settings.load_to_trade()
    if settings.as_json:
        emit({"ok": True})
    else:
        click.echo("the configuration is sound")
    return 0
