import json
from pathlib import Path

import pytest

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
