"""Builds the C++ op into wheels, for each instruction set, where there is a compiler.

A wheel without it, or one installed from a source tree, compiles it when it is first used.
"""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

variants = runpy.run_path(
    str(Path(__file__).parent / "switchboard_kernels" / "cpu_grouped_lora" / "variants.py"),
    run_name="switchboard_kernels.variants",
)
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
BUILDS = sys.platform == "linux" and os.uname().machine == "x86_64" and bool(COMPILER)


class BuildWithLibraries(build_py):
    """Adds the compiled libraries to what is built; an editable install builds none."""

    def run(self) -> None:
        """Copy the modules, then compile beside them."""
        super().run()
        if self.editable_mode or not BUILDS:
            return
        folder = Path(self.build_lib, "switchboard_kernels", "cpu_grouped_lora", "prebuilt")
        folder.mkdir(parents=True, exist_ok=True)
        for variant in variants["VARIANTS"]:
            made = folder / f"{variant.name}.o"
            source = str(variants["SOURCE"])
            compile_ = [COMPILER, *variants["COMPILE"], *variant.march, source, "-o", str(made)]
            subprocess.run(compile_, check=True)
            library = str(folder / variant.prebuilt.name)
            subprocess.run([COMPILER, "-shared", str(made), "-o", library], check=True)
            made.unlink()


class PlatformWheel(bdist_wheel):
    """Says which machines a wheel with libraries is for; they are no modules of one Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Any Python, but this platform only."""
        return ("py3", "none", super().get_tag()[2])


class PlatformDistribution(Distribution):
    """Says that the wheel is for this platform when it carries libraries."""

    def has_ext_modules(self) -> bool:
        """Whether the wheel is for one platform only."""
        return BUILDS


commands = {"build_py": BuildWithLibraries} | ({"bdist_wheel": PlatformWheel} if BUILDS else {})
setup(cmdclass=commands, distclass=PlatformDistribution)
