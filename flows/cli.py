"""The command line."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, cast

import typer
from rich.console import Console

from actors.blends import DEFAULT_BLEND
from actors.routing import RoutingBounds
from flows.clean import clean
from flows.config import load_config
from flows.status import status
from flows.steps import say
from flows.weights import app as weights_commands
from storage.errors import FacemillError, UsageError
from storage.words import printable
from weights import DEFAULT_FIDELITY, WeightsError

app = typer.Typer(
    help="Restore the faces in archives of video, and nothing else in them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

app.add_typer(weights_commands, name="weights")

_BAD_COMMAND_LINE: Any = typer.BadParameter.__base__
"""What click raises of any command line that it does not take; typer has no name for it."""

_BOUNDS = RoutingBounds.model_validate({})

Text = Annotated[str | None, typer.Option(metavar="TEXT")]


def _flag(help_text: str, metavar: str) -> typer.models.OptionInfo:
    """An option that the configuration validates, so that a bad value reads the same from a flag and from a file."""
    return typer.Option(help=help_text, metavar=metavar, show_default=False)


def _switch(name: str, help_text: str) -> typer.models.OptionInfo:
    """An option that is on unless it is switched off, here or in the configuration."""
    told = f"{help_text} On, unless switched off."
    return typer.Option(f"--{name}/--no-{name}", help=told, show_default=False)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"facemill {version('facemill')}")
        raise typer.Exit


@app.callback()
def facemill(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version and end.")
    ] = False,
) -> None:
    """Restore the faces in archives of video, and nothing else in them."""


@app.command()
def restore(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SRC...", help="Files, folders, globs, s3:// prefixes, or text files that list such."),
    ] = None,
    out: Annotated[str | None, _flag("Folder or s3:// prefix that takes the results.", "DST")] = None,
    follow_links: Annotated[
        bool | None, typer.Option("--follow-links", help="Also take what links lead to outside of a source folder.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file with any of these options; flags win.", metavar="FILE")
    ] = None,
    scale: Annotated[str | None, _flag("Size of the result: 1, 2 or 4 times the source. Default 2.", "N")] = None,
    size: Annotated[str | None, _flag("Size of the result in pixels, instead of --scale.", "WxH")] = None,
    deinterlace: Annotated[
        bool | None, typer.Option("--deinterlace", help="Make full frames of interlaced ones; else both fields stay.")
    ] = None,
    baseline: Annotated[bool | None, typer.Option("--baseline", help="Also write the scaled-only video.")] = None,
    compare: Annotated[
        bool | None, typer.Option("--compare", help="Also write baseline and result side by side.")
    ] = None,
    codec: Annotated[str | None, _flag("h264 or hevc. Default h264.", "NAME")] = None,
    crf: Annotated[str | None, _flag("Quality of the encoder, 0 to 51, lower is better. Default 18.", "N")] = None,
    preset: Annotated[str | None, _flag("Speed of the encoder, ultrafast to placebo. Default fast.", "NAME")] = None,
    detect_every: Annotated[str | None, _flag("Frames from one face search to the next. Default 5.", "N")] = None,
    min_face: Annotated[str | None, _flag("Narrowest face that is searched for, pixels. Default 32.", "N")] = None,
    score: Annotated[str | None, _flag("Lowest detector score that counts as a face. Default 0.9.", "X")] = None,
    smoothing: Annotated[bool | None, _switch("smoothing", "Average boxes and landmarks over time.")] = None,
    experts: Annotated[str | None, _flag("Experts that restore: both, t, f or none. Default both.", "NAME")] = None,
    fidelity: Annotated[
        str | None, _flag(f"0 looks most natural, 1 is closest to the source. Default {DEFAULT_FIDELITY:g}.", "X")
    ] = None,
    expert_t_weights: Annotated[
        str | None, _flag("Someone else's model instead of Expert-T: a file, or a registered name.", "FILE|NAME")
    ] = None,
    expert_f_weights: Annotated[
        str | None, _flag("Someone else's model instead of Expert-F: a file, or a registered name.", "FILE|NAME")
    ] = None,
    steadying: Annotated[
        bool | None, _switch("steadying", "Average each restored face with the frames before and after.")
    ] = None,
    identity_gate: Annotated[
        bool | None, _switch("identity-gate", "Weaken restored faces that are not the same person any more.")
    ] = None,
    blend: Annotated[
        str | None, _flag(f"How faces are blended in: poisson, multiband or feather. Default {DEFAULT_BLEND}.", "NAME")
    ] = None,
    w_skip: Annotated[
        str | None, _flag(f"Narrower faces are left as background. Default {_BOUNDS.w_skip:g}.", "PX")
    ] = None,
    w_medium: Annotated[
        str | None, _flag(f"From this width, sharpness picks the expert. Default {_BOUNDS.w_medium:g}.", "PX")
    ] = None,
    w_resize: Annotated[
        str | None, _flag(f"From this width, faces are only resized. Default {_BOUNDS.w_resize:g}.", "PX")
    ] = None,
    q_low: Annotated[
        str | None, _flag(f"Sharpness from which Expert-F takes over. Default {_BOUNDS.q_low:g}.", "X")
    ] = None,
    hysteresis: Annotated[
        str | None, _flag(f"Share of a bound that a track must pass. Default {_BOUNDS.hysteresis:g}.", "X")
    ] = None,
    shard_seconds: Annotated[str | None, _flag("Length of a shard in seconds. Default 4.", "S")] = None,
    retry_failed: Annotated[
        bool | None,
        typer.Option("--retry-failed", help="Also try the videos again that an earlier run gave up for good."),
    ] = None,
    force: Annotated[
        bool | None, typer.Option("--force", help="Make everything again; results stay until they are replaced.")
    ] = None,
    fail_fast: Annotated[
        bool | None, typer.Option("--fail-fast", help="End the job at the first video that fails.")
    ] = None,
    ray_address: Annotated[str | None, _flag("Ray cluster to join; without it Ray starts here.", "ADDR")] = None,
    device: Annotated[str | None, _flag("auto, cpu or cuda. Default auto.", "NAME")] = None,
    detectors: Annotated[str | None, _flag("Size of the FaceDetector pool.", "N")] = None,
    experts_f: Annotated[str | None, _flag("Size of the ExpertF pool.", "N")] = None,
    experts_t: Annotated[str | None, _flag("Size of the ExpertT pool.", "N")] = None,
    compositors: Annotated[str | None, _flag("Size of the FrameCompositor pool.", "N")] = None,
    shard_timeout: Annotated[
        str | None, _flag("Seconds until a worker that hangs on a shard is ended. Default 600 a second of it.", "S")
    ] = None,
    s3_endpoint: Annotated[str | None, _flag("URL of an S3-compatible server.", "URL")] = None,
) -> None:
    """Restore videos: every frame, timestamp, sound track and tag where it was, the faces clearer.

    Running the same command again finishes what an interrupted run left.
    """
    flags = {name: value for name, value in locals().items() if name not in ("config", "sources")}
    settings = load_config(config, {**flags, "sources": sources or None})
    from flows.ending import lines_at_the_end
    from flows.restore import restore as run  # imports Ray and torch: not before the command line is known to be good

    console = Console(stderr=True)
    try:
        job, outcome = run(settings, console)
    except KeyboardInterrupt as interrupted:
        told = f": {interrupted}" if str(interrupted) else ""
        typer.echo(f"facemill: interrupted{told}. Run the same command again to finish the job", err=True)
        raise typer.Exit(130) from None
    for line in lines_at_the_end(job, outcome):
        say(Console(), line)
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Folder that takes the clip and the results.")] = Path("demo"),
) -> None:
    """Make a clip with a real face, moving, with sound; restore it; say where to look."""
    from flows.demo import run_demo

    run_demo(folder, Console(stderr=True))


_forwarded: dict[str, Any] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    "add_help_option": False,
}
"""For commands whose options are read by what they forward to: it imports torch, so not before it is asked for."""


@app.command(**_forwarded)
def train(context: typer.Context) -> None:
    """Train an expert on a folder of portraits. `facemill train --help` lists its options."""
    from flows.train import train as run

    _forward(context, run)


@app.command(**_forwarded)
def verify(context: typer.Context) -> None:
    """Compare results with their sources. `facemill verify --help` lists its options."""
    from flows.verify import verify as run

    _forward(context, run)


app.command()(status)
app.command()(clean)


@app.command("eval", **_forwarded)
def evaluate(context: typer.Context) -> None:
    """Measure the experts on faces whose originals are known. `facemill eval --help` lists its options."""
    from flows.evaluate import evaluate as run

    _forward(context, run)


def _forward(context: typer.Context, run: Callable[..., object]) -> None:
    """Let a function read the rest of the command line by its own signature; its docstring is the help.

    What it returns to programmers, such as a training's figures, is no exit status.
    """
    command = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)
    command.command(help=_for_a_person(inspect.getdoc(run) or ""))(run)
    ended = command(args=context.args, prog_name=f"facemill {context.info_name}", standalone_mode=False)
    context.exit(ended if isinstance(ended, int) else 0)


def _for_a_person(docstring: str) -> str:
    """What a docstring says before its sections for programmers, without markup."""
    return docstring.partition("\n\nRaises:")[0].replace("``", "")


def main() -> None:
    """Entry point: errors meant for a person become one line and exit code 2."""
    sys.stdout = cast(TextIO, _Output(sys.stdout))
    try:
        sys.exit(app(prog_name="facemill", standalone_mode=False) or 0)
    except _BAD_COMMAND_LINE as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            sys.exit(error.exit_code)
        command = "facemill" if error.ctx is None else error.ctx.command_path
        _end_with(f"{error.format_message().rstrip('.')}. See `{command} --help`")
    except (FacemillError, WeightsError) as error:
        _end_with(str(error))


class _Output:
    """Standard output, of which it is told in one line that it takes no more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._told():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._told():
            self._stream.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # who reads it has read enough
            raise
        except OSError as error:
            raise UsageError(f"standard output takes no more ({error.strerror}). Give it a place with room") from error


def _end_with(error: str) -> NoReturn:
    print(f"facemill: {printable(' '.join(error.split()))}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
