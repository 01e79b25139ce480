"""The process that makes a dataset, seen from both sides.

A million rows take minutes of one core and of nothing else, so the caller's event loop would renew
no lease meanwhile. `python -m training.execution.curation_process` reads what to make as a line of
JSON from its standard input, and answers with a line: the dataset's folder, or the error by its
name. When its input closes, as when its parent is killed, it ends at once; what it has written so
far has no name in any folder but `.writing-…`, and nothing in the store.
"""

import asyncio
import json
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving import errors as serving_errors
from serving import parent_process
from serving.errors import SwitchboardError
from serving.store.database import Database
from training import errors as training_errors
from training.data import dataset, selection
from training.data.dataset import Dataset
from training.data.forms import form as forms
from training.data.forms.form import Form
from training.errors import CurationFailed
from training.recipe.recipe import Recipe

MODULE = (sys.executable, "-P", "-m", "training.execution.curation_process")


async def build(
    store: str,
    lob: str,
    recipe: Recipe,
    root: Path,
    command: Sequence[str] = MODULE,
    form: Form | None = None,
) -> Dataset:
    """Build the dataset that a recipe asks for, in a process of its own.

    A caller that is cancelled ends the process.

    Args:
        store: The store's URL, as it is configured: with the names of secrets, not with them.
        lob: The line of business.
        recipe: Its recipe.
        root: Folder of all datasets.
        command: The process.
        form: How the live version is asked, where it has prompts of its own.

    Raises:
        TooLittleData: There is not enough feedback yet.
        DatasetError: The golden set's files are gone and cannot be made again.
        CurationFailed: The process died, or what it met has no name of ours.
    """
    asked = {
        "store": store,
        "lob": lob,
        "root": str(root),
        "recipe": recipe.model_dump(mode="json"),
        "form": form and form.written(),
    }
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        if process.stdin is None or process.stdout is None:
            raise CurationFailed(f"{lob}: the curation process did not start")
        process.stdin.write(f"{json.dumps(asked)}\n".encode())
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            raise CurationFailed(
                f"{lob}: the curation process {how}; no dataset was made. Where the machine killed "
                "it, it had too little memory"
            )
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    answer = json.loads(line)
    if "error" in answer:
        raise _named(answer["error"])
    return await asyncio.to_thread(dataset.read, Path(answer["folder"]))


def _named(error: dict[str, Any]) -> SwitchboardError:
    """Return the error that the process met."""
    for module in (training_errors, serving_errors):
        kind = getattr(module, error["name"], None)
        if isinstance(kind, type) and issubclass(kind, SwitchboardError):
            return kind(error["message"], param=error["param"], reason=error["reason"])
    return CurationFailed(error["message"])


async def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        db = Database(asked["store"])
        await db.open()
        try:
            recipe = Recipe.model_validate(asked["recipe"])
            form = asked["form"] and forms.parsed(asked["form"])
            built = await selection.build(db, asked["lob"], recipe, Path(asked["root"]), form)
        finally:
            await db.close()
    except SwitchboardError as exc:
        said = {"message": exc.message, "param": exc.param, "reason": exc.reason}
        return {"error": {"name": type(exc).__name__, **said}}
    except Exception as exc:
        traceback.print_exc()
        message = f"{asked['lob']}: the dataset could not be made: {exc!r}"
        return {"error": {"name": "", "message": message, "param": None, "reason": None}}
    return {"folder": str(built.folder)}


def _serve() -> None:
    """Make the one dataset that standard input asks for: the child's side."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries may print; only the answer goes to our standard output
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=parent_process.exit_at_end_of_input, daemon=True).start()
    answers.write(json.dumps(asyncio.run(_answer(asked))) + "\n")
    answers.flush()
    os._exit(0)  # the thread still reads, and would hold up the interpreter's end


if __name__ == "__main__":
    _serve()
