"""``facemill weights``: which weight files there are, and bringing them here."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from weights import WeightsEntry, WeightsError, entry_of, read_registry, weights_folder
from weights.fetching import fetch_weights

app = typer.Typer(
    help="The weight files that facemill knows: list them, fetch them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


@app.command("list")
def list_weights() -> None:
    """Every registered weight file, its licence, and whether it is here."""
    rows = [("name", "size", "license", "architecture", "state")]
    rows += [
        (entry.name, _size_of(entry), entry.license, entry.architecture, _state_of(entry))
        for entry in read_registry().values()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo(f"Fetched files lie in {weights_folder()} (FACEMILL_WEIGHTS names another folder)")


@app.command("pull")
def pull_weights(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Which to fetch; without one, all that are not here."),
    ] = None,
) -> None:
    """Fetch weight files and verify them by their sha256."""
    wanted = (
        [entry_of(name) for name in names] if names else [each for each in read_registry().values() if each.sources]
    )
    failed = False
    for entry in wanted:
        try:
            typer.echo(f"{entry.name}: {_pulled(entry)}")
        except WeightsError as error:  # one that cannot be had keeps none of the others away
            typer.echo(f"facemill: {error}", err=True)
            failed = True
    if failed:
        raise typer.Exit(2)


def _pulled(entry: WeightsEntry) -> str:
    """Bring a file here, with a bar on a terminal; returns where it is."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(entry.name, total=None)
        path = fetch_weights(entry, lambda done, total: progress.update(task, completed=done, total=total))
    return str(path)


def _size_of(entry: WeightsEntry) -> str:
    size = entry.path.stat().st_size if entry.path.is_file() else entry.size
    return "?" if size is None else f"{size / 1e6:.1f} MB"


def _state_of(entry: WeightsEntry) -> str:
    if not entry.sources:
        return "ships with facemill"
    if not entry.path.is_file():
        return "not here"
    return "here" if entry.size in (None, entry.path.stat().st_size) else "damaged: pull it again"
