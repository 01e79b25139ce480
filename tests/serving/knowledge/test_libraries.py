"""What is live is searched, what fails is an outcome, and a new version is found by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from serving.config.lobs import Lob
from serving.errors import UpstreamFailed
from serving.knowledge import libraries as module
from serving.knowledge.index import Vectors
from serving.knowledge.libraries import Found, Libraries, Outcome
from serving.store.database import Database
from serving.store.libraries import versions
from serving.store.libraries.versions import Entry, Kind
from tests.waiting import until_async

REFUND = Entry(id="refund", title="Refunds", text="Money comes back within 30 days.")
NEWER = Entry(id="refund", title="Refunds", text="Money comes back within 14 days.")


def lobs(**fields: Any) -> dict[str, Lob]:
    return {"care": Lob.model_validate({"knowledge": {"timeout_s": 20.0} | fields}), "sales": Lob()}


def no_embedder(name: str) -> Any:
    raise AssertionError(f"{name} is asked")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 0.0)


async def ask(made: Libraries, query: str = "refunds", lob: str = "care") -> Found:
    return await made.search(lob, Kind.KNOWLEDGE, query, 3)


async def test_a_new_version_and_the_way_back_are_found_by_the_next_searches(db: Database) -> None:
    made = Libraries(db, lobs(), no_embedder)
    assert await ask(made) == Found(Outcome.NOTHING)
    for number, entry in enumerate((REFUND, NEWER), 1):
        await versions.add(db, "care", Kind.KNOWLEDGE, [entry], "x")
        found = await ask(made)
        while found.version != number:
            found = await ask(made)
        assert found.outcome is Outcome.FOUND
        assert [one for one, _ in found.entries] == [entry]
    await versions.use(db, "care", Kind.KNOWLEDGE, 1)
    while (found := await ask(made)).version != 1:
        pass
    assert [one for one, _ in found.entries] == [REFUND]
    assert await ask(made, "opera") == Found(Outcome.NOTHING, 1)
    await made.close()


async def test_a_line_without_knowledge_is_not_searched(db: Database) -> None:
    made = Libraries(db, lobs(), no_embedder)
    await versions.add(db, "sales", Kind.KNOWLEDGE, [REFUND], "x")
    assert await ask(made, lob="sales") == Found(Outcome.NOTHING)
    made.configure({"sales": Lob.model_validate({"knowledge": {"timeout_s": 20.0}})})
    assert (await ask(made, lob="sales")).outcome is Outcome.FOUND
    await made.close()


async def test_a_store_that_is_down_fails_only_what_was_never_read(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await versions.add(sqlite_db, "care", Kind.KNOWLEDGE, [REFUND], "x")
    read, unread = (Libraries(sqlite_db, lobs(), no_embedder) for _ in range(2))
    assert (await ask(read)).outcome is Outcome.FOUND
    gone = Database("postgresql://nobody@127.0.0.1:1/none")
    for one in (read, unread):
        monkeypatch.setattr(one, "_db", gone)
    assert (await ask(unread)).outcome is Outcome.FAILED
    assert unread.alarm.since is not None
    for _ in range(3):
        assert (await ask(read)).outcome is Outcome.FOUND
    await until_async(lambda: read._looking is None or read._looking.done(), "the look ends")
    for one in (read, unread):
        await one.close()


async def test_a_search_that_takes_too_long_fails_and_the_reading_goes_on(
    sqlite_db: Database,
) -> None:
    await versions.add(sqlite_db, "care", Kind.KNOWLEDGE, [REFUND], "x")
    made = Libraries(sqlite_db, lobs(timeout_s=1e-9), no_embedder)
    assert await ask(made) == Found(Outcome.FAILED)
    await until_async(lambda: bool(made._loaded), "it is read")
    await made.close()


class Words:
    """Embeddings by one word: whether a text is about money."""

    key = "words"

    def __init__(self) -> None:
        self.fails = False
        self.asked: list[int] = []

    async def passages(self, texts: Sequence[str]) -> Vectors:
        self.asked.append(len(texts))
        if self.fails:
            raise UpstreamFailed("It does not answer.")
        rows = [[1, 0] if "oney" in text or "cash" in text else [0, 1] for text in texts]
        return np.array(rows, np.float32)

    async def question(self, text: str) -> Vectors:
        return (await self.passages([text]))[0]


def over(db: Database, words: Words, **fields: Any) -> Libraries:
    return Libraries(db, lobs(embeddings="vectors", **fields), {"vectors": words}.__getitem__)


async def test_embeddings_find_by_meaning_and_words_do_while_they_are_gone(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 600.0)
    many = [Entry(id=f"n{n}", text=f"number{n}") for n in range(70)]
    await versions.add(sqlite_db, "care", Kind.KNOWLEDGE, [REFUND, *many], "x")
    words = Words()
    made = over(sqlite_db, words)
    await made.warm()
    found = await ask(made, "cash")
    assert [(one.entry.id, one.words, one.meaning) for one in found.hits] == [("refund", 0, 1)]
    assert words.asked == [64, 7, 1]
    words.fails = True
    assert (await ask(made, "cash")).outcome is Outcome.NOTHING
    assert [entry.id for entry, _ in (await ask(made, "refunds")).entries] == ["refund"]
    await made.close()


async def test_a_version_read_without_embeddings_gets_them_later(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await versions.add(sqlite_db, "care", Kind.KNOWLEDGE, [REFUND], "x")
    words = Words()
    words.fails = True
    made = over(sqlite_db, words)
    await made.warm()
    for _ in range(4):
        assert (await ask(made)).outcome is Outcome.FOUND
    assert words.asked == [1], "it is not asked at each look"
    await made.close()
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    made = over(sqlite_db, words)
    assert (await ask(made)).outcome is Outcome.FOUND
    words.fails = False
    while (await ask(made, "cash")).outcome is not Outcome.FOUND:
        pass
    await made.close()


async def test_a_version_is_embedded_once_for_all_replicas(db: Database) -> None:
    both = [REFUND, NEWER.model_copy(update={"id": "newer"})]
    await versions.add(db, "care", Kind.KNOWLEDGE, both, "x")
    first, second, other = Words(), Words(), Words()
    other.key = "another model"
    for words, asked in ((first, [2, 1]), (second, [1]), (other, [2, 1])):
        made = over(db, words)
        await made.warm()
        assert (await ask(made, "cash")).outcome is Outcome.FOUND
        assert words.asked == asked
        await made.close()


async def test_an_import_s_embeddings_are_live_with_it(sqlite_db: Database) -> None:
    words = Words()
    embedded = (words.key, await words.passages(["money"]))
    await versions.add(sqlite_db, "care", Kind.KNOWLEDGE, [REFUND], "x", embedded)
    words.asked = []
    made = over(sqlite_db, words)
    assert (await ask(made, "cash")).outcome is Outcome.FOUND
    assert words.asked == [1], "only the question"
    await made.close()


async def test_lines_that_name_nothing_ask_the_model_here_unless_they_want_words_alone(
    sqlite_db: Database,
) -> None:
    await versions.add(sqlite_db, "care", Kind.KNOWLEDGE, [REFUND], "x")
    words = Words()
    made = Libraries(sqlite_db, lobs(), no_embedder, words)
    await made.warm()
    assert (await ask(made, "cash")).outcome is Outcome.FOUND
    made.configure(lobs(embeddings=False))
    assert (await ask(made)).outcome is Outcome.FOUND
    await made.refresh()
    words.asked = []
    assert (await ask(made, "cash")).outcome is Outcome.NOTHING
    assert words.asked == []
    made.configure(lobs())
    await made.refresh()
    assert (await ask(made, "cash")).outcome is Outcome.FOUND
    await made.close()


async def test_what_is_live_is_read_before_the_first_request(sqlite_db: Database) -> None:
    await versions.add(sqlite_db, "care", Kind.KNOWLEDGE, [REFUND], "x")
    made = Libraries(sqlite_db, lobs(), no_embedder)
    await made.warm()
    assert ("care", Kind.KNOWLEDGE) in made._loaded
    await made.close()
