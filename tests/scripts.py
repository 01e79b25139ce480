"""Loads a script, which is in no package, as a module."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def load(path: str, name: str) -> ModuleType:
    """Return a script's module, run as if it were imported.

    Args:
        path: Under the repository's root.
        name: The module's; several scripts are called `run.py`.
    """
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
