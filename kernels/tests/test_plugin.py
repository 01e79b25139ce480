"""Which vLLM the plugin was tested with, and what it says of another."""

import importlib.util
import logging
import warnings

import pytest

from switchboard_kernels import plugin

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vLLM")


class Platform:
    """Stands where vLLM's platform class does; the plugin sets one attribute on it."""


@pytest.fixture(autouse=True)
def _as_in_a_new_process():
    plugin._warn_if_untested.cache_clear()
    yield
    plugin._warn_if_untested.cache_clear()


def answer_twice() -> None:
    for _ in range(2):
        plugin._answer_with(type("Fresh", (Platform,), {}), plugin.CPU_WRAPPER)


@needs_vllm
def test_the_installed_vllm_is_one_that_was_tested(caplog):
    answer_twice()
    assert plugin._vllm_version() in plugin.TESTED_VLLM
    assert not caplog.records


@needs_vllm
def test_another_vllm_is_warned_of_once(caplog, monkeypatch):
    monkeypatch.setattr(plugin, "TESTED_VLLM", ("0.1.0", "0.2.0"))
    answer_twice()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    assert "tested with vLLM 0.1.0, 0.2.0 and finds " + plugin._vllm_version() in text
    assert "SWITCHBOARD_KERNELS=off" in text


def test_an_unknown_version_is_warned_of(caplog, monkeypatch):
    monkeypatch.setattr(plugin, "_DISTRIBUTIONS", ("no-such-distribution",))
    answer_twice()
    (record,) = caplog.records
    assert "finds a version unknown" in record.getMessage()


@needs_vllm
def test_what_vllm_asks_of_a_wrapper_is_ours_but_for_classification_heads():
    """A method that vLLM adds or renames would be its own leaking one, and nobody would notice.

    ``apply_lora_full_linear`` is vLLM's: it leaves the rows of the base model as they are.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what vLLM's import says is not ours to fix
        from vllm.lora.punica_wrapper.punica_base import PunicaWrapperABC

        from switchboard_kernels.cpu_grouped_lora.vllm_plugin import GroupedPunicaWrapperCPU

    asked = PunicaWrapperABC.__abstractmethods__
    assert asked - vars(GroupedPunicaWrapperCPU).keys() == {"apply_lora_full_linear"}
