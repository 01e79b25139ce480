"""Pages of metrics: one of several processes' series, told apart by a label.

Each replica has a registry of its own, and a scrape reaches any of them. So each gives its page to
the coordinator now and then, and whoever is scraped puts its own, fresh, beside the others' last.
Pages are in Prometheus' text format
(https://prometheus.io/docs/instrumenting/exposition_formats/), and are handled as lines: parsing
every sample would hold up the requests of the replica that is scraped.
"""

import time
from collections.abc import Callable, Iterable

PUBLISH_S = 5.0
"""How often a replica gives its page, in seconds."""
STALE_S = 3 * PUBLISH_S
"""A page that is older is of a replica that has died, or soon will have."""
_OURS = ("# HELP ", "# TYPE ")


def labelled(page: str, replica: str) -> str:
    """Return a page with the label `replica` in each sample."""
    name = replica.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    label = f'replica="{name}"'
    return "\n".join(_with(line, label) for line in _lines(page)) + "\n"


def _lines(page: str) -> list[str]:
    # Not splitlines: the value of a label may hold U+2028.
    return [line for line in page.split("\n") if line]


def _with(line: str, label: str) -> str:
    if line.startswith("#"):
        return line
    space = line.find(" ")
    if "{" not in line[:space]:
        return f"{line[:space]}{{{label}}}{line[space:]}"
    end = line.rindex("}")  # behind it are numbers only
    separator = "" if line[end - 1] in "{," else ","
    return f"{line[:end]}{separator}{label}{line[end:]}"


def merged(pages: Iterable[str]) -> str:
    """Return several pages as one: each metric once, with the samples of all.

    What its first page says of a metric's help and type holds.
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for page in pages:
        known, name = set(heads), ""
        for line in _lines(page):
            if line.startswith(_OURS):
                name = line.split(" ", 3)[2]
                if name not in known:
                    heads.setdefault(name, []).append(line)
            elif not line.startswith("#"):
                samples.setdefault(name, []).append(line)
    lines = [one for name in samples for one in (*heads.get(name, ()), *samples[name])]
    return "\n".join(lines) + "\n"


class Pages:
    """The last page of each replica, until it is stale.

    Args:
        clock: Tells seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pages: dict[str, tuple[float, str]] = {}

    def exchange(self, replica: str, page: str) -> list[str]:
        """Keep a replica's page; return the others', sorted by replica."""
        now = self._clock()
        self._pages[replica] = (now, page)
        self._pages = {name: kept for name, kept in self._pages.items() if now - kept[0] <= STALE_S}
        return [kept for name, (_, kept) in sorted(self._pages.items()) if name != replica]
