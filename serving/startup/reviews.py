"""`switchboard reviews`: the review queue from a terminal."""

from typing import Annotated, Any

import typer
from rich.table import Table

from serving import endpoints, terminal
from serving.startup import keys
from serving.startup.remote import DEFAULT_URL, Url, call
from serving.terminal import Json, print_json

app = typer.Typer(no_args_is_help=True, help="The review queue: list, show, decide.")
console = terminal.console()

Id = Annotated[str, typer.Argument(help="The task's id, as `list` shows it.")]


@app.command("list")
def list_(
    lob: Annotated[str | None, typer.Argument(help="Only this line of business.")] = None,
    status: Annotated[
        str | None,
        typer.Option(help="pending, escalated, claimed, approved, edited, rejected, expired."),
    ] = None,
    json_: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List tasks, the longest unchanged first."""
    found: list[dict[str, Any]] = []
    table = Table("id", "status", "lob", "task", "found", "made", "deadline", "escalate to")
    wanted = {"lob": lob, "status": status}
    params: dict[str, Any] = {name: value for name, value in wanted.items() if value}
    while True:
        page = call("GET", url, endpoints.REVIEWS, params=params)
        found += page["data"]
        for one in page["data"]:
            table.add_row(
                one["id"],
                one["status"],
                one["lob"],
                one["task"],
                ", ".join(one["kinds"]),
                keys.when(one["created_at"]),
                keys.when(one["deadline"]),
                ", ".join(one["escalate_to"]),
            )
        if not page["has_more"]:
            break
        params["after"] = page["last"]
    if json_:
        print_json(found)
        return
    console.print(table)


@app.command("show")
def show(id: Id, json_: Json = False, url: Url = DEFAULT_URL) -> None:  # noqa: A002
    """Show a task with all that a reviewer needs: conversation, answer, findings."""
    task = call("GET", url, f"{endpoints.REVIEWS}/{id}")
    if json_:
        print_json(task)
        return
    context = task["context"]
    _print(f"{task['id']}: {task['status']}, {task['task']} of {task['version']}")
    _print(f"Interaction {task['interaction_id']}, deadline {keys.when(task['deadline'])}")
    for turn in context["conversation"]:
        _print(f"[{turn['role']}] {turn['text']}")
    for passage in context["knowledge"]:
        _print(f"[knowledge] {passage}")
    text = context["text"]
    _print("There is no answer: the request is held." if text is None else f"Answer: {text}")
    for found in context["verdicts"]:
        start, end = found["span"]
        _print(f"- {found['guard']}, {found['kind']} at {start}-{end}: {found['reason']}")
    if (outcome := task["outcome"]) is not None:
        _print(f"{task['status']}: {outcome['text']} ({outcome['reason'] or 'no reason given'})")


@app.command("decide")
def decide(
    id: Id,  # noqa: A002
    decision: Annotated[str, typer.Argument(help="approve, edit or reject.")],
    text: Annotated[str | None, typer.Option(help="The final text of an edit.")] = None,
    reason: Annotated[str, typer.Option(help="Why; stored with the feedback.")] = "",
    url: Url = DEFAULT_URL,
) -> None:
    """Claim a task and decide it; where that is refused, give it back."""
    path = f"{endpoints.REVIEWS}/{id}"
    claim = {"claim": call("POST", url, f"{path}/claim")["claim"]}
    said = {"decision": decision, "reason": reason, **({} if text is None else {"text": text})}
    try:
        done = call("POST", url, f"{path}/decision", json={**said, **claim})
    except BaseException:
        call("POST", url, f"{path}/release", json=claim)
        raise
    _print(f"{done['id']}: {done['status']}")


def _print(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
