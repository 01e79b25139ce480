"""The sections `embeddings` and `rerank`: a model beside the engine, or an upstream."""

from collections.abc import Container
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from serving.config.base import Section
from serving.config.lobs import UpstreamName


class _Source(Section):
    """Where answers come from: of `upstream` and `model` exactly one."""

    upstream: UpstreamName | None = Field(
        None, description="The upstream that answers, instead of a model here."
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="Path or hub id of the model that runs beside the engine, in every replica; "
        "needs the extra `embeddings`.",
    )
    device: str = Field("cpu", description="Where the model runs: cpu, cuda:0.")
    threads: int = Field(1, ge=1, description="Threads of the CPU that it takes.")
    batch: int = Field(32, ge=1, description="Texts that it takes at once.")
    max_waiting: int = Field(
        8192, ge=1, description="Texts that may wait for it on a replica; more is 429."
    )
    timeout_s: float = Field(60.0, gt=0, description="Longest wait for it; then 504.")

    @field_validator("model")
    @classmethod
    def _is_there(cls, model: str | None) -> str | None:
        if model is None:
            return None
        folder = Path(model).expanduser()
        if folder.is_dir():
            return str(folder.absolute())  # replicas run elsewhere
        if model.startswith((".", "/", "~")):
            raise ValueError("there is no such folder")
        return model

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.upstream is None) == (self.model is None):
            raise ValueError("give either `upstream` or `model`")
        return self


class Embeddings(_Source):
    """What `/v1/embeddings` answers by, and what libraries are searched by where it runs here."""

    served_name: str = Field(
        "embeddings", min_length=1, description="The name clients use for the model."
    )
    max_inputs: int = Field(2048, ge=1, description="Texts of one request at most.")
    matryoshka: bool = Field(
        False,
        description="The model was trained so that the first numbers of an embedding are one "
        "themselves (Matryoshka): requests may ask for fewer `dimensions`.",
    )


class Rerank(_Source):
    """What `/v1/rerank` answers by; without it, the similarity of embeddings."""

    served_name: str = Field(
        "rerank", min_length=1, description="The name clients use for the model."
    )
    max_documents: int = Field(1000, ge=1, description="Documents of one request at most.")


def _is_known(source: _Source, info: ValidationInfo) -> _Source:
    upstreams: Container[str] | None = info.data.get("upstreams")  # none: they are faulty
    wanted = source.upstream
    if wanted is not None and upstreams is not None and wanted not in upstreams:
        raise ValueError(f"upstream: there is no {wanted!r} in upstreams")
    return source


EmbeddingsSection = Annotated[Embeddings, AfterValidator(_is_known)]
RerankSection = Annotated[Rerank, AfterValidator(_is_known)]
"""For settings whose `upstreams` are read before."""
