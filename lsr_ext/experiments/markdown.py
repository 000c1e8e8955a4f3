"""Write the results of a table as Markdown: scores beside the paper's, differences, intervals, missing runs."""

from __future__ import annotations

from collections.abc import Sequence

from lsr_ext.evaluation.scoring import SCORE_TITLES
from lsr_ext.experiments.statistics import CONFIDENCE, PairedDifference, Summary
from lsr_ext.experiments.summary import Results
from lsr_ext.experiments.tables import Row

_NONE = "–"


def write_markdown(results: Results) -> str:
    """Write the page: tables of scores, of differences and of gaps, then rows left out, failed and pending."""
    table = results.plan.table
    seeds = len(results.plan.seeds)
    lines = [
        f"# {table.title}",
        "",
        f"Mean ± standard deviation over {seeds} seed{'s' * (seeds != 1)}; n is the number of finished runs. "
        "Columns (paper) are the published scores, on other data and with another network.",
    ]
    if results.plan.config.evaluation.split != "test":
        lines[-1] += f" Scores are on the {results.plan.config.evaluation.split} split."
    whole = [key for key in results.scores if key in table.scores]
    parts = [key for key in results.scores if key not in table.scores]
    for keys in (whole, parts):
        if keys:
            lines += ["", *_scores_table(results, keys)]
    if results.row(table.reference) and len(table.rows) > 1 and whole:
        lines += ["", f"## {table.reference} minus each row", "", *_differences_table(results, whole)]
    if any(results.gap_closed(row, key) is not None for row in table.rows for key in whole):
        lines += ["", f"## Share of the gap from {table.low} to {table.full} that is closed", ""]
        lines += _gaps_table(results, whole)
    for title, items in (("Left out", results.left_out), ("Failed", results.failures)):
        if items:
            lines += ["", f"## {title}", "", *(f"- {name}: {_line(reason)}" for name, reason in items.items())]
    if results.pending:
        lines += ["", f"{len(results.pending)} of {len(results.plan.runs)} runs are not finished yet."]
    return "\n".join(lines) + "\n"


def score_title(key: str) -> str:
    """Return the readable name of a score."""
    *place, score = key.split("/")
    title = SCORE_TITLES.get(score, score)
    return f"{title} {place[1]}" if place else title


def _scores_table(results: Results, keys: Sequence[str]) -> list[str]:
    rows = results.plan.table.rows
    with_paper = [key for key in keys if any(key in row.paper for row in rows)]
    header = ["method", "n"]
    for key in keys:
        header += [score_title(key), "(paper)"] if key in with_paper else [score_title(key)]
    body = []
    for row in rows:
        cells = [row.name, str(max(results.summary(row, key).n for key in keys))]
        for key in keys:
            cells.append(_spread(results.summary(row, key)))
            if key in with_paper:
                cells.append(_number(row.paper.get(key), 4))
        body.append(cells)
    return _lay_out(header, body)


def _differences_table(results: Results, keys: Sequence[str]) -> list[str]:
    rows = [row for row in results.plan.table.rows if row.name != results.plan.table.reference]
    header = ["method", "n", *(f"{score_title(key)} [{CONFIDENCE:.0%} interval]" for key in keys)]
    return _lay_out(header, [_differences_row(results, row, keys) for row in rows])


def _differences_row(results: Results, row: Row, keys: Sequence[str]) -> list[str]:
    differences = [results.difference(row, key) for key in keys]
    n = max(difference.n for difference in differences if difference)
    return [row.name, str(n), *(_interval(difference) for difference in differences)]


def _gaps_table(results: Results, keys: Sequence[str]) -> list[str]:
    body = []
    for row in results.plan.table.rows:
        shares = [results.gap_closed(row, key) for key in keys]
        if any(share is not None for share in shares):
            body.append([row.name, *(_NONE if share is None else f"{share:.0%}" for share in shares)])
    return _lay_out(["method", *map(score_title, keys)], body)


def _lay_out(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    align = ["---", *["---:"] * (len(header) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (header, align, *body)]


def _spread(summary: Summary) -> str:
    if summary.mean is None:
        return _NONE
    return _number(summary.mean, 3) + ("" if summary.std is None else f" ± {summary.std:.3f}")


def _interval(difference: PairedDifference | None) -> str:
    if difference is None or difference.mean is None:
        return _NONE
    if difference.low is None:
        return f"{difference.mean:+.3f}"
    return f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _line(reason: str) -> str:
    return " ".join(reason.split())
