"""`switchboard flywheel`: train, judge and promote by schedule; look on, pause, resume, force."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.terminal import Json, print_json
from training.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_OUT,
    Config,
    Lob,
    Out,
    RunningUrl,
)

if TYPE_CHECKING:
    from training.flywheel.scheduler import FlywheelScheduler

app = typer.Typer(
    no_args_is_help=True, help="The flywheel: training by schedule; status, pause, resume, force."
)
Lobs = Annotated[
    list[str] | None, typer.Option("--lob", help="A line of business; may be repeated.")
]


@app.command()
def run(
    lobs: Lobs = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, as from cron.")] = False,
    config: Config = DEFAULT_CONFIG,
    recipe: Annotated[
        Path | None,
        typer.Option(help="One recipe for all; by default training/LOB.yaml or default.yaml."),
    ] = None,
    url: RunningUrl = None,
    out: Out = DEFAULT_OUT,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 15.0,
) -> None:
    """Turn every line of business by its recipe, until stopped; several schedulers may run.

    The API key is read from SWITCHBOARD_API_KEY: role admin. A failed step is tried again, so the
    exit status says nothing of cycles: `status`, the reports and the webhook do.
    """

    async def work(wheel: "FlywheelScheduler", known: list[str]) -> None:
        if once:
            for lob in known:
                decision = await wheel.step(lob)
                typer.echo(f"{lob}: {decision.why}")
        else:
            typer.echo(f"{wheel.owner} turns {', '.join(known)}")
            await wheel.run(known, every_s=every)

    _with_wheel(config, recipe, work, lobs, url=url, out=out)


@app.command()
def status(lobs: Lobs = None, json_: Json = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show where each line of business stands, and what would happen next."""
    found: list[dict[str, Any]] = []

    async def work(wheel: "FlywheelScheduler", known: list[str]) -> None:
        from serving.store import leases
        from training.flywheel.schedule import clock

        holders = await leases.holders(wheel.db)
        for lob in known:
            decision, last = await wheel.look(lob, wheel.recipes(lob))
            holder = holders.get(f"flywheel/{lob}")
            if json_:
                next_ = {"action": decision.action, "why": decision.why}
                found.append({"lob": lob, "next": next_, "holder": holder, "cycle": last})
                continue
            verb = {"wait": "waits", "begin": "begins a cycle", "go_on": "goes on"}
            typer.echo(f"{lob}: {verb[decision.action]}: {decision.why}")
            if holder:
                typer.echo(f"  {holder.owner} is at work, seen {clock(holder.heartbeat_at)}")
            if last:
                name = f", {last.version}" if last.version else ""
                typer.echo(f"  cycle {last.number}, {clock(last.created_at)}: {last.state}{name}")
                if last.log:
                    typer.echo(f"  {last.log[-1]['text']}")

    _with_wheel(config, None, work, lobs)
    if json_:
        print_json(found)


@app.command()
def pause(lob: Lob, config: Config = DEFAULT_CONFIG) -> None:
    """Begin no cycle, and take no step of one under way; a canary is watched all the same."""
    _tell(config, lob, "is paused", paused=True)


@app.command()
def resume(lob: Lob, config: Config = DEFAULT_CONFIG) -> None:
    """Go on where `pause` stopped."""
    _tell(config, lob, "goes on", paused=False)


@app.command()
def force(lob: Lob, config: Config = DEFAULT_CONFIG) -> None:
    """Begin a cycle now, or try a failed step again now; a paused line waits for `resume`."""
    _tell(config, lob, "gets a cycle at the scheduler's next look", forced=True)


def _tell(config: Path, lob: str, words: str, **said: bool) -> None:
    async def work(wheel: "FlywheelScheduler", known: list[str]) -> None:
        from serving.store import cycles

        await cycles.set_flags(wheel.db, known[0], **said)
        typer.echo(f"{lob} {words}")

    _with_wheel(config, None, work, [lob])


def _with_wheel(
    config: Path, recipe: Path | None, work: Any, lobs: list[str] | None, **options: Any
) -> None:
    """Do work with a wheel over the open store; SIGTERM ends it as Ctrl-C does."""
    import asyncio
    import contextlib
    import os
    import signal
    import socket
    import uuid

    from serving.config import settings as server_settings
    from serving.store.database import Database
    from training.flywheel.scheduler import FlywheelScheduler
    from training.recipe import recipe as recipes

    settings = server_settings.load(config)
    known = list(lobs or settings.lobs)
    for lob in known:
        settings.require_lob(lob)

    from training.progress import show_steps

    show_steps()

    async def main() -> None:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        db = Database(settings.store_address)
        await db.open()
        try:
            wheel = FlywheelScheduler(
                db,
                settings,
                config,
                lambda lob: recipes.load(recipe or recipes.find(lob, config)),
                owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}",
                api_key=os.environ.get("SWITCHBOARD_API_KEY"),
                **options,
            )
            await work(wheel, known)
        finally:
            await db.close()

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main())
