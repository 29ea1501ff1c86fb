"""The command line: each verb parses, makes one library call, and prints a table or JSON.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from .core.errors import GlioscopeError, one_line
from .core.files import NO_SPACE, storage_error

app = typer.Typer(
    help="Brain-tumour MRI from a folder of scans to a measured tumour.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataArgument = Annotated[
    str, typer.Argument(metavar="DATA", help="A folder, a file, or phantom:cases=8,seed=0.")
]
ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a trained model.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
LabelsOption = Annotated[
    str | None, typer.Option("--labels", help="Label scheme, where it cannot be told.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Go on without cases that cannot be used.")
]


def _version(asked: bool) -> None:
    if asked:
        from . import __version__

        print(f"glioscope {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    for handler in logging.getLogger("glioscope").handlers:
        handler.setLevel(logging.DEBUG if debug else logging.INFO)


@app.command()
def recipes(as_json: JsonOption = False) -> None:
    """List the named systems."""
    from .api.exploring import recipes as call

    listed = call()
    if as_json:
        _print_json(listed)
        return
    _print_table(
        ["recipe", "", "network", "input", "targets", "reported"],
        [
            [
                r["name"],
                f"{r['dims']}D",
                r["network"],
                " ".join(r["input"]),
                r["targets"],
                r["reported"],
            ]
            for r in listed
        ],
    )


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A named system (see recipes), or a YAML file.")
    ],
    data: DataArgument,
    out: OutOption,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; repeatable."),
    ] = None,
    splits: Annotated[Path | None, typer.Option("--splits", help="Splits file.")] = None,
    labels: LabelsOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    skip_bad: SkipBadOption = False,
) -> None:
    """Train a recipe on a data set."""
    from .api.training import train as call

    model = call(
        recipe,
        data,
        out,
        overrides=overrides or (),
        splits=splits,
        labels=labels,
        resume=resume,
        skip_bad=skip_bad,
    )
    scores = model.provenance.metrics
    _print_table(
        ["validation", ""], [[k, f"{v:.4f}"] for k, v in scores.items() if k.startswith("valid")]
    )
    print(f"model: {model.folder}")


@app.command()
def evaluate(
    model: ModelArgument,
    data: DataArgument,
    out: OutOption,
    split: Annotated[str | None, typer.Option("--split", help="train, valid, test or all.")] = None,
    labels: LabelsOption = None,
    device: DeviceOption = "auto",
    skip_bad: SkipBadOption = False,
) -> None:
    """Segment cases that have a reference, and score the masks."""
    from .api.evaluating import evaluate as call

    _print_scores(
        call(model, data, out, split=split, labels=labels, device=device, skip_bad=skip_bad)
    )


@app.command()
def score(
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Reference masks.")],
    prediction: Annotated[
        Path, typer.Argument(metavar="PRED", help="Masks to score, of the same names.")
    ],
    out: OutOption,
    labels: LabelsOption = None,
) -> None:
    """Score masks against reference masks; needs no model."""
    from .api.scoring import score as call

    _print_scores(call(truth, prediction, out, labels=labels))


@app.command()
def predict(
    model: ModelArgument,
    out: OutOption,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[INPUT]...", help="Case folders, folders of cases or images, files."
        ),
    ] = None,
    t1: Annotated[Path | None, typer.Option("--t1", help="The T1 scan of one case.")] = None,
    t1c: Annotated[Path | None, typer.Option("--t1c", help="Its T1 scan after contrast.")] = None,
    t2: Annotated[Path | None, typer.Option("--t2", help="Its T2 scan.")] = None,
    flair: Annotated[Path | None, typer.Option("--flair", help="Its FLAIR scan.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write probabilities too.")
    ] = False,
    engine: Annotated[str, typer.Option("--engine", help="auto or torch.")] = "auto",
    device: DeviceOption = "auto",
    flips: Annotated[
        bool, typer.Option("--flips", help="Mean over mirror images: slower, a little better.")
    ] = False,
    labels: LabelsOption = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out cases whose mask is there.")
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Write a picture of each mask too.")
    ] = False,
) -> None:
    """Segment new scans."""
    from .core.errors import UnknownName

    if engine not in ("auto", "torch"):
        raise UnknownName("engine", engine, ("auto", "torch"))
    files = {n: p for n, p in (("t1", t1), ("t1c", t1c), ("t2", t2), ("flair", flair)) if p}
    if not inputs and not files:
        raise GlioscopeError(
            "predict", "no input", "a case folder, a folder of cases or files",
            "name them after the model, or give --t1, --t1c, --t2 or --flair",
        )  # fmt: skip
    from .api.predicting import predict as call

    done = call(
        model, inputs or (), out, files=files, labels=labels, device=device, flips=flips,
        probabilities=probabilities, preview=preview, skip_existing=skip_existing,
    )  # fmt: skip
    for record in done:
        for warning in record.warnings:
            print(one_line(f"{record.case}: {warning}"), file=sys.stderr)
        if record.error:
            print(record.error, file=sys.stderr)
    names = list(dict.fromkeys(name for record in done for name in record.volume_ml))
    rows = [
        [
            r.case,
            *(f"{r.volume_ml[n]:.2f}" if n in r.volume_ml else "" for n in names),
            r.mask or "failed",
        ]
        for r in done
    ]
    _print_table(["case", *(f"{n} ml" for n in names), "mask"], rows)
    if any(record.error for record in done):
        raise typer.Exit(1)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    cases: Annotated[int, typer.Option("--cases", min=1, help="How many.")] = 8,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="The same seed gives the same heads.")
    ] = 0,
    layout: Annotated[
        str, typer.Option("--layout", help="brats, coco, pairs or nnunet.")
    ] = "brats",
) -> None:
    """Write synthetic heads with tumours, to try things on."""
    from .api.exploring import phantom as call

    print(f"{len(call(out, cases, seed, layout))} files in {out}")


@app.command()
def info(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A model, case or data folder.")],
    as_json: JsonOption = False,
) -> None:
    """Say what a model, case or data folder is."""
    from .api.exploring import info as call

    facts = call(path)
    if as_json:
        _print_json(facts)
        return
    _print_table(["", ""], [[key, _plain(value)] for key, value in facts.items()])


def main() -> None:
    """Run the command line; end with the contract's exit codes."""
    with _messages_on_stderr(), _errors_in_one_line("--debug" in sys.argv[1:]):
        app()


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


@contextmanager
def _messages_on_stderr() -> Iterator[None]:
    """Show what the library says, on stderr, while a command runs."""
    log = logging.getLogger("glioscope")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def _errors_in_one_line(debug: bool) -> Iterator[None]:
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # while a full disk can still be said
    except GlioscopeError as error:
        if debug:
            raise
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what is left is lost
            print(storage_error(Path(error.filename or "standard output"), error), file=sys.stderr)
            sys.exit(2)
        said = one_line(f"{type(error).__name__}: {error}")
        print(f"unexpected {said}; run again with glioscope --debug to see where", file=sys.stderr)
        sys.exit(2)


def _print_scores(evaluation: Any) -> None:
    for warning in evaluation.warnings:
        print(one_line(f"warning: {warning}"), file=sys.stderr)
    rows = [
        [
            s.region,
            s.metric,
            _number(s.mean),
            _number(s.median),
            f"{_number(s.ci_low)} .. {_number(s.ci_high)}",
            str(s.n),
            str(s.failed),
        ]
        for s in evaluation.summary
    ]
    _print_table(["region", "metric", "mean", "median", "95 % interval", "n", "failed"], rows)
    print(f"report: {evaluation.folder / 'report.html'}")
    if evaluation.failed:
        raise typer.Exit(1)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(head: list[str], rows: list[list[str]]) -> None:
    """Print a table; wide as needed where the output is not a terminal, so that nothing is cut."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 250)
    console.print(table)
