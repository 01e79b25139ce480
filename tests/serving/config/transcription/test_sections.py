"""A speech model's folder is looked at when the configuration is read."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.config.transcription.sections import Transcription


def test_the_folder_must_hold_a_model(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"there is no model\.bin"):
        Transcription.model_validate({"model": tmp_path})
    (tmp_path / "model.bin").write_bytes(b"")
    assert Transcription.model_validate({"model": tmp_path}).model == tmp_path


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ValidationError, match="at_once"):
        Transcription.model_validate({"model": tmp_path, "at_once": 0})
