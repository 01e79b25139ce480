"""Import directions, read from the source, so that the house keeps its shape."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TRAINING_MAY_IMPORT = (
    "serving.store",
    "serving.adapters.registry",
    "serving.adapters.artifacts",
    "serving.errors",
    "serving.config.settings",
)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(folder: str) -> list[Path]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) >= 5, f"{folder} has too few files for this test to mean anything"
    return files


def test_serving_never_imports_training() -> None:
    for path in sources("serving"):
        assert not [name for name in imports(path) if name.split(".")[0] == "training"], path


def test_training_imports_only_serving_s_store_and_registry() -> None:
    for path in sources("training"):
        bad = [
            name
            for name in imports(path)
            if name.split(".")[0] == "serving" and not name.startswith(TRAINING_MAY_IMPORT)
        ]
        assert not bad, (path, bad)


def test_kernels_import_neither() -> None:
    for path in sources("kernels/switchboard_kernels"):
        assert not [n for n in imports(path) if n.split(".")[0] in {"serving", "training"}], path


@pytest.mark.parametrize(
    ("package", "modules"),
    [("vllm", {"engine.py"}), ("ray", {"deployment.py", "ray_worker.py"})],
)
def test_one_module_of_a_package_imports(package: str, modules: set[str]) -> None:
    importers = {
        path.name
        for folder in ("serving", "training")
        for path in sources(folder)
        if any(name.split(".")[0] == package for name in imports(path))
    }
    assert importers == modules


def test_kernels_folder_is_not_importable() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, serving.cli, training.cli.train\n"
        "slow = {'ray', 'vllm', 'torch', 'transformers', 'trl', 'sqlalchemy'} & {*sys.modules}\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
