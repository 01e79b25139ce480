"""Pages of the site that are made from the code: commands, endpoints, metrics, errors.

MkDocs calls the two hooks at the end; what they add is in no file, so it cannot grow old. Links to
files outside the documentation become their paths, since the site holds only the documentation.
"""

import re
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./(?!\w+\.md)[^)#]+)(?:#[^)]*)?\)")


def commands() -> str:
    """Return each command of `switchboard` with its arguments and options."""
    from typer.main import get_command

    from serving.cli import app, load_commands

    load_commands()
    lines = ["# Commands", "", "`switchboard COMMAND --help` says the same.", ""]
    lines += _command(get_command(app), "switchboard")
    return "\n".join(lines)


def _command(command: Any, path: str) -> Iterator[str]:
    below = getattr(command, "commands", None)
    if below is not None:
        for name in sorted(below):
            yield from _command(below[name], f"{path} {name}")
        return
    yield from (f"## `{path}`", "", _plain(command.help or ""), "")
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    if not shown:
        return
    yield from ("| option | means | default |", "|---|---|---|")
    for one in shown:
        names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
        if one.param_type_name == "argument":
            names = f"`{one.metavar or one.name.upper()}`"
        default = "" if one.default in (None, ...) or callable(one.default) else f"`{one.default}`"
        yield f"| {names} | {_plain(getattr(one, 'help', None) or '')} | {default} |"
    yield ""


def endpoints() -> str:
    """Return the paths that the server answers, with what each is for."""
    from serving import endpoints as paths

    lines = ["# Endpoints", "", "[The HTTP API](../api.md) describes them.", ""]
    lines += ["| path | constant |", "|---|---|"]
    for name, value in sorted(vars(paths).items(), key=lambda item: str(item[1])):
        if name.isupper() and isinstance(value, str) and value.startswith("/"):
            lines.append(f"| `{value}` | `{name}` |")
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """Return our metrics with type, labels and meaning."""
    from prometheus_client.metrics import MetricWrapperBase

    from serving.observability import metrics as ours

    lines = [
        "# Metrics",
        "",
        "On `/metrics` ([operations](../operations.md)).",
        "",
    ]
    lines += ["| metric | type | labels | means |", "|---|---|---|---|"]
    found = [one for one in vars(ours).values() if isinstance(one, MetricWrapperBase)]
    for one in sorted(found, key=lambda one: one._name):
        name = one._name + ("_total" if one._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in one._labelnames)
        lines.append(f"| `{name}` | {one._type} | {labels} | {_plain(one._documentation)} |")
    return "\n".join(lines) + "\n"


def errors() -> str:
    """Return the errors with their status and code."""
    from serving import errors as ours

    lines = ["# Errors", "", 'Every error has OpenAI\'s shape: `{"error": {"message", "type", ']
    lines[-1] += '"param", "code"}}`.'
    lines += ["", "| status | code | type | means |", "|---|---|---|---|"]
    kinds = [one for one in vars(ours).values() if isinstance(one, type)]
    kinds = [one for one in kinds if issubclass(one, ours.SwitchboardError)]
    for one in sorted(kinds, key=lambda one: (one.status, one.code)):
        means = _plain((one.__doc__ or "").strip().splitlines()[0])
        lines.append(f"| {one.status} | `{one.code}` | `{one.type}` | {means} |")
    return "\n".join(lines) + "\n"


PAGES = {
    "reference/commands.md": commands,
    "reference/endpoints.md": endpoints,
    "reference/metrics.md": metrics,
    "reference/errors.md": errors,
}


def _plain(text: str) -> str:
    """Return a text as a cell or a paragraph of Markdown: nothing in it is a tag or a column."""
    escaped = text.replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"[ \t]*\n[ \t]*", " ", escaped.strip())


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Name what lies outside the documentation instead of linking to it."""
    if page.file.src_uri.startswith("guides/"):
        return markdown
    return _OUTSIDE.sub(lambda found: f"{found[1]} (`{found[2].removeprefix('../')}`)", markdown)
