"""Make `docs/phantom.png`: the four sequences of a synthetic head, and its tumour on the last.

Run from the root of the repository: `.venv/bin/python docs/make_picture.py`. Nothing in the
picture comes from a patient.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import glioscope
from glioscope.core.labels import COLOURS
from glioscope.report.scene import best_slice

COHORT, NUMBER = "phantom:cases=9,seed=1,spacing=1", 8
TITLES = {"t1": "T1", "t1c": "T1 with contrast", "t2": "T2", "flair": "FLAIR"}
MARGIN, HEIGHT = 6, 3.0  # mm round the head; inches


def main() -> None:
    """Draw one axial slice five times in a row, the patient's left on the right."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    dataset = glioscope.open_dataset(COHORT)
    case = dataset.cases[NUMBER]
    scan, stored = case.read(list(TITLES)).array, case.read_mask(dataset.labels).array
    everything = np.concatenate([scan, stored])[..., best_slice(stored[0] > 0)]
    x, y = np.nonzero(everything[0])
    box = slice(x.min() - MARGIN, x.max() + MARGIN), slice(y.min() - MARGIN, y.max() + MARGIN)
    *pictures, mask = everything[:, *box].transpose(0, 2, 1)[:, ::-1, ::-1]
    rows, columns = mask.shape
    figure = Figure((5 * HEIGHT * columns / rows, HEIGHT + 0.5), dpi=100, facecolor="black")
    panels = figure.subplots(1, 5)
    pictures.append(pictures[-1])
    for axes, picture, title in zip(panels, pictures, [*TITLES.values(), "tumour"], strict=True):
        brightest = np.percentile(picture[picture > 0], 99.5)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=brightest, interpolation="bilinear")
        axes.set_title(title, color="white", fontsize=10)
        axes.set_axis_off()
    for name, value in dataset.labels.values.items():
        panels[-1].contourf(mask == value, levels=[0.5, 1.5], colors=[COLOURS[name]], alpha=0.55)
    figure.legend(
        handles=[Patch(facecolor=COLOURS[n], label=n) for n in dataset.labels.values],
        loc="lower right", ncols=3, frameon=False, labelcolor="white", fontsize=9,
        handlelength=1, columnspacing=1,
    )  # fmt: skip
    figure.subplots_adjust(left=0, right=1, top=0.93, bottom=0.07, wspace=0)
    figure.savefig(Path(__file__).with_name("phantom.png"), pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
