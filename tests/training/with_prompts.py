"""A line whose suggestions are asked by the configured prompt, and a better one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.config import prompts
from serving.config.prompts import Prompt
from serving.config.settings import Settings
from serving.store import feedback, interactions
from serving.store.database import Database
from tests.training.records import drawn, suggested
from tests.training.stand_in import wanted

BETTER = (
    "{% block system %}Be exact.{% endblock %}"
    "{% block user %}{% for turn in turns %}{{ turn.text }}{% endfor %}{% endblock %}"
)
CONVERSATIONS = 20


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Database]:
    db = Database(settings.store.url)
    await db.open()
    yield db
    await db.close()


@pytest.fixture
def better(tmp_path: Path) -> Path:
    """A prompt's file."""
    file = tmp_path / "better.jinja"
    file.write_text(BETTER)
    return file


@pytest.fixture
def configured(settings: Settings) -> Prompt:
    """The prompt by which suggestions are asked now."""
    return prompts.load(settings.prompts, ["care"])["care", "suggestion"]


async def fill(db: Database, prompt: Prompt, *, turns: bool = True) -> None:
    """Store twenty suggestions with feedback, asked by a prompt; five conversations judge."""
    rows = [
        suggested(
            f"i{n}",
            {"edit": wanted(f"conversation i{n}")},
            prompt=prompt,
            turns=turns,
            created_at=float(n),
            conversation_id=drawn(n >= CONVERSATIONS - 5, n),
        )
        for n in range(CONVERSATIONS)
    ]
    await interactions.save(db, [row.interaction for row in rows])
    for row in rows:
        await feedback.add(db, row.feedback[0])
