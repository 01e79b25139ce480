"""Why the engine did not start, carried from its process to the person who started it.

vLLM's engine runs in processes of its own and tells its parent only that it failed; the cause
stands in a log. `listen`, called in each of these processes (see process.py), writes the
exceptions that vLLM logs to a file that the replica reads when the start has failed.
"""

import logging
import os
import re
from pathlib import Path

FILE = "SWITCHBOARD_ENGINE_FAULT"
LIMIT_CHARS = 1500  # one screen

# What vLLM says, by pattern, to the key that mends it. The first that fits is shown.
_FIXES = (
    (
        r"on startup is less than desired|on kv cache|kv cache is needed|No available memory",
        "engine.kv_cache_memory_bytes",
        "Lower it (or engine.max_model_len), or free memory",
    ),
    (r"CUDA out of memory|out of memory|SIGKILL|-9\b", "engine.gpu_memory_utilization",
     "The memory did not suffice: lower it or engine.kv_cache_memory_bytes, or free memory"),
    (r"max_model_len|max seq len|maximum (model|context) length", "engine.max_model_len",
     "Lower it"),
    (r"trust_remote_code", "engine.trust_remote_code",
     "Set it to true, if you trust the model's own code"),
    (r"(?i)bfloat16|float16|dtype", "engine.dtype", "Choose another, such as float32"),
    (r"(?i)tensor.parallel|world size", "engine.tensor_parallel_size", "Correct it"),
    (r"(?i)safetensor|size mismatch|shape|exceeds dimension|KeyError|weight", "model",
     "The checkpoint's weights do not fit its config.json: copy or download it again"),
    (r"(?i)architectures|not supported|Unrecognized|model_type", "model",
     "This engine has no such architecture: choose another model"),
    (r"(?i)tokenizer", "model", "Complete the checkpoint's tokenizer, or set engine.tokenizer"),
)  # fmt: skip


class _Writer(logging.Handler):
    """Appends the exceptions of log records to a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.ERROR)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{type(error).__name__}: {error}\0")
            except OSError:
                pass  # the log has it


def listen() -> None:
    """Write what vLLM logs with an exception, if the parent has named a file for it."""
    if path := os.environ.get(FILE):
        logging.getLogger("vllm").addHandler(_Writer(Path(path)))


def explain(written: str, raised: BaseException) -> str:
    """Say what was wrong, with the key of ours that mends it.

    Args:
        written: What `listen` has written; the first exception is the cause of the others.
        raised: What the engine's parent raised.
    """
    first = next((part for part in written.split("\0") if part.strip()), "")
    cause = (first or f"{type(raised).__name__}: {raised}").strip()
    if len(cause) > LIMIT_CHARS:
        cause = f"{cause[: LIMIT_CHARS // 2]} […] {cause[-LIMIT_CHARS // 2 :]}"
    for pattern, key, fix in _FIXES:
        if re.search(pattern, cause):
            return f"{key}: the engine could not start: {cause}\n  {fix}."
    return f"engine: the engine could not start: {cause}"
