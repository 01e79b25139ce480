"""The environment switches, read once per process by the plugin and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from switchboard_kernels.errors import SettingsError

_ALLOWED = {
    "SWITCHBOARD_KERNELS": ("on", "off"),
    "SWITCHBOARD_KERNELS_NATIVE": ("auto", "on", "off"),
}


@dataclass(frozen=True)
class Settings:
    """What the environment asks for.

    Attributes:
        enabled: ``SWITCHBOARD_KERNELS``, ``on`` (default) or ``off``. Off leaves vLLM as it is,
            with its CPU bug: base requests answered through another request's adapter.
        explicit: Whether ``SWITCHBOARD_KERNELS`` was set at all. On CUDA the kernels are used only
            when it was, as long as they have not been run on a GPU.
        native: ``SWITCHBOARD_KERNELS_NATIVE``. ``auto`` (default) builds and uses the C++
            extension where it is built or can be, and the CPU has AVX2, and falls back to torch;
            ``on`` fails when it cannot be built; ``off`` uses torch.
    """

    enabled: bool = True
    explicit: bool = False
    native: str = "auto"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read and validate the switches.

        Args:
            environment: Variables by name; the process's own when None.

        Returns:
            The validated settings.

        Raises:
            SettingsError: Some variables hold values outside their lists; all are named.
        """
        source = os.environ if environment is None else environment
        values: dict[str, str] = {}
        problems: list[str] = []
        for name, allowed in _ALLOWED.items():
            value = source.get(name, allowed[0]).strip().lower()
            if value not in allowed:
                problems.append(f"{name}={source[name]!r}: set it to one of {', '.join(allowed)}")
            values[name] = value
        if problems:
            raise SettingsError("; ".join(problems))
        return cls(
            enabled=values["SWITCHBOARD_KERNELS"] == "on",
            explicit="SWITCHBOARD_KERNELS" in source,
            native=values["SWITCHBOARD_KERNELS_NATIVE"],
        )
