"""Write the numbers and the pictures to one page."""

import csv
import json
import os
from pathlib import Path

from snakemake.script import snakemake

COLUMNS = ("knn_recall", "spearman", "kl_density_0.1", "knn_accuracy", "log_det_variance", "anisotropy")


def number(text: object) -> str:
    """Format a number with three digits; a missing one as a dash."""
    return f"{float(text):.3g}" if text not in (None, "") else "-"


def row(cells: list[str]) -> str:
    """Format one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


page = Path(snakemake.output[0])
lines = ["# One map, several samples", "", row(["sample", "cells", "outside the reference"]), row(["---"] * 3)]
for sample, path in zip(snakemake.params.samples, snakemake.input.numbers, strict=True):
    numbers = json.loads(Path(path).read_text())
    lines.append(row([sample, str(numbers["cells"]), str(numbers.get("cells_outside", "the reference"))]))

with Path(snakemake.input.quality[0]).open(newline="") as file:
    maps = list(csv.DictReader(file))
lines += [
    "",
    "## Quality of the maps of the reference",
    "",
    row(["map", *COLUMNS]),
    row(["---"] * (len(COLUMNS) + 1)),
]
lines += [row([entry["basis"], *(number(entry[column]) for column in COLUMNS)]) for entry in maps]

for sample, picture in zip(snakemake.params.samples, snakemake.input.pictures, strict=True):
    lines += ["", f"## {sample}", "", f"![indicatrices of {sample}]({os.path.relpath(picture, page.parent)})"]
page.write_text("\n".join([*lines, ""]))
