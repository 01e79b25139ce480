"""The `switchboard` command.

Heavy parts (Ray, vLLM, torch) are imported inside the commands that need them, so that
`switchboard --help` starts in a blink. Other packages add commands through the entry-point group
`switchboard.commands`; a name such as `adapters.NAME` joins that group.
"""

import os
import sys
import time
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from serving import endpoints, private_files, terminal
from serving.config import settings as settings_module
from serving.doctor.command import doctor
from serving.errors import SwitchboardError
from serving.libraries import command as libraries
from serving.startup import (
    adapter_import,
    audit,
    backup,
    commands,
    erase,
    explain,
    keys,
    retention,
    reviews,
    rules,
    vault,
)
from serving.startup.remote import DEFAULT_URL, Url, call
from serving.terminal import Json, print_json

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A self-hosted inference server that learns from the people who use it.",
)
adapters_app = typer.Typer(
    no_args_is_help=True, help="Adapter versions: import, list, promote, canary, roll back."
)
app.add_typer(keys.app, name="keys")
app.add_typer(vault.app, name="vault")
app.add_typer(rules.app, name="rules")
app.add_typer(reviews.app, name="reviews")
app.add_typer(audit.app, name="audit")
app.add_typer(retention.app, name="retention")
app.add_typer(adapters_app, name="adapters")
app.add_typer(libraries.knowledge, name="knowledge")
app.add_typer(libraries.responses, name="responses")
console = terminal.console()

APPLY_POLL_S = 0.5
_LOST: dict[str, Any] = {"state": "failed", "error": "the coordinator has restarted meanwhile."}


app.command()(commands.init)
app.command()(commands.serve)
app.command()(doctor)
app.command()(erase.erase)
app.command()(explain.explain)
app.command()(backup.backup)
app.command()(backup.restore)
adapters_app.command("import")(adapter_import.import_)


@app.command()
def apply(
    config: Annotated[Path, typer.Argument(help="Configuration file.")],
    url: Annotated[
        str | None,
        typer.Option(envvar="SWITCHBOARD_URL", help="Default: where the file says it listens."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="As given to `switchboard serve`.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would change.")] = False,
    allow_gap: Annotated[
        bool, typer.Option(help="Restart the only replica, though nothing answers meanwhile.")
    ] = False,
) -> None:
    """Give a running server another configuration, without a failed request."""
    from serving.config import prompts

    settings = settings_module.load(config, port=port)
    body = {
        "settings": settings.model_dump(mode="json"),
        "prompts": prompts.read(settings.prompts),
        "allow_gap": allow_gap,
        "dry_run": dry_run,
    }
    url = url or settings.url
    sent = call("POST", url, endpoints.CONFIG, json=body)
    if dry_run:
        console.print("It would change: " + (", ".join(sent["changes"]) or "nothing"))
        return
    while (done := sent["apply"] or _LOST)["state"] != "applied":
        if done["state"] == "failed":
            raise SwitchboardError(f"Not applied, {sent['hash']} stays: {done['error']}")
        time.sleep(APPLY_POLL_S)
        try:
            sent = call("GET", url, endpoints.CONFIG)
        except SwitchboardError as exc:
            Console(stderr=True).print(f"switchboard: {exc.message}; trying again", markup=False)
    changed = ", ".join(key for keys in done["changes"].values() for key in keys)
    console.print(
        f"{sent['hash']} is in force on {done['replicas']} replica(s) after "
        f"{done['seconds']:.1f} s; changed: {changed or 'nothing'}",
        markup=False,
    )


@adapters_app.command("list")
def adapters_list(
    lob: Annotated[str | None, typer.Argument(help="Only this line of business.")] = None,
    json_: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List adapter versions and their states."""
    params = {"lob": lob} if lob else {}
    versions = call("GET", url, endpoints.ADAPTERS, params=params)["data"]
    if json_:
        print_json(versions)
        return
    table = Table("version", "state", "parent", "rank", "created", "erased", "metrics")
    for version in versions:
        shown = {k: v for k, v in version["metrics"].items() if isinstance(v, int | float)}
        table.add_row(
            version["name"],
            version["state"],
            version["parent"] or "base",
            str(version["rank"]),
            keys.when(version["created_at"]),
            str(version.get("erased_rows") or ""),
            ", ".join(f"{k}={v:.3g}" for k, v in shown.items()),
        )
    console.print(table)


@adapters_app.command("show")
def adapters_show(
    version: Annotated[str, typer.Argument(help="Such as care@7.")],
    json_: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show a version: its state, and what the gate and its canary said and why."""
    params = {"lob": version.partition("@")[0]}
    every = call("GET", url, endpoints.ADAPTERS, params=params)["data"]
    found = next((known for known in every if known["name"] == version), None)
    if found is None:
        raise SwitchboardError(f"There is no version {version}.")
    if json_:
        print_json(found)
        return
    console.print(f"{version}: {found['state']}, made from {found['parent'] or 'the base'}")
    if other := found.get("upstream"):
        answers = f"Answered by {other['model']} of upstreams.{other['name']}"
        console.print(answers, markup=False, highlight=False)
    if own := found.get("prompts"):
        named = ", ".join(f"{one['name']} ({one['hash']})" for one in own.values())
        console.print(f"Prompts of its own: {named}", highlight=False)
    if erased := found.get("erased_rows"):
        console.print(
            f"Tainted: {erased} interactions that it learned from are erased. "
            f"switchboard adapters retrain-without {version}",
            highlight=False,
        )
    for title, said in (("Gate", found["decision"]), ("Canary", found["metrics"].get("canary"))):
        if not said:
            continue
        verdict = said.get("why") or ("accepted" if said.get("accepted") else "rejected")
        console.print(f"{title}: {verdict}", highlight=False)
        for reason in said.get("reasons", ()):
            text = f"{'+' if reason['passed'] else '-'} {reason['text']}"
            console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)


@adapters_app.command("promote")
def adapters_promote(
    version: Annotated[str, typer.Argument(help="Such as care@7.")],
    force: Annotated[bool, typer.Option(help="Even if the gate rejected it.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a version live on every replica; returns when none answers with the old one."""
    _print_rollout(
        call("POST", url, f"{endpoints.ADAPTERS}/{version}/promote", json={"force": force})
    )


@adapters_app.command("canary")
def adapters_canary(
    version: Annotated[str, typer.Argument(help="Such as care@7.")],
    share: Annotated[float, typer.Option(help="Share of conversations, 0 to 1.")] = 0.1,
    force: Annotated[bool, typer.Option(help="Even if the gate rejected it.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Give a version a share of its line of business's conversations."""
    body = {"share": share, "force": force}
    _print_rollout(call("POST", url, f"{endpoints.ADAPTERS}/{version}/canary", json=body))


@adapters_app.command("rollback")
def adapters_rollback(
    lob: Annotated[str, typer.Argument(help="Line of business.")], url: Url = DEFAULT_URL
) -> None:
    """Stop a canary; without one, return to the version that was live before."""
    _print_rollout(call("POST", url, f"{endpoints.ADAPTERS}/{lob}/rollback"))


def _print_rollout(done: dict[str, Any]) -> None:
    share = f" for {done['share']:.0%} of conversations" if done["share"] else ""
    console.print(
        f"{done['lob']}: {done['from']} → {done['to']}{share} on {done['replicas']} replica(s) "
        f"in {done['seconds']:.2f} s"
    )


def _stay_off_proxies() -> None:
    """Have every client of this process reach this machine directly, whatever the environment says.

    A proxy would see the keys, and reach another machine by the same name.
    """
    there = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    listed = [name.strip() for name in there.split(",") if name.strip()]
    listed += [name for name in ("127.0.0.1", "localhost", "::1") if name not in listed]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(listed)


def main() -> None:
    """Entry point; our own errors are a message and exit status 1, not a traceback."""
    private_files.keep()
    _stay_off_proxies()
    load_commands()
    try:
        app()
    except SwitchboardError as exc:
        Console(stderr=True).print(
            f"switchboard: {exc}", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(1)


@cache
def load_commands() -> None:
    """Add the commands of other packages."""
    for point in entry_points(group="switchboard.commands"):
        command = point.load()
        group, _, name = point.name.rpartition(".")
        under = adapters_app if group == "adapters" else app
        if isinstance(command, typer.Typer):
            under.add_typer(command, name=name)
        else:
            under.command(name)(command)


if __name__ == "__main__":
    main()
