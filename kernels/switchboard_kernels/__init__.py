"""Multi-LoRA kernels for vLLM and a fused LoRA linear for PEFT training.

vLLM finds this package by itself through the ``vllm.general_plugins`` entry point
``switchboard_kernels.plugin:register``; the environment variable ``SWITCHBOARD_KERNELS``
(``on`` or ``off``) is the only switch. Each kernel has a folder of its own, with its plain-torch
``reference.py``; nothing heavy is imported here.
"""

from switchboard_kernels.errors import KernelsError, SettingsError, ShapeError
from switchboard_kernels.settings import Settings

__version__ = "0.1.0"

__all__ = ["KernelsError", "Settings", "SettingsError", "ShapeError", "__version__"]
