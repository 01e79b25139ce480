import sys
from importlib.metadata import entry_points

import pytest

import switchboard_kernels
from switchboard_kernels import Settings, SettingsError
from switchboard_kernels.plugin import register


def test_defaults_are_on_and_auto():
    assert Settings.from_environment({}) == Settings(enabled=True, native="auto")


@pytest.mark.parametrize(("value", "enabled"), [("on", True), ("off", False), (" OFF ", False)])
def test_the_switch_is_read(value, enabled):
    assert Settings.from_environment({"SWITCHBOARD_KERNELS": value}).enabled is enabled


def test_unknown_values_are_all_named_with_their_fix():
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({"SWITCHBOARD_KERNELS": "yes", "SWITCHBOARD_KERNELS_NATIVE": "1"})
    assert "SWITCHBOARD_KERNELS='yes': set it to one of on, off" in str(error.value)
    assert "SWITCHBOARD_KERNELS_NATIVE='1': set it to one of auto, on, off" in str(error.value)


def test_off_patches_nothing(monkeypatch):
    monkeypatch.setenv("SWITCHBOARD_KERNELS", "off")
    monkeypatch.setitem(sys.modules, "vllm.platforms", None)  # importing it would fail
    register()


def test_vllm_finds_the_plugin_by_its_entry_point():
    (entry,) = [
        e for e in entry_points(group="vllm.general_plugins") if e.name == "switchboard_kernels"
    ]
    assert entry.load() is register


def test_the_public_surface():
    assert switchboard_kernels.__all__ == [
        "KernelsError",
        "Settings",
        "SettingsError",
        "ShapeError",
        "__version__",
    ]
