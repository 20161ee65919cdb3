"""Commands about what is there: models, doctor, config."""

import click
import msgspec
from rich.console import Console
from rich.table import Table

from daemon.commands.common import EXIT_FAILED, Settings, emit, with_settings
from daemon.config import explain, explain_json


@click.group("models")
def models_group() -> None:
    """List, inspect and verify model artifacts."""


@models_group.command("list")
@with_settings
def models_list(settings: Settings) -> int:
    """List kept models, newest release first."""
    from models.registry import Registry

    entries = Registry(settings.open_state().models).list()
    if settings.as_json:
        emit({"models": entries})
        return 0
    if not entries:
        click.echo("no models yet; `plimsoll train` or `plimsoll paper` makes them")
        return 0
    table = Table("model", "symbol", "period", "release", "", box=None)
    for entry in entries:
        mark = "trades" if entry.active else "in force" if entry.current else ""
        table.add_row(
            entry.model_id, entry.symbol, f"{entry.period_ns // 60_000_000_000} min", str(entry.release), mark
        )
    Console().print(table)
    return 0


@models_group.command("show")
@click.argument("model_id")
@with_settings
def models_show(settings: Settings, model_id: str) -> int:
    """Show what a model is: features, training window, metrics beside the random walk."""
    from models.registry import Registry

    manifest = Registry(settings.open_state().models).show(model_id)
    shown = {**msgspec.to_builtins(manifest), "scores": [len(scores) for scores in manifest.scores]}
    shown["baseline_scores"] = [len(scores) for scores in manifest.baseline_scores]
    if settings.as_json:
        emit(shown)
    else:
        Console().print_json(data=shown)
    return 0


@models_group.command("architectures")
@with_settings
def models_architectures(settings: Settings) -> int:
    """List what can be trained: `plimsoll train --model NAME`, or `architectures` under [models]."""
    from models.catalogue import catalogue

    entries = catalogue()
    if settings.as_json:
        emit({"architectures": entries})
        return 0
    chosen = settings.load().models.architectures
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        needs = ", ".join(f"{each} (not installed)" if each in entry.missing else each for each in entry.needs)
        mark = "*" if entry.name in chosen else " "
        click.echo(
            f"{mark} {entry.name:<{width}}  {entry.task:<11}  {entry.about}{f' Needs {needs}.' if needs else ''}"
        )
    click.echo("* = trained as configured. Training needs the packages that are named; answering does not.")
    return 0


@models_group.command("verify")
@click.argument("model_id", required=False)
@with_settings
def models_verify(settings: Settings, model_id: str | None) -> int:
    """Verify hashes, schema, finite weights and golden outputs; ends with 1 where a model is unsound."""
    from models.registry import Registry

    verdicts = Registry(settings.open_state().models).verify(model_id or "")
    if settings.as_json:
        emit({"verdicts": verdicts})
    else:
        for verdict in verdicts:
            click.echo(f"{verdict.model_id}: {verdict.problem or 'sound'}")
        if not verdicts:
            click.echo("no models yet")
    return EXIT_FAILED if any(verdict.problem for verdict in verdicts) else 0


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
