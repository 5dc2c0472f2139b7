"""The first session's report for people, in Markdown."""

from collections.abc import Mapping
from typing import Any


def session_table(report: Mapping[str, Any]) -> str:
    """One section a step: how it ended, and a table of what it measured."""
    lines = [f"# First session: {report['model']} on {report['device']}", ""]
    for name, entry in report["steps"].items():
        lines += [f"## {name}: {entry['title']}", ""]
        if "error" in entry:
            lines += [f"**Error:** {entry['error']}", ""]
        lines += [f"{entry.get('seconds', 0)} s.", ""]
        lines += _rows(entry.get("results", []))
    return "\n".join(lines).rstrip() + "\n"


def _rows(results: list[Mapping[str, Any]]) -> list[str]:
    """Results with the same columns share a table."""
    lines: list[str] = []
    columns: list[str] = []
    for result in results:
        if list(result) != columns:
            columns = list(result)
            lines += ["", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)] if columns else []
        lines.append("| " + " | ".join(_cell(result[column]) for column in columns) + " |")
    return [*lines[1:], ""] if lines else []


def _cell(value: Any) -> str:  # noqa: ANN401
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
