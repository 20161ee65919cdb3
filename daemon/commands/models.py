"""Commands about models: what there is, what trades and tries to, signatures, promotion and rollback."""

import os
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bus.errors import ConfigError, ModelError
from daemon.commands.common import EXIT_FAILED, Settings, emit, with_settings
from daemon.state import SwapFile

PASSPHRASE = "PLIMSOLL_SIGNING_PASSPHRASE"  # noqa: S105 (the name of a variable)


@click.group("models")
def models_group() -> None:
    """List, inspect, verify and sign models; let one trade, or go back."""


def _registry(settings: Settings):  # noqa: ANN202 (a heavy import's type)
    from models.registry import Registry

    return Registry(settings.open_state().models, settings.load().models.trust)


@models_group.command("list")
@with_settings
def models_list(settings: Settings) -> int:
    """List kept models, newest release first; what trades and what is in shadow; what was refused and why.

    What is in shadow and what was refused is as the last running process told it.
    """
    from daemon.swaprecord import read_told

    entries = _registry(settings).list()
    told = read_told(settings.open_state().models_told)
    if settings.as_json:
        emit({"models": entries, "running": told})
        return 0
    if not entries:
        click.echo("no models yet; `plimsoll train` or `plimsoll paper` makes them")
        return 0
    symbols = told.symbols if told is not None else {}
    table = Table("model", "symbol", "period", "release", "next run", f"run {told.run if told else '-'}", box=None)
    for entry in entries:
        mark = "trades" if entry.active else "in force" if entry.current else ""
        here = symbols.get(entry.symbol)
        table.add_row(
            entry.model_id,
            entry.symbol,
            f"{entry.period_ns // 60_000_000_000} min",
            str(entry.release),
            mark,
            _standing(entry.model_id, here.trades, here.candidate, here.before, here.shadow) if here else "",
        )
    Console().print(table)
    for symbol, here in symbols.items():
        if here.candidate:
            click.echo(f"{symbol}: {here.candidate} wants to trade in place of {here.trades}; {here.compared}")
    for refused in told.refused if told is not None else ():
        click.echo(f"{refused.symbol}: {refused.model_id or f'release {refused.release}'} refused: {refused.reason}")
    return 0


def _standing(model_id: str, trades: str, candidate: str, before: tuple[str, ...], shadow: dict[str, str]) -> str:
    if model_id == trades:
        return "trades"
    if model_id == candidate:
        return "candidate, in shadow"
    if model_id in before:
        return "traded before, in shadow"
    return "in shadow" if model_id in shadow else ""


@models_group.command("show")
@click.argument("model_id")
@with_settings
def models_show(settings: Settings, model_id: str) -> int:
    """Show what a model is: features, training window, code, metrics beside the random walk, signature, standing."""
    from daemon.swaprecord import read_told
    from models.admission import verdict_of

    artifact = _registry(settings).read(model_id)
    manifest = artifact.manifest
    shown = {**msgspec.to_builtins(manifest), "scores": [len(scores) for scores in manifest.scores]}
    shown["baseline_scores"] = [len(scores) for scores in manifest.baseline_scores]
    shown["signer"] = artifact.signer or None
    shown["verdict"] = verdict_of(manifest) if manifest.kind == "forecaster" else None
    told = read_told(settings.open_state().models_told)
    here = told.symbols.get(manifest.symbol) if told is not None else None
    shown["standing"] = (
        _standing(model_id, here.trades, here.candidate, here.before, here.shadow) or None if here is not None else None
    )
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
    """Verify hashes, signature, schema, finite weights and golden outputs; ends with 1 where a model is unsound."""
    verdicts = _registry(settings).verify(model_id or "")
    if settings.as_json:
        emit({"verdicts": verdicts})
    else:
        for verdict in verdicts:
            click.echo(f"{verdict.model_id}: {verdict.problem or 'sound'}")
        if not verdicts:
            click.echo("no models yet")
    return EXIT_FAILED if any(verdict.problem for verdict in verdicts) else 0


# --- signatures ------------------------------------------------------------------------------------------------


@models_group.command("keygen")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The new key file.")
@click.option("--encrypt", is_flag=True, help=f"Ask for a passphrase, or take it from {PASSPHRASE}.")
@with_settings
def models_keygen(settings: Settings, key: Path, *, encrypt: bool) -> int:
    """Make an Ed25519 key to sign models with, in a file that only you may read; tells the public key."""
    from models.signing import keygen

    public = keygen(key, _passphrase(confirm=True) if encrypt else b"")
    if settings.as_json:
        emit({"key": str(key), "public_key": public})
    else:
        click.echo(f'the private key is in {key}; let daemons trust it with\n\n[models]\ntrusted_keys = ["{public}"]')
    return 0


@models_group.command("sign")
@click.argument("model_id", required=False)
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The private key's file.")
@click.option("--encrypted", is_flag=True, help=f"Ask for its passphrase, or take it from {PASSPHRASE}.")
@with_settings
def models_sign(settings: Settings, model_id: str | None, key: Path, *, encrypted: bool) -> int:
    """Sign a kept model, or without a name all that are in force or newest; each is verified first."""
    from models.registry import Registry
    from models.signing import load_key, sign

    private = load_key(key, _passphrase(confirm=False) if encrypted else b"")
    registry = Registry(settings.open_state().models)
    newest = {each for pointer in registry.pointers() for release in (pointer.in_force, pointer.newest)
              for each in release.models}  # fmt: skip
    names = [model_id] if model_id else sorted(newest)
    for name in names:
        registry.sign(name, lambda data: sign(data, private))
    if settings.as_json:
        emit({"signed": names})
    else:
        click.echo(f"signed {', '.join(names)}" if names else "no models yet")
    return 0


def _passphrase(*, confirm: bool) -> bytes:
    given = os.environ.get(PASSPHRASE, "")
    if not given:
        given = click.prompt("passphrase", hide_input=True, confirmation_prompt=confirm)
    if not given:
        raise ConfigError(
            f"an empty passphrase encrypts nothing; give one, or leave out what asks for it ({PASSPHRASE})"
        )
    return given.encode()


# --- swaps -----------------------------------------------------------------------------------------------------


@models_group.command("promote")
@click.argument("symbol")
@click.argument("model_id", required=False)
@click.option("--operator", required=True, help="Who you are; it goes on record.")
@click.option("--reason", required=True, help="Why; it goes on record.")
@with_settings
def models_promote(settings: Settings, symbol: str, model_id: str | None, operator: str, reason: str) -> int:
    """Let a kept model trade a symbol: the named one, or the one that the newest release puts forward.

    A running daemon obeys within a second, and the model that traded stays ready to go back to. Without one it holds
    for the next.
    """
    return _swap(settings, symbol.upper(), model_id or "", operator, reason, rollback=False)


@models_group.command("rollback")
@click.argument("symbol")
@click.argument("model_id", required=False)
@click.option("--operator", required=True, help="Who you are; it goes on record.")
@click.option("--reason", required=True, help="Why; it goes on record.")
@with_settings
def models_rollback(settings: Settings, symbol: str, model_id: str | None, operator: str, reason: str) -> int:
    """Let the model trade that traded a symbol before, or the named one that did.

    A running daemon obeys within a second. Without one it holds for the next.
    """
    return _swap(settings, symbol.upper(), model_id or "", operator, reason, rollback=True)


def _swap(settings: Settings, symbol: str, model_id: str, operator: str, reason: str, *, rollback: bool) -> int:
    """A running daemon is asked; without one the registry is changed, and the next daemon asked to follow it."""
    where = settings.open_state()
    running = where.in_use()
    if not (running and rollback):  # going back must need nothing that may be broken as well
        model_id = _chosen(settings, symbol, model_id, rollback=rollback, change=not running)
    where.ask_swap(SwapFile(rollback=rollback, symbol=symbol, model_id=model_id, operator=operator, reason=reason))
    if settings.as_json:
        emit({"symbol": symbol, "model": model_id or None, "rollback": rollback, "running": running})
    else:
        named = model_id or "the model before"
        when = "in the running daemon" if running else "in the next run, or when this one goes on"
        click.echo(f"{symbol}: {named} trades {when}")
    return 0


def _chosen(settings: Settings, symbol: str, model_id: str, *, rollback: bool, change: bool) -> str:
    """The model that is meant; `change` lets it trade in the registry."""
    registry = _registry(settings)
    pointers = {each.period_ns: each for each in registry.pointers() if each.symbol == symbol}
    period_s = settings.load().data.period_s
    if len(pointers) > 1 and period_s * 10**9 not in pointers:
        raise ConfigError(
            f"{symbol} has models on bars of {', '.join(f'{each // 10**9} s' for each in pointers)}; say which with "
            "data.period_s"
        )
    if not pointers:
        raise ModelError(f"nothing was published for {symbol}; train first")
    pointer = pointers.get(period_s * 10**9) or next(iter(pointers.values()))
    if not rollback:
        model_id = model_id or pointer.newest.active
    if change and rollback and not model_id:
        return registry.rollback(symbol, pointer.period_ns).active
    if change:
        registry.set_active(model_id)
    return model_id
