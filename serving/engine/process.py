"""Engine processes that die with their replica.

vLLM runs its engine core and workers as child processes. When a replica is killed with SIGKILL it
cannot stop them, and an orphan would hold the GPU that the replacement needs. vLLM loads this
plugin (entry-point group `vllm.general_plugins`) in each of its processes; there it asks the
kernel to be killed when the parent dies.
"""

import os

from serving import parent_process
from serving.engine import fault as engine_fault

PARENT = "SWITCHBOARD_ENGINE_PARENT"


def mark_parent() -> None:
    """Make this process the one whose death ends the engine processes that it starts."""
    os.environ[PARENT] = str(os.getpid())


def die_with_parent() -> None:
    """Bind this process's life to its parent's, if the parent asked for it; the plugin."""
    if os.environ.get(PARENT) != str(os.getppid()):
        return
    engine_fault.listen()
    parent_process.end_with(int(os.environ[PARENT]))
    mark_parent()
