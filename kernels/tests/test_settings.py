import sys
import types
from importlib.metadata import entry_points

import pytest

import switchboard_kernels
from switchboard_kernels import Settings, SettingsError
from switchboard_kernels.plugin import CPU_WRAPPER, GPU_WRAPPER, register


def test_defaults_are_on_and_auto():
    assert Settings.from_environment({}) == Settings(enabled=True, explicit=False, native="auto")


@pytest.mark.parametrize(("value", "enabled"), [("on", True), ("off", False), (" OFF ", False)])
def test_the_switch_is_read(value, enabled):
    assert Settings.from_environment({"SWITCHBOARD_KERNELS": value}).enabled is enabled


def test_unknown_values_are_all_named_with_their_fix():
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({"SWITCHBOARD_KERNELS": "yes", "SWITCHBOARD_KERNELS_NATIVE": "1"})
    assert "SWITCHBOARD_KERNELS='yes': set it to one of on, off" in str(error.value)
    assert "SWITCHBOARD_KERNELS_NATIVE='1': set it to one of auto, on, off" in str(error.value)


class FakePlatform:
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def is_cpu(self) -> bool:
        return self.kind == "cpu"

    def is_cuda(self) -> bool:
        return self.kind == "cuda"

    @classmethod
    def get_punica_wrapper(cls) -> str:
        return "vLLM's own"


@pytest.mark.parametrize(
    ("kind", "switch", "wrapper"),
    [
        ("cpu", None, CPU_WRAPPER),
        ("cpu", "on", CPU_WRAPPER),
        ("cuda", None, "vLLM's own"),
        ("cuda", "on", GPU_WRAPPER),
        ("rocm", "on", "vLLM's own"),
    ],
)
def test_the_platform_answers_with_our_wrapper(monkeypatch, kind, switch, wrapper):
    platform = type("Platform", (FakePlatform,), {})(kind)
    module = types.ModuleType("vllm.platforms")
    module.current_platform = platform
    monkeypatch.setitem(sys.modules, "vllm", types.ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.platforms", module)
    if switch:
        monkeypatch.setenv("SWITCHBOARD_KERNELS", switch)
    register()
    register()
    assert platform.get_punica_wrapper() == wrapper


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
