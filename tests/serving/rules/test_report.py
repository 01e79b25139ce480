"""What became of rules' answers, by version."""

from serving.rules.report import RuleReport, report
from serving.store import feedback, interactions
from serving.store.database import Database
from serving.store.records import FeedbackRecord
from tests.training.records import labelled


async def test_answers_are_counted_by_version_and_what_feedback_says(db: Database) -> None:
    given = {
        "a": ("rule:hours@1", {"used": True}),
        "b": ("rule:hours@1", {"edit": "9 to 6."}),
        "c": ("rule:hours@2", {"rejected": True}),
        "d": ("rule:hours@2", None),
        "e": ("care@3", {"used": True}),
    }
    records = [labelled(name, version=version).interaction for name, (version, _) in given.items()]
    await interactions.save(db, records)
    for name, (_, said) in given.items():
        if said is not None:
            one = FeedbackRecord(interaction_id=name, client_key=name, **said)
            await feedback.add(db, one)
    assert await report(db, "care") == [
        RuleReport("rule:hours@1", answers=2, used=1, edited=1, rejected=0),
        RuleReport("rule:hours@2", answers=2, used=0, edited=0, rejected=1),
    ]
    assert [one.interaction.id for one in await interactions.labelled(db, lob="care")] == ["e"]
    assert [one.id for one in await interactions.served(db, lob="care", since=0)] == ["e"]
