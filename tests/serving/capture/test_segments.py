import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.capture import segments
from serving.capture.segments import Frame


def write(path: Path, payloads: list[bytes], tail: bytes = b"") -> bytes:
    data = b"".join(segments.header(payload) + payload for payload in payloads) + tail
    path.write_bytes(data)
    return data


def read_all(path: Path, limit: int = 3, *, sealed: bool = True) -> tuple[list[bytes], int]:
    """Read a segment to its end; return its payloads and how many bytes were lost."""
    payloads, offset, lost, done = [], 0, 0, False
    while not done:
        found = segments.read(path, offset, limit, sealed=sealed)
        assert len(found.frames) <= limit
        payloads += [frame.payload for frame in found.frames]
        lost += found.lost_bytes
        if not sealed and found.end == offset:
            break
        offset, done = found.end, found.done
    return payloads, lost


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "00000001.log"


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("size", [1, 4096, segments.READ_BYTES, 3 * segments.READ_BYTES])
def test_payloads_of_any_size_come_back_in_order(path: Path, size: int, sealed: bool) -> None:
    payloads = [bytes([number]) * size for number in range(5)]
    write(path, payloads)
    assert read_all(path, sealed=sealed) == (payloads, 0)


def test_a_frame_knows_where_it_begins(path: Path) -> None:
    write(path, [b"one", b"two"])
    assert segments.read(path, 0, 9, sealed=True).frames == [Frame(b"one", 0), Frame(b"two", 11)]


@pytest.mark.parametrize("tail", [b"", b"half a header"[:7], segments.header(b"cut") + b"cu"])
def test_frames_are_counted_without_reading_them(path: Path, tail: bytes) -> None:
    write(path, [b"one", b"two" * 1000, b"three"], tail)
    assert segments.count(path) == 3


def test_an_empty_segment_is_done_once_sealed(path: Path) -> None:
    path.touch()
    assert segments.read(path, 0, 9, sealed=True).done
    assert not segments.read(path, 0, 9, sealed=False).done


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_torn_tail_costs_only_the_last_frame(path: Path, cut: int) -> None:
    data = write(path, [b"first", b"second", b"third one..."])
    path.write_bytes(data[:-cut])
    payloads, lost = read_all(path)
    assert payloads == [b"first", b"second"]
    assert lost == 20 - cut


def test_a_frame_that_is_being_written_is_waited_for(path: Path) -> None:
    data = write(path, [b"first", b"second"])
    path.write_bytes(data[:-1])
    found = segments.read(path, 0, 9, sealed=False)
    assert [frame.payload for frame in found.frames] == [b"first"]
    again = segments.read(path, found.end, 9, sealed=False)
    assert (again.frames, again.end, again.lost_bytes) == ([], found.end, 0)
    path.write_bytes(data)
    last = segments.read(path, found.end, 9, sealed=False)
    assert [frame.payload for frame in last.frames] == [b"second"]


def test_pages_that_a_power_cut_left_empty_are_no_frames(path: Path) -> None:
    write(path, [b"first"], tail=bytes(4096))
    assert read_all(path) == ([b"first"], 4096)


@given(
    payloads=st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8),
    data=st.data(),
)
@settings(max_examples=60)
def test_damage_costs_only_the_frames_it_hits(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("segment") / "00000001.log"
    written = bytearray(write(path, payloads))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(written)
    ends = [sum(8 + len(p) for p in payloads[: i + 1]) for i in range(len(payloads))]
    hit = next(i for i, end in enumerate(ends) if place < end)
    found, lost = read_all(path)
    assert found == payloads[:hit] + payloads[hit + 1 :]
    assert lost == 8 + len(payloads[hit])


def test_a_folder_has_one_owner_until_its_process_dies(tmp_path: Path) -> None:
    script = f"""if True:
        from pathlib import Path
        from serving.capture import segments
        print(segments.own(Path({str(tmp_path / "a")!r})) is not None, flush=True)
        input()
    """
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert segments.own(tmp_path / "a") is None
        process.kill()
    lock = segments.own(tmp_path / "a")
    assert lock is not None
    assert segments.own(tmp_path / "a") is None
    segments.disown(tmp_path / "a", lock)
    assert not (tmp_path / "a").exists()


def test_a_folder_with_segments_is_kept_when_given_back(tmp_path: Path) -> None:
    lock = segments.own(tmp_path / "a")
    assert lock is not None
    segments.segment_path(tmp_path / "a", 7).touch()
    (tmp_path / "a" / "notes.log").touch()
    segments.disown(tmp_path / "a", lock)
    assert segments.segment_numbers(tmp_path / "a") == [7]
