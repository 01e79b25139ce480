"""Where the native library is built: also for a user without a home."""

import pwd
from pathlib import Path

import pytest

from switchboard_kernels.cpu_grouped_lora import native


def test_a_user_without_a_home_builds_in_a_temporary_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_entry(_: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    with pytest.raises(RuntimeError):
        Path.home()
    folder = native._cache_folder()
    assert folder.is_dir()
    folder.rmdir()
