"""Whether the locked packages lie in vulnerable ranges that somebody has read about.

    python docker/audit.py [FOLDER]

docker/audit.toml lists the advisories. This fails where a locked version, or one that
pyproject.toml pins, is in a listed range that is not accepted, where an acceptance has ended, and
where a lock has changed since the list was checked against it. It needs no network.
"""

import datetime
import hashlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

LOCKS = ("cpu", "gpu")
"""By the extra that each is of: docker/lock-EXTRA.txt."""

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pins(lock: str, project: dict[str, Any]) -> dict[str, set[str]]:
    """The versions of each package: of the locks' text, and of the project where it names one."""
    extras = project.get("optional-dependencies", {}).values()
    named = [*project.get("dependencies", []), *(one for extra in extras for one in extra)]
    found: dict[str, set[str]] = {}
    for name, version in _PIN.findall("\n".join([lock, *named])):
        found.setdefault(name.lower(), set()).add(version)
    return found


def digest(lock: str) -> str:
    """A name for what is locked: packages and versions, without their files."""
    return hashlib.sha256(
        "\n".join(sorted("==".join(p) for p in _PIN.findall(lock))).encode()
    ).hexdigest()


def faults(folder: Path, today: datetime.date) -> list[str]:
    """Say what is wrong.

    Args:
        folder: The repository.
        today: When acceptances are compared.
    """
    locks = {
        name: (folder / f"docker/lock-{name}.txt").read_text(encoding="utf-8") for name in LOCKS
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    audit = tomllib.loads((folder / "docker/audit.toml").read_text(encoding="utf-8"))
    found = []
    for name, lock in locks.items():
        if audit.get("locks", {}).get(name) != digest(lock):
            found.append(
                f"docker/lock-{name}.txt has changed since {audit['checked']}: look for advisories "
                f'on what is new, then set checked, and locks.{name} = "{digest(lock)}"'
            )
    locked = pins("\n".join(locks.values()), project)
    for advisory in audit["advisory"]:
        vulnerable = SpecifierSet(advisory["versions"])
        until = advisory.get("accepted_until")
        for package in advisory["packages"]:
            for version in sorted(locked.get(package, ())):
                if version not in vulnerable:
                    continue
                if until is None:
                    found.append(f"{package} {version}: {advisory['what']}")
                elif until < today:
                    found.append(f"{package} {version}: accepted until {until}: {advisory['what']}")
    return found


def main() -> int:
    """Print the faults; 1 where there are any."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    found = faults(folder, datetime.datetime.now(datetime.UTC).date())
    for fault in found:
        sys.stderr.write(f"docker/audit.toml: {fault}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
