"""`switchboard jobs`: work on fine-tuning jobs; list, show, follow and cancel them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.terminal import Json, console, print_json
from training.cli.options import DEFAULT_CONFIG, DEFAULT_OUT, Config, Out, with_store

if TYPE_CHECKING:
    from serving.config.settings import Settings
    from serving.store.database import Database

app = typer.Typer(
    no_args_is_help=True,
    help="Fine-tuning jobs that clients asked for: work on them, list, show, logs, cancel.",
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The job's id, such as ftjob-….")]


@app.command()
def work(
    once: Annotated[
        bool, typer.Option("--once", help="End when no job is left, as from cron.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    recipe: Annotated[
        Path | None,
        typer.Option(help="One recipe for all; by default training/LOB.yaml or default.yaml."),
    ] = None,
    out: Out = DEFAULT_OUT,
    lease: Annotated[
        float, typer.Option(min=1, help="Seconds of silence after which another takes over.")
    ] = 60.0,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Validate and train jobs, one after the other, until stopped; several runners may work.

    It needs the store, the files and the adapters of the configuration, and no running server.
    """
    import os
    import signal
    import socket
    import uuid

    from training.jobs.runner import JobRunner
    from training.progress import show_steps
    from training.recipe import recipe as recipes

    async def run(db: "Database", settings: "Settings") -> None:
        import asyncio

        known = {lob: recipes.load(recipe or recipes.find(lob, config)) for lob in settings.lobs}
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        runner = JobRunner(db, settings, known.__getitem__, owner, out, lease_s=lease, look_s=every)
        if once:
            typer.echo(f"{await runner.drain()} jobs worked on")
        else:
            typer.echo(f"{owner} works on fine-tuning jobs of {', '.join(settings.lobs)}")
            await runner.run()

    import asyncio
    import contextlib

    show_steps()
    with contextlib.suppress(asyncio.CancelledError):
        with_store(config, run)


@app.command("list")
def list_(
    lob: Annotated[str | None, typer.Argument(help="Only this line of business.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    json_: Json = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """List jobs, newest first."""
    from rich.table import Table

    from serving.store.jobs import jobs

    async def found(db: "Database", _: "Settings") -> Any:
        return (await jobs.page(db, None if lob is None else [lob], limit=limit))[0]

    every = with_store(config, found)
    if json_:
        print_json(every)
        return
    table = Table("id", "LOB", "method", "status", "created", "version", "error")
    for job in every:
        kind, error = job.method["type"], job.error.get("message", "")
        table.add_row(
            *(job.id, job.lob, kind, job.status.value, _when(job.created_at)),
            *(job.fine_tuned_model or "", error),
        )
    console().print(table)


@app.command()
def show(id_: Id, json_: Json = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show a job: what was asked for, where it stands, who works on it."""
    from serving.store import leases
    from serving.store.jobs import jobs, progress

    async def found(db: "Database", _: "Settings") -> Any:
        held = (await leases.holders(db)).get(jobs.lease(id_))
        return await jobs.get(db, id_), held, (await progress.events(db, id_, limit=1))[0]

    job, held, last = with_store(config, found)
    if json_:
        print_json(job.model_dump(mode="json") | {"runner": held.owner if held else None})
        return
    numbers = ", ".join(f"{k} {v}" for k, v in job.method["hyperparameters"].items())
    typer.echo(f"{job.id}: {job.status}, {job.method['type']} of {job.model} for {job.lob}")
    typer.echo(f"  {numbers}, seed {job.seed}, made {_when(job.created_at)}")
    typer.echo(f"  training file {job.training_file}")
    if job.validation_file:
        typer.echo(f"  validation file {job.validation_file}")
    if held:
        typer.echo(f"  {held.owner} is at work, seen {_when(held.heartbeat_at)}")
    if job.fine_tuned_model:
        typer.echo(f"  {job.fine_tuned_model}; results in {', '.join(job.result_files)}")
    if job.error:
        typer.echo(f"  {job.error['code']}: {job.error['message']}")
    for event in last:
        typer.echo(f"  {event.message}")


@app.command()
def logs(
    id_: Id,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 100,
    json_: Json = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show what happened to a job, oldest first."""
    from serving.store.jobs import jobs, progress

    async def found(db: "Database", _: "Settings") -> Any:
        await jobs.get(db, id_)
        return (await progress.events(db, id_, limit=limit))[0][::-1]

    every = with_store(config, found)
    if json_:
        print_json(every)
        return
    for event in every:
        level = "" if event.level == "info" else f"{event.level}: "
        typer.echo(f"{_when(event.created_at)} {level}{event.message}")


@app.command()
def cancel(id_: Id, json_: Json = False, config: Config = DEFAULT_CONFIG) -> None:
    """Cancel a job; the runner that works on it stops within a moment."""
    from serving.store import audit
    from serving.store.jobs import jobs
    from serving.store.jobs.state import Step

    async def done(db: "Database", _: "Settings") -> Any:
        return await jobs.ask(db, id_, Step.CANCEL, None, {"by": audit.operator()})

    job = with_store(config, done)
    if json_:
        print_json(job)
        return
    typer.echo(f"{id_} is {job.status}")


def _when(at: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
