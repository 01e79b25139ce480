"""What becomes of private values on their way to the store, and the keys that protect them."""

from pathlib import Path

from pydantic import Field, model_validator

from serving.config.base import Section


class LineStore(Section):
    """What of a line of business is stored, and how."""

    redact: bool = Field(
        False,
        description="Store surrogates in the places of personal values (`on`, `off`); needs "
        "storage.keys.",
    )
    keep_originals: bool = Field(
        False,
        description="Keep what redaction replaced, encrypted under a key of each conversation; "
        "needs redact.",
    )

    names: bool = Field(
        False,
        description="Redact people's names, too, as the pipeline of storage.names finds them "
        "(`on`, `off`); needs redact and the extra `names`.",
    )

    @model_validator(mode="after")
    def _only_what_is_redacted(self) -> "LineStore":
        if self.names and not self.redact:
            raise ValueError("names: needs redact: on")
        if self.keep_originals and not self.redact:
            raise ValueError("keep_originals: needs redact: on; else the store has the originals")
        return self


class StorageKeys(Section):
    """Where the keys of the deployment are read: one `id:base64 of 32 bytes` a line, newest last.

    One of the two is given.
    """

    file: Path | None = Field(
        None, description="File of keys, a line `id:base64` each (32 bytes), newest last."
    )
    command: list[str] = Field(
        default_factory=list,
        description="Program with arguments that prints such lines, such as a vault's client.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "StorageKeys":
        if (self.file is None) == (not self.command):
            raise ValueError("give either file or command")
        return self


class Storage(Section):
    """Keys for surrogates, for originals and for the journal, and what finds names."""

    keys: StorageKeys | None = Field(
        None, description="Where the keys come from; needed by redact and journal.encrypt."
    )
    names: str = Field(
        "en_core_web_sm",
        min_length=1,
        description="spaCy pipeline that finds people's names where a line's store.names asks for "
        "them: an installed package, or a folder.",
    )

    def absolute(self) -> "Storage":
        """Return it with whole paths, since replicas run elsewhere."""
        keys, names = self.keys, self.names
        if keys is not None and keys.file is not None:
            keys = StorageKeys(file=keys.file.absolute())
        if "/" in names:
            names = str(Path(names).absolute())
        return Storage(keys=keys, names=names)
