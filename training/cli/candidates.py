"""`switchboard candidates`: versions that nothing is trained for: another prompt or model."""

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
    RecipePath,
    RunningOrPrivateUrl,
    with_store,
)

if TYPE_CHECKING:
    from serving.config.prompts import Task
    from serving.config.settings import Settings
    from serving.store.database import Database

TASKS = ("suggestion", "summary", "handover", "insight")

app = typer.Typer(
    no_args_is_help=True, help="Candidates without a training: another prompt or model."
)


@app.command()
def add(
    lob: Lob,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=FILE",
            help="A prompt's file for suggestion, summary, handover or insight; again for more.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="UPSTREAM", help="The upstreams.NAME that answers instead."),
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Whether to judge it against what is live.")
    ] = True,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    url: RunningOrPrivateUrl = None,
    out: Out = DEFAULT_OUT,
    json_: Json = False,
) -> None:
    """Make a prompt or another model a candidate version, and judge it against what is live.

    The API key is read from SWITCHBOARD_API_KEY: role trainer. The exit status is 3 when the gate
    does not accept it; nothing that serves has changed.
    """
    from training.cli.train import REJECTED
    from training.progress import show_steps

    show_steps(stderr=json_)  # only the document is for the program
    files = parse(prompt or [])
    if not files and model is None:
        raise typer.BadParameter("give --prompt, --model or both", param_hint="--prompt")

    async def work(db: "Database", settings: "Settings") -> dict[str, Any]:
        from training.candidates import prompt as prompts
        from training.candidates import run
        from training.recipe import recipe as recipes

        chosen = recipes.load(recipe or recipes.find(lob, config)) if gate else None
        added = await prompts.add(db, settings, lob, files, model)
        version, decision = added.version, added.version.decision
        report: str | None = None
        if chosen is not None and version.state == "candidate" and not decision.get("accepted"):
            ran = await run.judge(
                db, added, config=config, settings=settings, recipe=chosen, out=out, url=url
            )
            decision = ran.decision.as_json()
            report = str(ran.outcome.folder / "report.html") if ran.outcome else None
        return {
            "version": version.name,
            "parent": version.parent,
            "changed": list(added.changed),
            "prompts": version.prompts,
            "upstream": version.upstream,
            "model": added.model.described if added.model else None,
            "new": added.is_new,
            "gate": decision or None,
            "report": report,
        }

    found = with_store(config, work)
    verdict = None if not gate or found["gate"] is None else bool(found["gate"]["accepted"])
    if json_:
        print_json(found)
    else:
        _tell(found, verdict)
    if verdict is False:
        raise typer.Exit(REJECTED)


def parse(given: list[str]) -> "dict[Task, Path]":
    """Read `TASK=FILE` of each option.

    Raises:
        BadParameter: There is no such task, or one is given twice.
    """
    files: dict[Task, Path] = {}
    for one in given:
        name, equals, file = one.partition("=")
        if not equals or name not in TASKS or not file:
            said = f"{one!r} is no TASK=FILE: the tasks are {', '.join(TASKS)}"
            raise typer.BadParameter(said, param_hint="--prompt")
        if name in files:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--prompt")
        files[name] = Path(file)  # type: ignore[index]  # one of TASKS
    return files


def _tell(found: dict[str, Any], verdict: bool | None) -> None:
    version, other = found["version"], found["model"]
    made = "is registered as a candidate" if found["new"] else "is that candidate already"
    said = found["parent"] or "the base"
    if other is not None:
        said = f"{other['model']} of upstreams.{other['name']} instead of {said}"
    if found["changed"]:
        said += f" with another prompt ({', '.join(found['changed'])})"
    typer.echo(f"{version} {made}: {said}")
    for reason in (found["gate"] or {}).get("reasons", ()):
        typer.echo(f"  {'+' if reason['passed'] else '-'} {reason['text']}")
    if found["report"]:
        typer.echo(f"Report: {found['report']}")
    if verdict is not False:
        lob = version.partition("@")[0]
        typer.echo(
            f"Next: switchboard canary run {lob} --version {version}, or switchboard adapters "
            f"promote {version}"
        )
