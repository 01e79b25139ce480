"""Draws by a stable hash: the same conversation always falls on the same side, with no I/O.

Each draw has a salt of its own, so that draws are independent of one another: the conversations of
one canary are no more often in the next one, nor in the sample that judges, nor held back.
"""

import hashlib


def draw(salt: str, conversation_id: str) -> float:
    """Return a conversation's number in [0, 1), uniform, and independent between salts."""
    digest = hashlib.blake2b(f"{salt}\0{conversation_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def in_canary(version: str, share: float, conversation_id: str) -> bool:
    """Whether a conversation is the canary's; without an id it never is.

    Args:
        version: The canary; salts the draw.
        share: Its share of the conversations. As it grows, no conversation moves back.
        conversation_id: "" where the client named none: such requests cannot be held on one side.
    """
    return bool(conversation_id) and draw(f"canary {version}", conversation_id) < share


def judge_draw(lob: str, conversation_id: str, salt: str) -> float:
    """Return a conversation's number in the draw of those that only judge, never teach.

    Args:
        lob: The line of business.
        conversation_id: The conversation's.
        salt: The operator's own; with it nobody can choose ids that judge, or that do not.
    """
    return draw(f"judge {lob} {salt}", conversation_id)


def holds_back(lob: str, share: float, conversation_id: str, turn: int) -> bool:
    """Whether the suggestion of a turn is held back; without a conversation it never is.

    Args:
        lob: The line of business; with the turn it salts the draw, so that a conversation's turns
            are drawn one by one.
        share: Of all turns. As it grows, no turn that was held back is shown.
        conversation_id: The conversation's; "" where the client named none.
        turn: Its position: turns so far. Asked again, it falls on the same side.
    """
    return bool(conversation_id) and draw(f"holdback {lob} {turn}", conversation_id) < share


def shadowed(version: str, share: float, conversation_id: str) -> bool:
    """Whether a version answers a conversation's requests unseen; without an id it never does.

    Args:
        version: The shadow; salts the draw, independently of its canary's.
        share: Its share of the conversations. As it grows, no conversation moves back.
        conversation_id: "" where the client named none: such answers are not compared.
    """
    return bool(conversation_id) and draw(f"shadow {version}", conversation_id) < share


def monitor_draw(lob: str, answer_id: str, salt: str = "") -> float:
    """Return an answer's number in the draw of those that are graded.

    Args:
        lob: The line of business.
        answer_id: The response's id, which the server makes.
        salt: The operator's own.
    """
    return draw(f"monitor {lob} {salt}", answer_id)


def monitored(lob: str, share: float, answer_id: str, salt: str) -> bool:
    """Whether an answer is drawn to be graded; as `share` grows, none that was drawn falls out."""
    return monitor_draw(lob, answer_id, salt) < share
