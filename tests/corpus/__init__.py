"""The corpus of bad inputs: what is wrong, and the line that says so.

A row makes a bad input and names the command; `table.md` has the exit code and every line it says,
as a whole. `python -m tests.corpus` prints the table anew.
"""

from . import coco, images, models, requests, scans, storage, tables

ROWS = tuple(
    row for part in (scans, images, coco, requests, tables, models, storage) for row in part.ROWS
)
