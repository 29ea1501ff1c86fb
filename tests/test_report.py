"""Pictures show the right side of the patient; the report is one page that needs only itself."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from glioscope.core.case import Case
from glioscope.core.errors import BadCase, DataError
from glioscope.core.labels import SCHEMES, numbered
from glioscope.core.volume import Volume
from glioscope.report import figures, plots, stills
from glioscope.report.canvas import Picture
from glioscope.report.page import Report, render
from glioscope.report.problems import OPEN, PICTURES, Album, Finding, Kind, Problem
from glioscope.report.scene import best_slice, scene_of

BRATS, BINARY = SCHEMES["brats2023"], SCHEMES["binary"]
AXIAL = slice(0, 400)  # columns of the axial panel for the head below


def ball(shape, centre, radius, spacing=(1, 1, 1)) -> np.ndarray:
    place = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - np.array(centre)
    return ((place * spacing / np.array(radius)) ** 2).sum(-1) <= 1


def head(centre=(12, 48, 10)) -> tuple[Volume, Volume, Volume]:
    """A RAS head of 1 x 1 x 3 mm with a tumour, by default in the patient's left front."""
    shape, spacing = (60, 70, 20), (1.0, 1.0, 3.0)
    brain = ball(shape, (30, 35, 10), (29, 34, 28), spacing)
    truth = np.zeros(shape, np.uint8)
    for value, radius in ((2, 9), (3, 6), (1, 3)):
        truth[ball(shape, centre, (radius,) * 3, spacing)] = value
    found = np.roll(truth, 2, axis=1)
    scan = np.where(brain, 100 + np.arange(60)[:, None, None], 0).astype(np.float32)
    affine = np.diag([*spacing, 1.0])
    return (
        Volume(np.stack([scan, scan / 2]), ("t1c", "flair"), affine),
        Volume(truth[None], ("mask",), affine),
        Volume(found[None], ("mask",), affine),
    )


def slice_2d() -> tuple[Volume, Volume]:
    """A file 90 wide and 60 high, its tumour in the upper right corner."""
    scan = np.full((90, 60), 100, np.float32)
    mask = np.zeros((90, 60), np.uint8)
    mask[70:80, 8:18] = 1
    return (
        Volume(scan[None, ..., None], ("image",), unit="px"),
        Volume(mask[None, ..., None], ("mask",), unit="px"),
    )


def pixels(png: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    assert picture.format == "PNG"
    return np.asarray(picture.convert("RGB")).astype(int)


def where(picture: np.ndarray, colour: str, tolerance: int = 40) -> np.ndarray:
    """Mean (row, column) of a colour above the legend, as shares of height and width."""
    target = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    picture = picture[:-60]
    near = np.abs(picture - target).max(axis=2) <= tolerance
    assert near.sum() > 10
    return np.argwhere(near).mean(axis=0) / picture.shape[:2]


def metrics_table(count: int, regions=("WT", "TC", "ET")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        for region in regions:
            for metric in ("iou", "dice", "hd95"):
                row = {"case": f"case{i:03d}", "patient": f"p{i // 2}", "split": "test"}
                row |= {"region": region, "metric": metric, "value": rng.uniform(0.2, 1)}
                row |= {"unit": "mm" if metric == "hd95" else "", "rule": "a rule", "reason": ""}
                rows.append(row)
        rows.append(rows[-1] | {"region": "all", "metric": "loss", "unit": ""})
    return pd.DataFrame(rows)


def summary(cases: pd.DataFrame) -> list[dict[str, object]]:
    rows = []
    for (region, metric), part in cases.groupby(["region", "metric"], sort=False):
        mean = pd.to_numeric(part["value"]).mean()
        row = {"region": region, "metric": metric, "n": len(part), "failed": 0, "rule": "a rule"}
        row |= {"unit": "mm" if metric == "hd95" else "", "mean": mean, "median": mean}
        rows.append(row | {"q25": mean, "q75": mean, "ci_low": mean - 0.1, "ci_high": mean + 0.1})
    return rows


@dataclass(frozen=True)
class Stored:
    """A channel that is there, or that cannot be read."""

    volume: Volume | None
    path: Path = Path("data/t2.nii.gz")
    identity: str = ""

    def grid(self):
        return self.read().grid

    def read(self) -> Volume:
        if self.volume is None:
            raise DataError(self.path, "is cut off", "a whole file", "fetch it again")
        return self.volume


def problem(kind: Kind, case: str = "case001", dice: float | None = None, **more) -> Problem:
    return Problem(case, "p1", "test", [Finding(kind, f"{kind.name} is said.")], dice, **more)


def refused(case: str, kind: Kind = Kind.FAILED, said: str = "is cut off") -> Problem:
    error = BadCase(case, DataError(f"/data/{said}.nii", said, "a whole file", "fetch it again"))
    finding = Finding(kind, "It was refused.", error, f"{case} counts as missed: {error}")
    return Problem(case, "p1", "test", [finding])


def block(html: str, case: str) -> str:
    """Return what the page says of a problem case."""
    blocks = re.findall(r"<article.*?</article>", html, flags=re.DOTALL)
    return next(b for b in blocks if f">{case}</h3>" in b)


def training_log() -> pd.DataFrame:
    epochs = np.arange(1, 7)
    log = pd.DataFrame({"epoch": epochs, "lr": 1e-3, "train_loss": 1 / epochs})
    return log.assign(
        valid_loss=1.2 / epochs,
        valid_dice=[0.1, 0.4, np.nan, 0.8, 0.7, 0.6],
        valid_dice_WT=0.5,
        valid_dice_ET=0.3,
    )


class Page(HTMLParser):
    """Tags with their attributes, and the rows of the sortable table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def cases_in_order(html: str) -> list[str]:
    return re.findall(r'<th scope="row" data-key="([^"]*)"', html)


class TestPictures:
    def test_best_slice_has_the_largest_area(self):
        _, truth, _ = head()
        assert best_slice(truth.array[0] > 0) == 10
        assert best_slice(truth.array[0] > 0, axis=0) == 12

    def test_best_slice_of_nothing_is_the_middle(self):
        assert best_slice(np.zeros((4, 5, 9), bool)) == 4

    @pytest.mark.parametrize(
        ("centre", "top", "left"),
        [((12, 48, 10), True, False), ((48, 48, 10), True, True), ((12, 20, 10), False, False)],
    )
    def test_patients_left_is_on_the_right_and_front_is_up(self, centre, top, left):
        image, truth, _ = head(centre)
        contour = figures.Contour(truth.array[0] > 0, "#ffb000", "tumour")
        picture = pixels(figures.overlay(image, [contour]))
        row, column = where(picture[:, : 1200 * 60 // 190], "#ffb000")
        assert (row < 0.5, column < 0.5) == (top, left)

    def test_axis_order_of_the_file_changes_nothing(self):
        image, truth, _ = head()

        def turned(volume: Volume) -> Volume:
            flip = np.diag([-1.0, -1.0, 1.0, 1.0])
            flip[:2, 3] = np.array(volume.array.shape[1:3]) - 1
            return Volume(volume.array[:, ::-1, ::-1], volume.names, volume.affine @ flip)

        assert turned(image).orientation == "LPS"
        same = figures.preview(turned(image), turned(truth), BRATS)
        assert same == figures.preview(image, truth, BRATS)

    def test_planes_stand_side_by_side_at_one_scale(self):
        image, truth, found = head()
        contours = figures.compared((truth, BRATS), (found, BRATS), ["WT", "TC", "ET"])
        picture = pixels(figures.overlay(image, contours))
        assert picture.shape[1] == figures.WIDTH
        zoom = (figures.WIDTH - 24) / (59 + 59 + 69)  # widths of the head in mm
        assert picture.shape[0] == pytest.approx(zoom * 69 + 46, abs=zoom)

    def test_a_title_takes_a_line_of_its_own(self):
        image, truth, _ = head()
        contour = figures.Contour(truth.array[0] > 0, "#ffb000", "tumour")
        plain, titled = (pixels(figures.overlay(image, [contour], title=t)) for t in ("", "T"))
        assert titled.shape[0] > plain.shape[0]

    def test_2d_images_are_shown_as_their_file_shows_them(self):
        image, mask = slice_2d()
        picture = pixels(figures.preview(image, mask, BINARY))
        assert picture.shape[1] == figures.WIDTH_2D
        row, column = where(picture, "#ffb000", 60)
        assert row < 0.4
        assert column > 0.7

    def test_the_channel_is_the_one_that_is_named(self):
        image, truth, _ = head()
        halves = image.with_array(np.stack([image.array[0], 200 - image.array[0]]))
        contour = figures.Contour(truth.array[0] > 0, "#ffb000", "tumour")
        default = figures.overlay(halves, [contour])
        assert default == figures.overlay(halves, [contour], channel="flair")
        assert default != figures.overlay(halves, [contour], channel="t1c")

    def test_scan_stays_grey_and_contours_keep_their_colours(self):
        image, truth, found = head()
        contours = figures.compared((truth, BRATS), (found, BRATS), ["TC"])
        picture = pixels(figures.overlay(image, contours))
        for contour in contours:
            where(picture, contour.colour)
        grey = np.ptp(picture, axis=2) == 0
        assert grey.mean() > 0.9
        assert len(np.unique(picture[grey])) > 40

    def test_truth_is_solid_and_named_once(self):
        _, truth, found = head()
        contours = figures.compared((truth, BRATS), (found, BRATS), ["WT", "ET"])
        assert [c.label for c in contours] == ["truth", "WT prediction", "", "ET prediction"]
        assert [c.dashed for c in contours] == [False, True, False, True]
        assert len({c.colour for c in contours}) == 3

    def test_truth_and_prediction_may_store_other_values(self):
        _, truth, _ = head()
        older = truth.with_array(np.where(truth.array == 3, 4, truth.array))
        contours = figures.compared((older, SCHEMES["brats2021"]), (truth, BRATS), ["TC", "ET"])
        for real, found in zip(contours[::2], contours[1::2], strict=True):
            np.testing.assert_array_equal(real.mask, found.mask)

    @pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
    def test_nothing_to_see_is_no_error(self, value):
        image, truth, _ = head()
        blank = image.with_array(np.full_like(image.array, value))
        nothing = truth.with_array(np.zeros_like(truth.array))
        pixels(figures.overlay(blank, figures.compared((nothing, BRATS), (nothing, BRATS), ["WT"])))
        pixels(figures.overlay(blank, []))
        pixels(figures.preview(blank, nothing, BRATS))

    def test_a_tumour_that_fills_the_picture_has_an_outline(self):
        image, mask = slice_2d()
        full = mask.with_array(np.ones_like(mask.array))
        pixels(figures.preview(image, full, BINARY))

    def test_single_slice_in_mm_is_shown_as_a_volume(self):
        image, truth, _ = head()
        picture = figures.preview(
            image.crop((0, 0, 10), (60, 70, 1)), truth.crop((0, 0, 10), (60, 70, 1)), BRATS
        )
        assert pixels(picture).shape[1] == figures.WIDTH_2D

    def test_many_labels_find_room_in_the_legend(self):
        image, truth, _ = head()
        many = np.where(truth.array > 0, np.arange(60)[:, None, None] % 9 + 1, 0).astype(np.uint8)
        pixels(figures.preview(image, truth.with_array(many), numbered(range(1, 10))))


class TestPlots:
    def test_learning_curves_mark_the_best_epoch(self):
        svg = plots.learning_curves(training_log())
        assert "best: 4" in svg
        assert "best: 6" in plots.learning_curves(training_log(), best=6)
        for word in ("training", "validation", "WT", "ET", "mean"):
            assert f">{word}<" in svg

    def test_learning_curves_without_regions_or_scores(self):
        log = training_log().drop(columns=["valid_dice_WT", "valid_dice_ET"])
        assert "best: 4" in plots.learning_curves(log)
        assert "best" not in plots.learning_curves(log.assign(valid_dice=np.nan))
        assert "best: 1" in plots.learning_curves(log.head(1))

    def test_distribution_leaves_out_what_is_no_region(self):
        rows = metrics_table(6)
        rows.loc[0, "value"] = None
        svg = plots.distribution(rows)
        for word in ("Dice", "IoU", "HD95 (mm)", "WT", "TC", "ET"):
            assert f">{word}<" in svg
        assert ">all<" not in svg

    def test_large_cohorts_stay_small(self):
        assert len(plots.distribution(metrics_table(600))) < 1_000_000

    def test_score_against_size_leaves_out_empty_truth(self):
        rows = metrics_table(4)
        sizes = rows[["case", "region"]].drop_duplicates().assign(size=[0.0, *range(1, 16)])
        svg = plots.score_against_size(rows, sizes)
        assert ">ml<" in svg
        plots.score_against_size(rows, sizes.head(1))

    def test_plots_suit_light_and_dark_pages_and_each_other(self):
        one, other = plots.learning_curves(training_log()), plots.distribution(metrics_table(3))
        assert "currentColor" in one
        assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", one + other)
        ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (one, other)]
        assert not ids[0] & ids[1]


class TestPage:
    def report(self, cases: pd.DataFrame, **more) -> Report:
        return Report("A model on a cohort", "test", summary(cases), cases, **more)

    def full(self, count: int = 50) -> Report:
        image, truth, found = head()
        png = figures.overlay(
            image, figures.compared((truth, BRATS), (found, BRATS), ["WT", "TC", "ET"])
        )
        return self.report(
            metrics_table(count),
            pictures=[Picture(f"case{i:03d}", png, "worst", "Dice 0.5") for i in range(count)],
            curves_svg=plots.learning_curves(training_log()),
            settings={"seed": 0, "recipe": {"data": {"dims": 3, "channels": ["t1", "flair"]}}},
            warnings=["a patient was seen in training"],
            notes=["a note"],
        )

    def test_needs_nothing_but_itself(self):
        html = render(self.full())
        page = Page(html)
        for tag, attributes in page.tags:
            for name in ("src", "href", "xlink:href", "action", "data", "poster"):
                address = attributes.get(name) or ""
                assert address == "" or address.startswith(("data:image/png", "#")), (tag, address)
        assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
        style = html[html.index("<style>") : html.index("</style>")]
        assert "url(" not in style
        assert "@import" not in style
        policy = next(a["content"] for _, a in page.tags if "Policy" in str(a.get("http-equiv")))
        assert policy.startswith("default-src 'none'")
        assert len(html) < 15_000_000

    def test_policy_allows_its_own_script_and_no_other(self):
        import hashlib

        html = render(self.report(metrics_table(2)))
        scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
        assert len(scripts) == 1
        digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in html

    def test_everything_a_user_names_is_escaped(self):
        evil = "<script>alert(1)</script>\"'"
        cases = metrics_table(2)
        cases[["case", "patient", "region", "reason"]] = evil
        report = Report(
            evil,
            evil,
            [row | {"rule": evil} for row in summary(cases)],
            cases.drop_duplicates(["case", "metric"]),
            pictures=[Picture(evil, figures.preview(*slice_2d(), BINARY), evil, evil)],
            settings={evil: {evil: evil}},
            warnings=[evil],
            notes=[evil],
        )
        html = render(report)
        assert "<script>alert" not in html
        assert html.count("<script>") == 1
        assert "&lt;script&gt;alert" in html

    def test_headline_has_the_mean_with_its_interval(self):
        cases = metrics_table(4)
        html = render(self.report(cases))
        row = next(r for r in summary(cases) if (r["region"], r["metric"]) == ("WT", "dice"))
        tile = html[html.index('class="card tile"') :][:900]
        assert f"<strong>{row['mean']:.3f}</strong>" in tile
        assert f"{row['ci_low']:.3f} to {row['ci_high']:.3f}" in tile
        assert html.count('class="card tile"') == 3
        for fact in ("<dt>cases</dt><dd>4<", "<dt>patients</dt><dd>2<", "<dt>split</dt><dd>test<"):
            assert fact in html

    def test_rows_may_be_objects(self):
        from types import SimpleNamespace

        cases = metrics_table(3)
        objects = [SimpleNamespace(**row) for row in summary(cases)]
        assert render(Report("t", "", objects, cases)) == render(
            Report("t", "", summary(cases), cases)
        )

    def test_worst_cases_come_first_and_empty_ones_last(self):
        cases = metrics_table(4, ("tumour",))
        dice = cases["metric"] == "dice"
        cases.loc[dice, "value"] = [0.9, np.nan, 0.2, 0.5]
        cases.loc[dice & (cases["case"] == "case001"), "reason"] = "both masks are empty"
        html = render(self.report(cases))
        assert cases_in_order(html) == ["case002", "case003", "case000", "case001"]
        assert "—<sup>1</sup>" in html
        assert "<li>both masks are empty</li>" in html

    @pytest.mark.parametrize("empty", [None, "", np.nan, "nan"])
    def test_empty_values_are_a_dash_however_they_are_written(self, empty):
        cases = metrics_table(2, ("tumour",)).astype({"value": object})
        cases.loc[:, "value"] = empty
        cases.loc[:, "reason"] = "undefined"
        rows = [row | dict.fromkeys(("mean", "ci_low"), empty) for row in summary(metrics_table(2))]
        html = render(Report("t", "", rows, cases))
        assert ">nan<" not in html
        assert "<strong>—</strong>" in html
        assert "Distribution of the scores" not in html

    def test_what_was_read_back_from_csv_looks_the_same(self, tmp_path: Path):
        cases = metrics_table(3).assign(split="", patient="")
        cases.to_csv(tmp_path / "metrics.csv", index=False)
        again = pd.read_csv(tmp_path / "metrics.csv")
        rows = summary(cases)
        assert render(Report("t", "", rows, again)) == render(Report("t", "", rows, cases))
        assert "<dt>split</dt>" not in render(Report("t", "", rows, again))

    def test_sections_that_have_nothing_to_show_are_left_out(self):
        html = render(self.report(metrics_table(2)))
        for heading in ("Truth and prediction", "Training", "Settings", "Notes"):
            assert f"<h2>{heading}</h2>" not in html
        assert 'class="warnings"' not in html

    def test_settings_are_listed_whole(self):
        settings = {
            "seed": 0,
            "plan": {"size": None, "targets": [{"name": "WT"}], "window": [8, 8]},
        }
        html = render(self.report(metrics_table(2), settings=settings))
        for key, value in (
            ("seed", "0"),
            ("size", "none"),
            ("targets.1.name", "WT"),
            ("window", "8, 8"),
        ):
            assert f"<dt>{key}</dt><dd>{value}</dd>" in html

    def test_pictures_know_their_size_and_say_what_they_show(self):
        png = figures.preview(*slice_2d(), BINARY)
        picture = Picture("case1", png, "best", "Dice 0.9")
        assert picture.size == Image.open(io.BytesIO(png)).size
        image = next(
            a
            for tag, a in Page(render(self.report(metrics_table(2), pictures=[picture]))).tags
            if tag == "img"
        )
        assert base64.b64decode(str(image["src"]).split(",")[1]) == png
        assert "case1" in str(image["alt"])

    def test_no_case_at_all_is_a_page_too(self):
        nothing = metrics_table(1).head(0)
        assert "<dt>cases</dt><dd>0<" in render(Report("t", "", [], nothing))


class TestStills:
    def test_the_planes_go_through_the_largest_disagreement(self):
        image, truth, _ = head()
        found = truth.with_array(truth.array.copy())
        found.array[0, 40:50, 40:50, 3] = 2
        masks = [truth.array[0] > 0, found.array[0] > 0]
        assert scene_of(image, masks, None).planes[0].caption == "flair · axial 11/20"
        scene = scene_of(image, masks, None, masks[0] ^ masks[1])
        assert scene.planes[0].caption == "flair · axial 4/20"
        assert len(scene.masks) == 2
        picture = stills.disagreement("a", image, (truth, BRATS), (found, BRATS), ["WT"])
        assert "differ most" in picture.detail
        contours = figures.compared((truth, BRATS), (found, BRATS), ["WT"])
        assert picture.png != figures.overlay(image, contours)

    def test_masks_that_agree_are_shown_too(self):
        image, truth, _ = head()
        picture = stills.disagreement("a", image, (truth, BRATS), (truth, BRATS), ["WT"])
        assert "which agree" in picture.detail
        nothing = truth.with_array(np.zeros_like(truth.array))
        pixels(stills.disagreement("a", image, (nothing, BRATS), (nothing, BRATS), ["WT"]).png)

    def test_masks_without_a_scan_lie_on_black_in_their_whole_field(self):
        _, mask = slice_2d()
        moved = mask.with_array(np.roll(mask.array, -30, 1))
        picture = stills.disagreement("a", None, (mask, BINARY), (moved, BINARY), ["tumour"])
        row, column = where(pixels(picture.png), figures.TRUTH)
        assert row < 0.4
        assert column > 0.7
        row, column = where(pixels(stills.reference("a", mask, BINARY).png), "#ffb000", 60)
        assert column > 0.7

    def test_what_can_be_read_is_shown_and_what_cannot_has_an_empty_frame(self):
        image, truth, _ = head()
        whole = Volume(image.array[:1], ("t1",), image.affine)
        channels = {"t1": Stored(whole), "t2": Stored(None)}
        case = Case("a", "a", Path("data"), channels, Stored(truth))
        picture = stills.readable(case, ["t1", "t2", "flair"])
        assert "read: t1, reference. Empty frames: t2, flair." in picture.detail
        shown = np.split(pixels(picture.png)[40:300, : 4 * (picture.size[0] // 4)], 4, axis=1)
        assert [frame.max() > 200 for frame in shown] == [True, False, False, True]

    def test_a_reference_on_another_grid_is_no_line_on_the_scan(self):
        image, truth, _ = head()
        whole = Volume(image.array[:1], ("t1",), image.affine)
        for mask, drawn in ((truth, True), (truth.crop((0, 0, 0), (50, 60, 20)), False)):
            case = Case("a", "a", Path("data"), {"t1": Stored(whole)}, Stored(mask))
            frame = pixels(stills.readable(case, ["t1"]).png)[:, :285]
            assert (np.ptp(frame, axis=2).max() > 50) == drawn

    def test_nothing_that_can_be_read_is_a_picture_too(self):
        case = Case("a", "a", Path("data"), {"t1": Stored(None)}, None)
        picture = stills.readable(case, ["t1"])
        assert "read: nothing. Empty frames: t1, reference." in picture.detail
        pixels(picture.png)


class TestProblems:
    def page(self, problems, count: int = 3, **more) -> str:
        cases = metrics_table(count)
        return render(Report("t", "", summary(cases), cases, problems=problems, **more))

    @pytest.mark.parametrize(
        ("kind", "title", "effect"),
        [
            (Kind.LEFT_OUT, "left out", "is part of no mean"),
            (Kind.FAILED, "could not be segmented", "the worst value of every metric"),
            (Kind.MISSING, "no prediction", "the worst value of every metric"),
            (Kind.NOT_FOUND, "tumour not found", "mean Dice 0.250"),
            (Kind.FALSE, "tumour found where there is none", "mean Dice 0.250"),
            (Kind.ELSEWHERE, "Dice 0", "mean Dice 0.250"),
            (Kind.SEEN, "seen in training", "Scored as any other case: mean Dice 0.250"),
            (Kind.NOTE, "repaired or assumed", "Scored as any other case: mean Dice 0.250"),
        ],
    )
    def test_each_kind_says_what_is_wrong_and_what_it_did(self, kind, title, effect):
        html = self.page([problem(kind, dice=None if kind.grave else 0.25)])
        said = block(html, "case001")
        assert f'<span class="kind">{title}</span>' in said
        for words in (f"{kind.name} is said.", effect, "patient p1, split test"):
            assert words in said
        assert re.search(rf'href="#problem-1">{title}</a> <b>1</b>', html)

    def test_no_problem_no_section(self):
        html = self.page([])
        assert "Cases with problems" not in html
        assert "<article" not in html
        assert "with problems" not in html

    def test_an_error_is_told_in_its_parts(self):
        said = block(self.page([refused("case001")]), "case001")
        told = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", said))
        assert told == {
            "Where": "/data/is cut off.nii",
            "Found": "is cut off",
            "Expected": "a whole file",
            "Way out": "fetch it again",
        }

    def test_the_worst_come_first(self):
        given = [problem(kind, f"{kind.name}-{dice}", dice) for kind in Kind for dice in (0.5, 0.1)]
        html = self.page(given[::-1])
        names = [p.case for p in sorted(given, key=lambda p: (p.kind, p.dice))]
        assert re.findall(r"<h3[^>]*>([^<]*)</h3>", html) == names

    def test_a_case_with_several_problems_is_one_block_under_its_worst(self):
        findings = [Finding(Kind.NOTE, "A shear."), Finding(Kind.NOT_FOUND, "Nothing was found.")]
        html = self.page([Problem("case001", "p", "", findings, 0.0)])
        assert html.count("<article") == 1
        titles = re.findall(r'class="kind">([^<]*)<', block(html, "case001"))
        assert titles == ["tumour not found", "repaired or assumed"]
        assert "with problems" in html
        assert "with remarks" not in html

    def test_warnings_facts_and_table_lead_to_the_blocks(self):
        bad, gone = refused("case001"), refused("gone", Kind.LEFT_OUT, "is torn")
        seen = [
            Problem(f"case{i:03d}", "p", "", [Finding(Kind.SEEN, "", warning="seen 7")], 0.5)
            for i in range(2, 9)
        ]
        warnings = [*(p.findings[0].warning for p in (bad, gone)), "seen 7", "of no case"]
        html = self.page([bad, gone, *seen], 9, warnings=warnings)
        anchors = {a["id"]: a for tag, a in Page(html).tags if "id" in a}
        links = [str(a["href"])[1:] for tag, a in Page(html).tags if tag == "a"]
        assert links
        assert set(links) <= set(anchors)
        assert '<a href="#problem-2">failed</a>' in html
        assert '<a href="#problem-1">left out</a></dt><dd>1<' in html
        assert '<a href="#problem-3">with remarks</a></dt><dd>7<' in html
        items = re.findall(r"<li>(.*?)</li>", html, flags=re.DOTALL)
        assert f'{warnings[0]} (see <a href="#problem-2">case001</a>)' in items
        assert "of no case" in items
        assert next(i for i in items if "seen" in i).endswith('<a href="#problems">2 more</a>)')
        table = html[html.index("<tbody>", html.index("All cases")) :]
        assert '<span><a href="#problem-2">case001</a></span>' in table
        assert "<span>case000</span>" in table

    def test_a_picture_that_cannot_be_drawn_costs_nothing(self):
        def broken() -> Picture:
            raise ValueError("no picture")

        album, wrong = Album(), problem(Kind.FAILED)
        album.offer(wrong, broken)
        html = self.page(album.illustrate([wrong]))
        assert "FAILED is said" in block(html, "case001")
        assert "<img" not in html

    def test_pictures_are_of_the_worst_alone(self):
        png, drawn = figures.preview(*slice_2d(), BINARY), []

        def draw(case: str) -> Picture:
            drawn.append(case)
            return Picture(case, png, detail="What is seen.")

        mild = [problem(Kind.NOTE, f"mild{i}", 0.5) for i in range(5)]
        grave = [problem(Kind.FAILED, f"grave{i}") for i in range(2)]
        album = Album(limit=3)
        for one in [*mild, *grave]:
            album.offer(one, partial(draw, one.case))
        assert drawn == ["mild0", "mild1", "mild2", "grave0", "grave1"]
        html = self.page(album.illustrate([*mild, *grave]))
        assert html.count("<img") == 3
        for name in ("grave0", "grave1"):
            assert f'alt="{name}: What is seen."' in block(html, name)

    def test_many_remarks_are_folded_and_without_pictures(self):
        png = figures.preview(*slice_2d(), BINARY)
        mild = [
            problem(Kind.NOTE, f"m{i:02d}", 0.5, picture=Picture("m", png)) for i in range(OPEN + 1)
        ]
        html = self.page([*mild, problem(Kind.FAILED, "bad")])
        assert f"{OPEN + 1} more cases" in html
        assert html.index("<h3") < html.index("<details")
        assert "<img" not in html
        few = self.page([*mild[:OPEN], problem(Kind.FAILED, "bad")])
        assert "<details" not in few
        assert few.count("<img") == OPEN

    def test_what_a_user_names_is_escaped(self):
        evil = "<script>alert(1)</script>\"'\n"
        error = BadCase(evil, DataError(evil, evil, evil, evil))
        picture = Picture(evil, figures.preview(*slice_2d(), BINARY), detail=evil)
        wrong = Problem(evil, evil, evil, [Finding(Kind.FAILED, evil, error, evil)], None, picture)
        cases = metrics_table(1).assign(case=evil)
        html = render(Report("t", "", summary(cases), cases, problems=[wrong], warnings=[evil]))
        assert "<script>alert" not in html
        assert html.count("<script>") == 1
        image = next(a for tag, a in Page(html).tags if tag == "img")
        assert set(image) == {"src", "width", "height", "alt", "loading"}

    def test_fifty_problems_stay_small_and_need_nothing_else(self):
        image, truth, found = head()
        album, wrong = Album(), [problem(Kind.FAILED, f"c{i}") for i in range(50)]
        picture = stills.disagreement("c", image, (truth, BRATS), (found, BRATS), ["WT", "ET"])
        for one in wrong:
            album.offer(one, lambda: picture)
        html = self.page(album.illustrate(wrong))
        assert html.count("<img") == PICTURES
        assert len(html) < 15_000_000
        addresses = [a.get("src") or a.get("href") or "#" for _, a in Page(html).tags]
        assert all(str(a).startswith(("data:image/png", "#")) for a in addresses)
        ids = [a["id"] for _, a in Page(html).tags if "id" in a]
        assert len(ids) == len(set(ids))
