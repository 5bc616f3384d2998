"""`stormwatch report`: judge a run's history again and write its reports."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands._json import json_option


@click.command(name="report")
@click.argument("run", type=click.Path(path_type=Path), default=Path("reports/latest"))
@click.argument("kept", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--sla", type=click.Path(path_type=Path), help="Judge by this policy (default: scenarios/sla.toml)."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change one value: broadcast_latency.threshold=1s.",
)
@json_option
def command(
    run: Path, kept: tuple[Path, ...], sla: Path | None, changes: tuple[str, ...], *, as_json: bool
) -> None:
    """Judge the history of RUN again (default: reports/latest) and write its reports.

    Only the reports are replaced; the history is read and never changed. What workers on other machines
    recorded and could not send is taken into it from each FOLDER, a worker's own run folder.
    Exits 0 when the reports are written, whatever they say, and 4 when they are not; `stormwatch gate`
    exits by the verdict. Parts of a run whose history is not kept are judged by another policy only as far as
    their reports tell: by other thresholds.
    """
    from harness.commands._errors import NoReportError, said_as
    from harness.commands._policy import policy_from
    from harness.files import DocumentError
    from harness.history import HistoryError, open_run
    from harness.history.take_in import take_in
    from harness.report import write_reports
    from harness.report.terminal import print_summary

    with said_as(NoReportError, DocumentError, HistoryError):
        folder = open_run(run)
        for path in kept:
            try:
                names = take_in(folder, path)
            except OSError as error:
                raise NoReportError(f"{path} can't be taken in: {error}") from error
            click.echo(f"taken in from {path}: {', '.join(names) or 'nothing new'}", err=as_json)
        policy = policy_from(sla, changes, profile=folder.read().profile)
        try:
            report = write_reports(folder, policy)
        except OSError as error:
            raise NoReportError(f"can't write the reports: {error}; the old ones were kept") from error
    if as_json:
        click.echo(report.text(), nl=False)
        return
    print_summary(report)
    for name in ("report.html", "report.md", "junit.xml", "report.json"):
        click.echo(folder.path / name)
