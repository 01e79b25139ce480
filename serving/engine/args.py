"""The names of vLLM's arguments, without importing vLLM.

Importing the engine takes over ten seconds; a typo in the configuration should be found at once.
So the argument classes are read from vLLM's source.
"""

import ast
import importlib.util
from pathlib import Path

from serving.errors import ConfigError

_SOURCES = {
    "engine/arg_utils.py": ("EngineArgs", "AsyncEngineArgs"),
    "entrypoints/launchers/cli_args.py": ("BaseFrontendArgs", "FrontendArgs"),
}
OURS = {
    "model": "model",
    "served_model_name": "served_name",
    "enable_lora": "adapters",
    "max_loras": "adapters.max_active",
    "max_cpu_loras": "adapters.max_cached",
    "max_lora_rank": "adapters.max_rank",
    "lora_modules": "the adapter registry",
    "host": "http.host",
    "port": "http.port",
    "api_key": "auth",
}


def names() -> frozenset[str]:
    """The arguments that vLLM knows.

    Raises:
        ConfigError: vLLM is not installed, or its source has moved.
    """
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise ConfigError("vLLM is not installed: install the extra `cpu` or `gpu`.")
    found: set[str] = set()
    for file, classes in _SOURCES.items():
        path = Path(spec.origin).parent / file
        if not path.is_file():
            raise ConfigError(f"vLLM has no {file}: versions 0.32.x are supported.")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in classes:
                found |= {
                    item.target.id
                    for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                }
    return frozenset(found)


def check(engine: dict[str, object]) -> None:
    """Refuse keys that vLLM does not know or that another key of ours decides.

    Raises:
        ConfigError: All such keys, each with its value and what to do.
    """
    known = names()
    faults = []
    for key, value in engine.items():
        if key in OURS:
            faults.append(f"engine.{key}: set it through `{OURS[key]}`.")
        elif key not in known:
            faults.append(
                f"engine.{key}: vLLM has no such argument (value {value!r}). "
                "See `vllm serve --help`; use underscores."
            )
    if faults:
        raise ConfigError("\n  ".join(faults), param="engine")
