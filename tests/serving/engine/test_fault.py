"""The engine's own last error: carried between processes, and given the key that mends it."""

import logging
from pathlib import Path

import pytest

from serving.engine import fault as engine_fault


def test_an_exception_that_vllm_logs_reaches_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "fault"
    monkeypatch.setenv(engine_fault.FILE, str(file))
    root = logging.getLogger("vllm")
    before = list(root.handlers)
    engine_fault.listen()
    try:
        for text in ("Available memory is too little", "EngineCore failed"):
            try:
                raise ValueError(text)
            except ValueError:
                logging.getLogger("vllm.v1.engine.core").exception("EngineCore failed to start.")
        logging.getLogger("vllm.v1.engine.core").error("no exception here")
    finally:
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
    assert file.read_text().split("\0") == [
        "ValueError: Available memory is too little",
        "ValueError: EngineCore failed",
        "",
    ]


def test_nothing_listens_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(engine_fault.FILE, raising=False)
    before = list(logging.getLogger("vllm").handlers)
    engine_fault.listen()
    assert logging.getLogger("vllm").handlers == before


MEMORY = (
    "ValueError: Available memory on node 0 (10.1/23.5 GiB) on startup is less than desired CPU "
    "memory utilization (0.92, 21.66 GiB)."
)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        (MEMORY, "engine.kv_cache_memory_bytes"),
        ("RuntimeError: Engine core died: {'EngineCore_DP0': -9}", "engine.gpu_memory_utilization"),
        ("ValueError: User-specified max_model_len (9) is over 5", "engine.max_model_len"),
        ("OSError: pass trust_remote_code=True", "engine.trust_remote_code"),
        ("SafetensorError: header too large", "model"),
        ("ValueError: Model architectures ['X'] are not supported for now.", "model"),
        ("RuntimeError: start (0) + length (5) exceeds dimension size (3).", "model"),
        ("RuntimeError: something new", "engine"),
    ],
)
def test_the_cause_is_shown_with_the_key_that_mends_it(written: str, key: str) -> None:
    shown = engine_fault.explain(f"{written}\0Exception: later\0", RuntimeError("see above"))
    assert shown.startswith(f"{key}: ")
    assert written in shown
    assert "later" not in shown


def test_without_a_word_of_the_engine_the_parent_s_error_is_shown() -> None:
    assert "RuntimeError: core failed" in engine_fault.explain("", RuntimeError("core failed"))


def test_a_long_cause_fits_a_screen() -> None:
    assert len(engine_fault.explain("x" * 50_000, ValueError())) < 2000
