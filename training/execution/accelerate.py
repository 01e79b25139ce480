"""A job in several processes, by `accelerate launch`: several GPUs with DDP or FSDP.

The worker's process stays the one that is spoken to. For a recipe with `launch.accelerate_config`
it starts `accelerate launch`, each of whose processes runs `python -m training.execution.accelerate
JOB_FILE`, and reads the answer from a file beside the job's. All of them hold the end of one pipe
and end when it closes, so none outlives the worker.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from serving import parent_process
from training.trainers import stages

_ANSWER = "answer.json"


def run(job_file: Path, config: str) -> dict[str, Any]:
    """Do a job in several processes and return its answer.

    Args:
        job_file: The job's file.
        config: The configuration file of `accelerate launch`.
    """
    if not Path(config).is_file():
        return {"error": f"launch.accelerate_config: there is no file {config}"}
    answer = job_file.with_name(_ANSWER)
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config]
    process = subprocess.Popen(
        [*command, "-m", "training.execution.accelerate", str(job_file)], stdin=subprocess.PIPE
    )
    code = process.wait()
    if not answer.exists():
        return {"error": f"accelerate launch ended with status {code} and no answer"}
    content: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return content


def main(job_file: Path) -> int:
    """Do one process's part of a job; the first one answers, or any that fails."""
    threading.Thread(target=parent_process.exit_at_end_of_input, daemon=True).start()
    answer = stages.answer(job_file)
    failed = "error" in answer
    if failed or int(os.environ.get("RANK", "0")) == 0:
        part = job_file.with_name(f".{_ANSWER}.{os.getpid()}")
        part.write_text(json.dumps(answer) + "\n", encoding="utf-8")
        part.rename(job_file.with_name(_ANSWER))
    return int(failed)  # the launcher ends the others, who may wait for this one


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
