"""Where the native library is built, and what is said where there is none."""

import logging
import os
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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "switchboard_kernels"


def test_the_folder_is_for_its_user_only(cache: Path) -> None:
    assert native._cache_folder() == cache
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o755)  # readable, so nobody else put anything there
    assert native._cache_folder() == cache
    assert cache.stat().st_mode & 0o777 == 0o700


def plant_link(cache: Path) -> None:
    (cache.parent / "elsewhere").mkdir()
    cache.symlink_to(cache.parent / "elsewhere")


def plant_open_folder(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)


def plant_file(cache: Path) -> None:
    cache.touch()


def plant_anothers(cache: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives a folder away")
    cache.mkdir(mode=0o700)
    os.chown(cache, 65534, -1)


@pytest.mark.parametrize("plant", [plant_link, plant_open_folder, plant_file, plant_anothers])
def test_what_another_user_could_have_filled_is_not_loaded_from(
    cache: Path, plant, caplog: pytest.LogCaptureFixture
) -> None:
    plant(cache)
    folder = native._cache_folder()
    assert folder.parent != cache.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert str(cache) in caplog.text
    folder.rmdir()


def test_a_planted_library_is_built_anew(cache: Path) -> None:
    built = native._cache_folder() / "grouped_lora_x.so"
    assert not native._ours(built)
    built.touch(mode=0o600)
    assert native._ours(built)
    built.chmod(0o666)
    assert not native._ours(built)
    built.unlink()
    built.symlink_to("/etc/hostname")
    assert not native._ours(built)


def test_a_lost_library_is_told_once_with_the_cause(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a warning: Python shows one without any logging set up, and nothing below."""
    monkeypatch.setenv("PATH", str(cache))
    monkeypatch.delenv("CXX", raising=False)
    native.load.cache_clear()
    try:
        assert native.load() is None
        assert native.load() is None
    finally:
        native.load.cache_clear()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "nor AVX2" in record.message or "no C++ compiler" in record.message
    assert "SWITCHBOARD_KERNELS_NATIVE=off" in record.message
