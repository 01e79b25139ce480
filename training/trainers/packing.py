"""Which examples share a forward pass: bin packing, without the tensors."""

from collections.abc import Sequence


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Divide examples into packs of at most `capacity` tokens, by best-fit decreasing.

    The longest example comes first, and each goes where it leaves the least room (Johnson et al.
    1974: at most 11/9 of the fewest packs possible, and one more). One that is longer than
    `capacity` gets a pack of its own.

    Args:
        lengths: Tokens of each example.
        capacity: Tokens that a pack holds.

    Returns:
        Indices into `lengths`, each in one pack; the same for the same lengths.
    """
    packs: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fitting = [number for number, left in enumerate(room) if left >= lengths[index]]
        if fitting:
            best = min(fitting, key=lambda number: room[number])
            packs[best].append(index)
            room[best] -= lengths[index]
        else:
            packs.append([index])
            room.append(capacity - lengths[index])
    return packs
