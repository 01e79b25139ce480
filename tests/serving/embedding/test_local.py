"""Models beside the engine: real ones, random and small."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from serving.config.embedding.sections import Embeddings, Rerank
from serving.embedding.local import CrossModel, SentenceModel
from serving.errors import ConfigError, DeadlineExceeded, InvalidRequest
from tests.tiny_sentence_models import TOKENS, WIDTH, make_cross_encoder, make_sentence_model

TEXTS = ["refund the money", "kettle", "money and a refund"]


async def test_embeddings_have_length_1_and_do_not_depend_on_what_is_beside_them(
    sentence_model: Path,
) -> None:
    model = SentenceModel(Embeddings(model=str(sentence_model), batch=2))
    await model.start()
    found = await model.embed(TEXTS)
    assert found.vectors.shape == (3, WIDTH)
    assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    each = [await model.embed([text]) for text in TEXTS]
    assert np.concatenate([one.vectors for one in each]) == pytest.approx(found.vectors, abs=1e-5)
    assert found.tokens == sum(one.tokens for one in each) > 3 * len(TEXTS)
    cosines = found.vectors @ found.vectors[0]
    assert cosines[2] > cosines[1], "what shares words is nearer"
    await model.close()


async def test_a_text_too_long_is_refused_whole_or_its_end_left_out(sentence_model: Path) -> None:
    model = SentenceModel(Embeddings(model=str(sentence_model)))
    await model.start()
    long = "x " * (TOKENS + 8)
    good, bad = await asyncio.gather(
        model.embed(["kettle"], whole=True),
        model.embed(["money", long], whole=True),
        return_exceptions=True,
    )
    assert isinstance(bad, InvalidRequest)
    assert f"{TOKENS + 10} tokens; the model reads {TOKENS}" in bad.message
    assert not isinstance(good, BaseException)
    cut = await model.embed([long])
    assert cut.tokens == TOKENS
    assert cut.vectors == pytest.approx((await model.embed(["x " * TOKENS])).vectors, abs=1e-5)
    await model.close()


async def test_its_key_tells_other_weights(sentence_model: Path, tmp_path: Path) -> None:
    other = make_sentence_model(tmp_path / "other", seed=1)
    keys = []
    for folder in (sentence_model, sentence_model, other):
        model = SentenceModel(Embeddings(model=str(folder)))
        await model.start()
        keys.append(model.key)
        await model.close()
    assert keys[0] == keys[1] != keys[2]


async def test_what_cannot_be_loaded_is_a_fault_of_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"embeddings.model: .* cannot be loaded"):
        await SentenceModel(Embeddings(model=str(tmp_path))).start()
    with pytest.raises(ConfigError, match=r"rerank.model: .* cannot be loaded"):
        await CrossModel(Rerank(model=str(tmp_path))).start()
    many = make_cross_encoder(tmp_path / "many", labels=3)
    with pytest.raises(ConfigError, match=r"rerank.model: .* gives 3 numbers a pair"):
        await CrossModel(Rerank(model=str(many))).start()


async def test_pairs_are_scored_alike_alone_and_together(cross_encoder: Path) -> None:
    model = CrossModel(Rerank(model=str(cross_encoder), batch=2))
    await model.start()
    together = await model.rank("refund", [*TEXTS, "x " * 99])
    alone = [(await model.rank("refund", [text])).scores[0] for text in TEXTS]
    assert together.scores[:3] == pytest.approx(alone, abs=1e-5)
    assert len(set(together.scores)) == 4
    assert all(0 < score < 1 for score in together.scores)
    assert together.tokens > 4 * 3
    await model.close()


async def test_who_waits_too_long_is_told_so(sentence_model: Path) -> None:
    model = SentenceModel(Embeddings(model=str(sentence_model), timeout_s=1e-9))
    await model.start()
    with pytest.raises(DeadlineExceeded):
        await model.embed(["kettle"])
    await model.close()
