"""Errors of the package.

::

    KernelsError
    ├── SettingsError    an environment variable holds a value that means nothing
    ├── ShapeError       tensors whose shapes, types or layouts do not fit together
    └── BuildError       the native extension was asked for and could not be built
"""


class KernelsError(Exception):
    """Base of every error that this package raises on purpose."""


class SettingsError(KernelsError, ValueError):
    """An environment variable holds a value that means nothing."""


class ShapeError(KernelsError, ValueError):
    """Tensors whose shapes, types or layouts do not fit together."""


class BuildError(KernelsError, RuntimeError):
    """The native extension was asked for and could not be built."""
