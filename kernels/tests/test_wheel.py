"""The wheel carries the C++ op for each instruction set, so that no compiler is needed."""

import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from switchboard_kernels.cpu_grouped_lora import native, variants

ROOT = Path(__file__).parents[1]
LOADED = """
from switchboard_kernels.cpu_grouped_lora import native
print(native.load()._name)
"""


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not (shutil.which("g++") or shutil.which("clang++")),
    reason="no C++ compiler for x86-64",
)
def test_a_wheel_needs_no_compiler_where_it_is_installed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns("build", "tests", "*.egg-info", ".mypy_cache")
    )
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(tmp_path), str(source)],
        check=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert "-py3-none-linux_x86_64" in wheel.name
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as content:
        content.extractall(installed)
    prebuilt = installed / variants.PREBUILT.relative_to(ROOT)
    names = {f"grouped_lora_{one.name}.so" for one in variants.VARIANTS}
    assert {file.name for file in prebuilt.iterdir()} == names
    best = variants.best(native._cpu_flags().split())
    if best is None:
        pytest.skip("this CPU has neither AVX-512 nor AVX2")
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        env={
            "PYTHONPATH": str(installed),
            "PATH": "",
            "HOME": str(tmp_path),
            "SWITCHBOARD_KERNELS_NATIVE": "on",
        },
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == str(prebuilt / best.prebuilt.name)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("avx2 fma bmi2 f16c movbe sse4_2", "avx2"),
        ("avx2 fma bmi2 f16c movbe avx512f avx512bw avx512vl avx512dq avx512cd", "avx512"),
        (
            "avx2 fma bmi2 f16c movbe avx512f avx512bw avx512vl avx512dq avx512cd avx512_bf16",
            "avx512bf16",
        ),
        ("avx512f avx512bw avx2 fma bmi2 f16c movbe", "avx2"),
    ],
)
def test_the_best_variant_is_the_one_that_the_cpu_has(flags: str, name: str) -> None:
    best = variants.best(flags.split())
    assert best is not None
    assert best.name == name


def test_a_cpu_without_avx2_has_no_variant() -> None:
    assert variants.best({"sse4_2", "avx", "fma"}) is None
