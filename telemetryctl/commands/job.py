"""Jobs: long work that the server does."""

from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.completion import complete_jobs
from telemetryctl.options import command, noun
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.output.render import Column
from telemetryctl.session import Session
from telemetryctl.waiting import wait_for_job

app = noun("Long work that the server does: backtests.")

LIST_ROWS_MAX = 1_000
LIST_COLUMNS = (
    Column("job_id", title="JOB", is_fixed=True),
    Column("type", is_fixed=True),
    Column("status", is_fixed=True),
    Column("progress", is_right=True),
    Column("progress_text", title="DOING"),
    Column("created_at", title="SINCE", is_time=True),
    Column("created_by", title="BY"),
)
ITEM_COLUMNS = (
    *LIST_COLUMNS,
    Column("started_at", is_time=True),
    Column("finished_at", is_time=True),
    Column("error"),
    Column("result"),
)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id.", autocompletion=complete_jobs)]


@command(app, example="telemetryctl job ls\ntelemetryctl job ls --status running --ids")
def ls(
    session: Session,
    *,
    job_type: Annotated[str | None, typer.Option("--type", help="Such as backtest.")] = None,
    status: Annotated[str | None, typer.Option(help="queued, running, done or failed.")] = None,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, max=LIST_ROWS_MAX, help="At most so many.")
    ] = 100,
    is_ids: Annotated[bool, typer.Option("--ids", help="Ids only, one a line.")] = False,
) -> None:
    """List jobs, the newest first."""
    document = session.client.list_jobs(type=job_type, status=status, limit=limit)
    if is_ids:
        session.renderer.ids(document["jobs"], key="job_id")
    else:
        session.renderer.listing(document, key="jobs", columns=LIST_COLUMNS)


@command(app, example="telemetryctl job get job_01kcq2v8m3000000000000000a -o json")
def get(session: Session, *, job_id: JobId) -> None:
    """Show a job, with its result when it is done; exit 5 when it failed."""
    job = session.client.get_job(job_id)
    session.renderer.item(job, columns=ITEM_COLUMNS)
    if job["status"] == "failed":
        raise typer.Exit(ExitCode.REFUSED)


@command(
    app,
    example="""telemetryctl job wait job_01kcq2v8m3000000000000000a -o json
    telemetryctl job ls --status running --ids | xargs -n 1 telemetryctl job wait --for 10m""",
)
def wait(
    session: Session,
    *,
    job_id: JobId,
    for_: Annotated[
        str | None, typer.Option("--for", help="At most so long: 10m; then exit 75.")
    ] = None,
) -> None:
    """Wait until a job is over, and show it; exit 5 when it failed or was cancelled."""
    at_most = None if for_ is None else times.parse_duration(for_)
    job = wait_for_job(session.client, job_id, console=session.console, at_most=at_most)
    session.renderer.item(job, columns=ITEM_COLUMNS)


@command(app, example="telemetryctl job cancel job_01kcq2v8m3000000000000000a")
def cancel(session: Session, *, job_id: JobId) -> None:
    """End a job that waits or runs."""
    try:
        answer: dict[str, Any] = session.client.cancel_job(job_id)
    except ServerProblem as problem:
        raise problem.during(f"{job_id} was not cancelled") from problem
    session.console.note(str(answer.get("message") or f"job {job_id} is cancelled"))
