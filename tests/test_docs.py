import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from lsr_ext.cli.main import app

ROOT = Path(__file__).parents[1]
TITLES = {
    "low_resolution": "Low resolution model",
    "deconvolution": "Color deconvolution",
    "l2": "Color separation via L2",
    "intra": "Intra-instance",
    "inter": "Inter-instance",
    "intra+inter": "Intra+inter-instance",
    "intra+inter+self": "Intra+inter-instance & self-training",
    "high_res": "high res",
    "intra+high_res": "Intra-instance & high res",
    "inter+high_res": "Inter-instance & high res",
    "intra+inter+high_res": "Intra+inter-instance & high res",
    "supervised": "Full pixel supervision",
}
SETS = json.loads((ROOT / "benchmarks/results/accuracy.json").read_text())["sets"]


@pytest.mark.parametrize("entry", SETS, ids=lambda entry: entry["section"])
def test_the_chart_of_accuracy_shows_the_scores_of_the_results_page(entry):
    page = (ROOT / "docs/results.md").read_text()
    section = page.split(f"### {entry['section']}\n", 1)[1].split("\n### ", 1)[0]
    for method, score in entry["methods"].items():
        row = f"| {TITLES[method]} | {score['n']} | {score['mean']:.3f} ± {score['std']:.3f} |"
        assert row in section


def commands_of(page):
    """The lines of a page that start with lsr, in a block or between backticks, each command by itself."""
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"(?m)^\s*(?:# )?(lsr [a-z].*)$|`(lsr [a-z][^`\n]*)`", text):
        for command in re.split(r" && | \| ", (line[0] or line[1]).split(" #")[0]):
            yield shlex.split(command)[1:]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*.yaml"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_the_pages_and_their_options_are_there(page):
    for words in commands_of(page):
        command, rest = typer.main.get_command(app), list(words)
        while hasattr(command, "commands") and rest:
            assert rest[0] in command.commands, words
            command = command.commands[rest.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, words


def test_there_are_commands_on_the_pages():
    assert sum(len(list(commands_of(page))) for page in PAGES) > 50
