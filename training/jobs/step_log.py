"""What the trainer's log of steps says, as a job's events, checkpoints and results file. Pure."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from serving.store.jobs.records import JobCheckpoint, JobEvent
from serving.store.records import Json
from training.trainers.job import Result

Entry = dict[str, Any]
"""A line of the log, as `tracking.step_log` writes it."""
_FIGURES = {
    "loss": "train_loss",
    "mean_token_accuracy": "train_mean_token_accuracy",
    "eval_loss": "valid_loss",
    "eval_mean_token_accuracy": "valid_mean_token_accuracy",
    "rewards/margins": "train_reward_margin",
    "rewards/accuracies": "train_reward_accuracy",
    "eval_rewards/margins": "valid_reward_margin",
    "eval_rewards/accuracies": "valid_reward_accuracy",
    "learning_rate": "learning_rate",
}
"""The trainer's names, and those of OpenAI's checkpoints and files."""
_COLUMNS = {
    "step": "step",
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
}
"""OpenAI's columns of a results file, and the figures in them."""


def entries(text: str) -> tuple[list[Entry], int]:
    """Read a log's lines; one that is still being written is left for later.

    Returns:
        The entries, and how many characters they took.
    """
    whole = text.rpartition("\n")[0]
    found = []
    for line in whole.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # cut off by a kill, with a whole line after it
            continue
    return found, len(whole) + 1 if whole else 0


def of_result(result: Result) -> list[Entry]:
    """Return what a training's result says of its steps, where its log is on another machine."""
    learned = [{"step": step, "of": result.steps, "loss": loss} for step, loss in result.losses]
    looks = [
        {"step": step, "of": result.steps, "eval_loss": loss}
        for step, loss in result.validation_losses
    ]
    return [*learned, *looks]


def by_step(log: Iterable[Entry]) -> dict[int, Json]:
    """Return each step's figures by OpenAI's names; of steps done again after a kill the last."""
    found: dict[int, Json] = {}
    for entry in log:
        if "step" in entry:
            figures = found.setdefault(entry["step"], {"step": entry["step"]})
            figures |= {new: entry[old] for old, new in _FIGURES.items() if old in entry}
    return dict(sorted(found.items()))


def events(log: Iterable[Entry]) -> list[JobEvent]:
    """Return the events of steps, of looks at the validation file, and of checkpoints."""
    found = []
    for entry in log:
        if "checkpoint" in entry:
            step = entry["checkpoint"]
            name = f"checkpoint {step}"
            found.append(JobEvent(message=f"Checkpoint created at step {step}", name=name))
            continue
        step, of = entry["step"], entry["of"]
        figures = {new: entry[old] for old, new in _FIGURES.items() if old in entry}
        kind, key = ("validation", "eval_loss") if "eval_loss" in entry else ("training", "loss")
        found.append(
            JobEvent(
                message=f"Step {step}/{of}: {kind} loss={entry[key]:.2f}",
                kind="metrics",
                name=f"{kind} {step}",
                data={"step": step, "total_steps": of, **figures},
            )
        )
    return found


def checkpoints(log: Sequence[Entry]) -> list[JobCheckpoint]:
    """Return the checkpoints, each with its step's figures."""
    figures = by_step(log)
    steps = dict.fromkeys(entry["checkpoint"] for entry in log if "checkpoint" in entry)
    return [JobCheckpoint(step=step, metrics=figures.get(step, {"step": step})) for step in steps]


def finish_at(first: Entry, first_at: float, last: Entry, now: float) -> float | None:
    """Return when training should end, at the pace since a first step; None: too early to say.

    Args:
        first: An entry of this run.
        first_at: When it came, in seconds since the epoch.
        last: The newest entry.
        now: The present moment.
    """
    done = int(last["step"]) - int(first["step"])
    if done <= 0:
        return None
    return now + (now - first_at) / done * int(last["of"] - last["step"])


def as_csv(log: Iterable[Entry]) -> bytes:
    """Return OpenAI's results file: a row a step; a figure that is not known is empty."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for figures in by_step(log).values():
        rows.writerow([figures.get(name, "") for name in _COLUMNS.values()])
    return out.getvalue().encode()
