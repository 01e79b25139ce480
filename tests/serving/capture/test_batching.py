from serving.capture.batching import Batching


def test_a_batch_is_due_when_it_is_full_or_its_first_payload_has_waited_long_enough() -> None:
    batching = Batching(records=3, wait_s=1.0, size_bytes=100)
    assert batching.due_in(5.0) is None, "nothing waits, so nothing is looked for"
    assert batching.add(10, 5.0), "the clock begins"
    assert not batching.add(10, 5.5), "the second changes nothing"
    assert batching.due_in(5.75) == 0.25
    assert batching.due_in(7.0) == 0.0
    assert batching.add(10, 5.9), "the third fills it"
    assert batching.due_in(5.9) == 0.0


def test_a_batch_of_large_payloads_is_due_by_its_size() -> None:
    batching = Batching(records=3, wait_s=1.0, size_bytes=100)
    batching.add(10, 0.0)
    assert batching.add(90, 0.0)
    assert batching.due_in(0.0) == 0.0


def test_the_next_batch_waits_from_its_own_first_payload() -> None:
    batching = Batching(records=3, wait_s=1.0, size_bytes=100)
    batching.add(100, 0.0)
    batching.clear()
    assert batching.due_in(0.0) is None
    assert batching.add(10, 9.0)
    assert batching.due_in(9.25) == 0.75


def test_without_a_wait_every_payload_is_due_at_once() -> None:
    batching = Batching(records=64, wait_s=0.0, size_bytes=100)
    batching.add(10, 4.0)
    assert batching.due_in(4.0) == 0.0
