"""Who holds spare places gives them back, the newest first."""

from serving.admission.lines import Claim, Key, Line
from serving.admission.spare import Spare
from serving.config.limits import KeyLimits, LobLimits


def claim(cost: int = 1) -> Claim:
    return Claim(Line("care", LobLimits(), 1, 8, 1), Key("", KeyLimits(), 1), 0, cost, 0.0)


def test_the_newest_go_first_until_there_are_enough() -> None:
    released: list[Claim] = []
    stopped: list[int] = []

    def release(one: Claim) -> None:
        released.append(one)
        spare.discard(one)

    spare = Spare(release)
    claims = [claim(), claim(2), claim()]
    for number, one in enumerate(claims):
        spare.add(one, lambda number=number: stopped.append(number), batch=number == 1)
    assert (spare.places, spare.of_batches) == (4, 2)
    spare.take_back(lambda: spare.places <= 2)
    assert stopped == [2, 1]
    assert released == [claims[2], claims[1]]
    assert (spare.places, spare.of_batches) == (1, 0)


def test_shadows_stay_where_only_batches_have_to_go() -> None:
    spare = Spare(lambda one: None)
    stopped: list[str] = []
    spare.add(claim(), lambda: stopped.append("batch"), batch=True)
    spare.add(claim(), lambda: stopped.append("shadow"), batch=False)
    spare.take_back(lambda: False, batches_only=True)
    assert stopped == ["batch"]


def test_a_claim_is_forgotten_once() -> None:
    spare = Spare(lambda one: None)
    one = claim()
    spare.add(one, lambda: None, batch=True)
    assert spare
    assert spare.discard(one)
    assert not spare.discard(one)
    assert not spare
    assert (spare.places, spare.of_batches) == (0, 0)
