from pathlib import Path

import pytest

from serving.config import prompts
from tests.training.data.formats.dialogs import dialog, write
from training.data.curation import Curated
from training.data.formats.star_examples import Renderer, read
from training.data.splits import NOTHING
from training.errors import DatasetError
from training.recipe.curation import CurationConfig

RULES = CurationConfig(
    min_examples=2,
    min_conversations=3,
    min_holdout=2,
    golden_share=0,
    near_duplicate_similarity=1,
)
PROMPT = prompts.load(Path("configs/prompts"), ["hotel"])["hotel", "suggestion"]
ROWS = [*(dialog(n) for n in (5, 4, 3, 2, 1)), dialog(6, "bank")]


def imported(file: Path, *domains: str) -> Curated:
    return read("hotel", file, frozenset(domains), Renderer("hotel", PROMPT), RULES, NOTHING)[0]


def test_each_reply_is_asked_for_as_the_server_asks_and_teaches_what_was_sent(
    tmp_path: Path,
) -> None:
    curated = imported(write(tmp_path / "star.jsonl.gz", ROWS), "hotel")
    first, second = curated.train[:2]
    assert [m.content for m in first.messages] == [
        "Write the agent's next reply.",
        "customer: Is room 2 free?\nknowledge: Name: Room 2; Free: true",
    ]
    assert (first.target, first.source, first.task) == ("Room 2 is free.", "rating", "suggestion")
    assert second.messages[1].content.endswith("agent: Room 2 is free.\ncustomer: Great, book 2.")
    assert second.target == "I booked Room 2 for you."


def test_as_many_dialogs_as_the_rules_ask_for_are_held_out_and_other_domains_left_out(
    tmp_path: Path,
) -> None:
    curated = imported(write(tmp_path / "star.jsonl", ROWS), "hotel")
    held = sorted({e.conversation_id.rsplit("-", 1)[1] for e in curated.rolling})
    assert len(held) == 2
    learned = {e.conversation_id.rsplit("-", 1)[1] for e in curated.train}
    assert learned == {"1", "2", "3", "4", "5"} - set(held)


def test_a_domain_that_no_dialog_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"about hotels alone.*they are: bank, hotel"):
        imported(write(tmp_path / "star.jsonl", ROWS), "hotels")
