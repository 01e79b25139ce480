"""The base of every section of the configuration, and how its faults are told."""

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.config import secrets


class Section(BaseModel):
    """Base of every section: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def explain(error: ValidationError) -> str:
    """Say all faults that pydantic found: key, value and fix, a line each."""
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "(top)"
        value = secrets.in_a_fault(key, fault["input"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key (value {value!r}). Remove or correct it.")
        elif fault["type"] == "missing":
            lines.append(f"{key}: missing. Add it.")
        elif fault["type"] == secrets.LITERAL:
            lines.append(f"{key}: {fault['msg']}.")
        else:
            lines.append(f"{key}: {fault['msg']}, got {value!r}.")
    return "\n  ".join([f"{len(lines)} fault(s)", *lines])
