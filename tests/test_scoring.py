"""Scores of cases and of folders, and the tables that others rely on."""

from __future__ import annotations

import csv
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glioscope.core.errors import CaseErrors, DataError, UndecidedLabels, UnknownName
from glioscope.core.labels import SCHEMES, numbered, scheme
from glioscope.core.volume import Volume
from glioscope.evaluation.problems import problems_of, remarks, sides
from glioscope.evaluation.scoring import missing_rows, score_case, score_folders, shared_names
from glioscope.evaluation.tables import (
    Row,
    SummaryRow,
    decimal,
    summarise_rows,
    write_metrics,
    write_summary,
)
from glioscope.formats.nifti import write_nifti
from glioscope.metrics import metrics
from glioscope.report.problems import Kind

BRATS, BINARY = scheme("brats2021"), scheme("binary")
ABOUT = {"case": "a", "patient": "a", "split": "test"}
AFFINE = np.array([[-1.0, 0, 0, 20], [0, -1, 0, 30], [0, 0, 1, -5], [0, 0, 0, 1]])


def tumour(shift: int = 0, values: tuple[int, int, int] = (1, 2, 4)) -> np.ndarray:
    """Nested boxes of oedema, enhancing tumour and necrosis in (1, 16, 15, 14)."""
    array = np.zeros((1, 16, 15, 14), np.uint8)
    necrosis, oedema, enhancing = values
    for margin, value in ((2, oedema), (4, enhancing), (5, necrosis)):
        array[0, margin + shift : 16 - margin + shift, margin:-margin, margin:-margin] = value
    return array


def mask(array: np.ndarray, affine: np.ndarray = AFFINE) -> Volume:
    return Volume(array, ("mask",), affine)


def write(folder: Path, **arrays: np.ndarray) -> Path:
    for name, array in arrays.items():
        write_nifti(folder / f"{name}.nii.gz", mask(array))
    folder.mkdir(exist_ok=True)
    return folder


def write_png(folder: Path, **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        Image.fromarray(array).save(folder / f"{name}.png")
    return folder


def values(rows: list[Row], metric: str = "dice") -> dict[tuple[str, str], float | None]:
    return {(row.case, row.region): row.value for row in rows if row.metric == metric}


# --- one case -------------------------------------------------------------------------------------


def test_a_perfect_case_is_perfect_in_every_region() -> None:
    rows = score_case(mask(tumour()), BRATS, mask(tumour()), BRATS, **ABOUT)
    assert {row.value for row in rows} == {1.0}
    assert list(values(rows)) == [("a", name) for name in (*BRATS.names, "background")]
    assert {row.metric for row in rows if row.region == "WT"} == set(metrics)
    assert {row.metric for row in rows if row.region == "background"} == {"dice"}
    assert all(row.rule == metrics[row.metric].traits.rule for row in rows)


def test_schemes_are_compared_by_name() -> None:
    predicted = mask(tumour(values=(1, 2, 3)))
    rows = score_case(predicted, scheme("brats2023"), mask(tumour()), BRATS, **ABOUT)
    assert set(values(rows).values()) == {1.0}


def test_each_region_is_the_union_of_its_classes() -> None:
    predicted, truth = tumour(1), tumour()
    found = values(score_case(mask(predicted), BRATS, mask(truth), BRATS, **ABOUT))
    for name, members in {"WT": [1, 2, 4], "TC": [1, 4], "ET": [4], "oedema": [2]}.items():
        p, t = np.isin(predicted, members), np.isin(truth, members)
        assert found["a", name] == pytest.approx(2 * (p & t).sum() / (p.sum() + t.sum()))
    assert found["a", "background"] == pytest.approx(
        2 * ((predicted == 0) & (truth == 0)).sum() / ((predicted == 0).sum() + (truth == 0).sum())
    )


@pytest.mark.parametrize("swap", [False, True])
def test_a_binary_mask_is_compared_with_the_whole_tumour(swap: bool) -> None:
    sides = [(mask((tumour() > 0).astype(np.uint8)), BINARY), (mask(tumour()), BRATS)]
    first, second = reversed(sides) if swap else sides
    assert values(score_case(*first, *second, **ABOUT)) == {
        ("a", "tumour"): 1.0,
        ("a", "background"): 1.0,
    }


def test_schemes_without_a_common_region_are_refused() -> None:
    assert shared_names(numbered([1, 2]), numbered([2, 3])) == ("label_2",)
    with pytest.raises(DataError, match="share no region"):
        score_case(mask(tumour()), numbered([1]), mask(tumour()), BRATS, **ABOUT)


def test_metrics_may_be_chosen() -> None:
    rows = score_case(mask(tumour()), BRATS, mask(tumour()), BRATS, metric_names=["iou"], **ABOUT)
    assert {(row.region, row.metric) for row in rows} == {(name, "iou") for name in BRATS.names}
    with pytest.raises(UnknownName, match="did you mean dice"):
        score_case(mask(tumour()), BRATS, mask(tumour()), BRATS, metric_names=["dise"], **ABOUT)


def test_a_missing_prediction_is_the_worst_of_everything() -> None:
    rows = missing_rows(BRATS.names, **ABOUT)
    real = score_case(mask(tumour()), BRATS, mask(tumour()), BRATS, **ABOUT)
    assert [(r.region, r.metric) for r in rows] == [(r.region, r.metric) for r in real]
    assert all(row.value == metrics[row.metric].traits.worst for row in rows)
    assert {row.reason for row in rows} == {"no prediction"}
    assert {row.reason for row in missing_rows(["ET"], reason="cut off", **ABOUT)} == {"cut off"}


def test_a_whole_case_is_scored_in_time() -> None:
    truth = np.zeros((1, 240, 240, 155), np.uint8)
    truth[0, 60:160, 60:160, 40:100] = np.random.default_rng(0).choice([0, 1, 2, 4], (100, 100, 60))
    prediction = np.roll(truth, 3, axis=1)
    names = ["accuracy", "dice", "iou", "precision", "sensitivity", "specificity"]
    start = time.perf_counter()
    score_case(mask(prediction), BRATS, mask(truth), BRATS, metric_names=names, **ABOUT)
    assert time.perf_counter() - start < 4  # 0.6 s on an idle core; the rest is for busy machines


# --- two folders ----------------------------------------------------------------------------------


def test_folders_are_paired_by_name(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", **{"x/p1_seg": tumour(), "y/p2-seg": tumour()})
    write(truth, **{"x/p1_t1": tumour(), "x/p1_flair": tumour(), "._p1_seg": tumour()})
    prediction = write(tmp_path / "prediction", **{"p1": tumour(), "deep/er/p2": tumour(1)})
    write(prediction / "probabilities", p1=tumour())
    write(prediction / "previews", p1=tumour())
    result = score_folders(truth, prediction, None)
    assert result.labels == BRATS
    assert result.warnings == ()
    assert [(pair.case, pair.prediction.name) for pair in result.cases] == [
        ("p2", "p2.nii.gz"),
        ("x", "p1.nii.gz"),  # a mask beside its scans has the name of its case
    ]
    found = values(result.rows)
    assert found["x", "WT"] == 1 > found["p2", "WT"] > 0.5
    assert {row.split for row in result.rows} == {""}


def test_a_missing_prediction_counts_and_an_extra_one_is_a_warning(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", a=tumour(), b=tumour())
    prediction = write(tmp_path / "prediction", a=tumour(), c=tumour())
    result = score_folders(truth, prediction, None)
    assert result.warnings == ("1 predictions have no truth and were left out: c",)
    missing = [row for row in result.rows if row.case == "b"]
    assert {(row.value, row.reason) for row in missing} == {(0.0, "no prediction")}
    summary = {(row.region, row.metric): row for row in summarise_rows(result.rows)}
    assert summary["WT", "dice"].mean == 0.5
    assert (summary["WT", "dice"].n, summary["WT", "dice"].failed) == (2, 1)
    assert summary["mean", "dice"].failed == 1


@pytest.mark.parametrize("codes", ["RAS", "PIR", "SLA"])
def test_another_axis_order_is_turned(tmp_path: Path, codes: str) -> None:
    import nibabel as nib

    truth = write(tmp_path / "truth", a=tumour(), b=tumour(1))
    (tmp_path / "prediction").mkdir()
    for name, shift in (("a", 0), ("b", 1)):
        image = nib.Nifti1Image(tumour(shift)[0], AFFINE)
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(codes)
        )
        nib.save(image.as_reoriented(turn), tmp_path / "prediction" / f"{name}.nii")
    result = score_folders(truth, tmp_path / "prediction", None)
    assert {row.value for row in result.rows} == {1.0}


def test_all_bad_cases_are_listed_at_once(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", **dict.fromkeys("abcd", tumour()))
    prediction = write(tmp_path / "prediction", d=tumour(), a=tumour()[:, 1:])
    moved = AFFINE.copy()
    moved[0, 3] += 2
    write_nifti(prediction / "b.nii.gz", mask(tumour(), moved))
    (prediction / "c.nii.gz").write_text("no mask")
    with pytest.raises(CaseErrors) as caught:
        score_folders(truth, prediction, None)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    for line, (name, found) in zip(
        lines, [("a", "15x15x14|15x16x14|shape"), ("b", "2.0 mm"), ("c", "NIfTI")], strict=True
    ):
        assert f"{name}.nii.gz" in line
        assert re.search(found, line)


def test_labels_are_decided_once_over_both_sides(tmp_path: Path) -> None:
    whole, no_enhancing = tumour(), np.where(tumour() == 4, 0, tumour())
    truth = write(tmp_path / "truth", a=no_enhancing, b=no_enhancing)
    prediction = write(tmp_path / "prediction", a=whole, b=no_enhancing)
    assert score_folders(truth, prediction, None).labels == BRATS
    write(prediction, a=no_enhancing)
    with pytest.raises(DataError, match="--labels"):
        score_folders(truth, prediction, None)
    found = score_folders(truth, prediction, scheme("brats2023"))
    assert found.labels.name == "brats2023"
    assert values(found.rows)["a", "ET"] == 1  # both empty


@pytest.mark.parametrize("swap", [False, True])
def test_two_conventions_are_not_taken_for_a_third(tmp_path: Path, swap: bool) -> None:
    old = write(tmp_path / "old", a=tumour())
    new = write(tmp_path / "new", a=tumour(values=(1, 2, 3)))
    truth, prediction = (new, old) if swap else (old, new)
    with pytest.raises(UndecidedLabels, match="one label scheme on both sides; convert one side"):
        score_folders(truth, prediction, None)
    cavity = tumour(values=(1, 2, 3))
    cavity[0, 0] = 4
    write(truth, a=cavity)
    write(prediction, a=tumour(values=(1, 2, 3)))
    assert score_folders(truth, prediction, None).labels.name == "brats2024"


def test_names_narrow_the_schemes(tmp_path: Path) -> None:
    no_enhancing = np.where(tumour() == 4, 0, tumour())
    for name, expected in (("BraTS2021_00006", "brats2021"), ("BraTS20_Training_001", "brats2021")):
        truth = write(tmp_path / name / "truth", **{f"{name}_seg": no_enhancing})
        prediction = write(tmp_path / name / "prediction", **{name: no_enhancing})
        assert score_folders(truth, prediction, None).labels.name == expected


def test_patients_are_the_names_less_their_time_points(tmp_path: Path) -> None:
    names = ["BraTS-GLI-00005-100", "BraTS-GLI-00005-101"]
    arrays = dict.fromkeys(names, tumour(values=(1, 2, 3)))
    result = score_folders(
        write(tmp_path / "truth", **arrays), write(tmp_path / "prediction", **arrays), None
    )
    assert {row.patient for row in result.rows} == {"BraTS-GLI-00005"}
    assert {row.case for row in result.rows} == set(names)


def test_patients_csv_goes_before_the_names(tmp_path: Path) -> None:
    square = np.eye(20, dtype=np.uint8)
    truth = write_png(tmp_path / "truth", **dict.fromkeys(["a_mask", "b", "c"], square))
    (truth / "patients.csv").write_text("file,patient\na_mask.png,anna\nb.png,anna\n")
    rows = score_folders(truth, truth, None).rows
    assert {(row.case, row.patient) for row in rows} == {("a", "anna"), ("b", "anna"), ("c", "c")}


def test_unknown_labels_are_refused(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", a=tumour())
    prediction = write(tmp_path / "prediction", a=tumour(values=(1, 2, 7)))
    with pytest.raises(CaseErrors, match=r"a\.nii\.gz: label values \[7\] are not in the scheme"):
        score_folders(truth, prediction, BRATS)


def test_labels_without_a_meaning_are_numbered(tmp_path: Path) -> None:
    arrays = {"a": tumour(values=(5, 6, 9))}
    result = score_folders(write(tmp_path / "t", **arrays), write(tmp_path / "p", **arrays), None)
    assert {row.region for row in result.rows} == {"label_5", "label_6", "label_9", "background"}


def test_binary_predictions_of_a_labelled_truth(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", a=tumour())
    prediction = write(tmp_path / "prediction", a=(tumour() > 0).astype(np.uint8))
    assert "--labels binary" in score_folders(truth, prediction, None).warnings[0]
    assert "the truth holds no label but 1" in score_folders(prediction, truth, None).warnings[0]
    found = score_folders(truth, prediction, BINARY)
    assert found.warnings == ()
    assert values(found.rows) == {("a", "tumour"): 1.0, ("a", "background"): 1.0}


def test_black_and_white_masks_of_any_kind_are_binary(tmp_path: Path) -> None:
    square = np.zeros((20, 30), np.uint8)
    square[5:12, 8:20] = 255
    shifted = np.roll(square, 3, axis=1)
    truth = write_png(tmp_path / "truth", **{"a.b_mask": square, "c": square})
    prediction = write_png(tmp_path / "prediction", **{"a.b": shifted // 255, "c": square})
    result = score_folders(truth / "a.b_mask.png", prediction / "a.b.png", None)
    assert result.labels == BINARY
    assert values(result.rows)["a.b", "tumour"] == pytest.approx(9 / 12)
    write_png(prediction, **{"a.b": shifted})
    (truth / "a.b_mask.png").rename(truth / "a.b.png")
    result = score_folders(truth, prediction, None)
    assert result.warnings == ("mask images were binarised at 128 (in 2 cases)",)
    found = values(result.rows)
    assert found["a.b", "tumour"] == pytest.approx(9 / 12)
    assert found["c", "tumour"] == 1


def test_nifti_masks_of_255_are_binary(tmp_path: Path) -> None:
    one = (tumour() > 0).astype(np.uint8)
    truth = write(tmp_path / "truth", a=one)
    prediction = write(tmp_path / "prediction", a=one * 255)
    for labels in (None, BINARY):
        result = score_folders(truth, prediction, labels)
        assert values(result.rows) == {("a", "tumour"): 1.0, ("a", "background"): 1.0}
        assert result.warnings == ("masks of 0 and 255 were read as 0 and 1 (in 1 cases)",)
    labelled = write(tmp_path / "labelled", a=tumour())
    found = score_folders(prediction, labelled, None)
    assert found.labels == BRATS
    assert "--labels binary" in found.warnings[0]
    write(prediction, a=np.where(tumour() == 4, 255, tumour()).astype(np.uint8))
    with pytest.raises(UndecidedLabels, match="store the masks as 0 and 1"):
        score_folders(labelled, prediction, None)


def test_images_beside_their_masks_are_passed_over(tmp_path: Path) -> None:
    picture = np.full((20, 30), 90, np.uint8)
    square = np.zeros((20, 30), np.uint8)
    square[5:12, 8:20] = 255
    truth = write_png(tmp_path / "truth", a=picture, a_mask=square)
    prediction = write_png(tmp_path / "prediction", a=square)
    assert values(score_folders(truth, prediction, None).rows)["a", "tumour"] == 1


def test_no_mask_is_passed_over_for_the_name_of_another(tmp_path: Path) -> None:
    names = ["a", "b", "c_mask"]
    truth = write_png(tmp_path / "truth", **dict.fromkeys(names, np.eye(20, dtype=np.uint8)))
    cases = score_folders(truth, truth, None).cases
    assert [pair.case for pair in cases] == ["a", "b", "c"]


def test_masks_without_a_name_of_their_own_have_that_of_their_case(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", **{"a/seg": tumour(), "b/seg": tumour(1)})
    prediction = write(tmp_path / "prediction", **{"b": tumour(1), "a/seg": tumour()})
    result = score_folders(truth, prediction, None)
    assert [(pair.case, pair.truth.parent.name) for pair in result.cases] == [
        ("a", "a"),
        ("b", "b"),
    ]
    assert set(values(result.rows).values()) == {1.0}
    files = score_folders(truth / "a" / "seg.nii.gz", prediction / "a" / "seg.nii.gz", None)
    assert {row.case for row in files.rows} == {"a"}
    alone = write(tmp_path / "alone", seg=tumour())
    assert score_folders(alone, alone, None).cases[0].case == "seg"


def test_a_stray_mask_beside_scans_belongs_to_their_case(tmp_path: Path) -> None:
    name = "BraTS20_Training_355"
    files = {f"{name}/{name}_t1": tumour(), f"{name}/W39_1998.09.19_Segm": tumour()}
    prediction = write(tmp_path / "prediction", **{name: tumour()})
    (pair,) = score_folders(write(tmp_path / "truth", **files), prediction, None).cases
    assert (pair.case, pair.prediction) == (name, prediction / f"{name}.nii.gz")


def test_two_files_are_a_pair_whatever_their_names(tmp_path: Path) -> None:
    folder = write(tmp_path, this_seg=tumour(), other=tumour(1))
    result = score_folders(folder / "this_seg.nii.gz", folder / "other.nii.gz", None)
    assert {row.case for row in result.rows} == {"this"}


def test_folders_that_cannot_be_paired_are_refused(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", a=tumour())
    with pytest.raises(DataError, match="holds no mask"):
        score_folders(truth, write(tmp_path / "empty"), None)
    with pytest.raises(DataError, match="no such file"):
        score_folders(truth, tmp_path / "nowhere", None)
    with pytest.raises(DataError, match="such as z"):
        score_folders(truth, write(tmp_path / "others", z=tumour()), None)
    twice = write(tmp_path / "twice", **{"x/a": tumour(), "y/a_seg": tumour()})
    with pytest.raises(DataError, match="one mask for each case"):
        score_folders(twice, truth, None)


def test_real_scans_against_themselves(shared_data: Path) -> None:
    case = next((shared_data / "brats2021").iterdir())
    result = score_folders(case, case, None)
    assert result.labels == BRATS
    assert {row.value for row in result.rows} <= {1.0, None}


# --- problems -------------------------------------------------------------------------------------


def said(prediction: np.ndarray, truth: np.ndarray) -> list[tuple[Kind, str]]:
    rows = score_case(mask(prediction), BRATS, mask(truth), BRATS, **ABOUT)
    return [(f.kind, f.text) for f in remarks(rows, sides(BRATS, BRATS).regions)]


def test_a_score_of_nothing_is_told_in_words() -> None:
    real, nothing = tumour(), np.zeros_like(tumour())
    no_enhancing = np.where(real == 4, 1, real).astype(np.uint8)
    corner = nothing.copy()
    corner[0, 0, 0, 0] = 4
    assert said(real, real) == said(nothing, nothing) == []
    assert said(nothing, real) == [
        (Kind.NOT_FOUND, "No tumour was found, although the reference has one.")
    ]
    assert said(no_enhancing, real) == [
        (Kind.NOT_FOUND, "No ET was found, although the reference has some.")
    ]
    assert said(real, nothing) == [
        (Kind.FALSE, "Tumour was found, although the reference is empty.")
    ]
    assert said(real, no_enhancing) == [
        (Kind.FALSE, "ET was found, although the reference has none.")
    ]
    assert said(corner, real) == [
        (Kind.ELSEWHERE, "Dice 0 in WT, TC and ET: what was found does not touch the reference.")
    ]


def test_a_tumour_that_fills_the_image_can_be_missed_too() -> None:
    full = np.full((1, 4, 4, 4), 4, np.uint8)
    assert said(np.zeros_like(full), full)[0][0] is Kind.NOT_FOUND


def test_binary_masks_are_looked_at_as_the_whole_tumour() -> None:
    assert sides(BINARY, BRATS).regions == ["tumour"]
    assert sides(BRATS, scheme("brats2024")).regions == ["WT", "TC", "ET"]


def test_problems_of_two_folders(tmp_path: Path) -> None:
    ones = (tumour() > 0).astype(np.uint8)
    truth = write(tmp_path / "truth", good=ones, gone=ones, lost=ones, white=ones)
    found = write(tmp_path / "found", good=ones, lost=0 * ones, white=255 * ones)
    result = score_folders(truth, found, BINARY)
    problems = {p.case: p for p in problems_of(result)}
    assert {case: p.kind for case, p in problems.items()} == {
        "gone": Kind.MISSING,
        "lost": Kind.NOT_FOUND,
        "white": Kind.NOTE,
    }
    assert all(p.picture is not None for p in problems.values())
    assert problems["white"].dice == 1.0
    (note,) = problems["white"].findings
    assert note.text == "Masks of 0 and 255 were read as 0 and 1."
    assert note.warning == result.warnings[0]


def test_a_report_of_problems_that_cannot_be_drawn(tmp_path: Path, monkeypatch) -> None:
    from glioscope.api.scoring import score

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no picture")

    monkeypatch.setattr("glioscope.report.stills.overlay", broken)
    monkeypatch.setattr("glioscope.report.stills.preview", broken)
    truth = write(tmp_path / "truth", a=tumour(), b=tumour())
    score(truth, write(tmp_path / "found", a=0 * tumour()), tmp_path / "out", labels="brats2021")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No tumour was found" in page
    assert "No prediction has the name" in page
    assert "<img" not in page


# --- tables ---------------------------------------------------------------------------------------


def row(case: str, region: str, value: float | None, **other: str) -> Row:
    reason = "" if value is not None else "the truth is empty"
    return replace(
        Row(case, other.pop("patient", case), "test", region, "dice", value, "", "a rule", reason),
        **other,
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_csv_has_the_contracts_columns(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, [row("a,b", "WT", 1e-7), row("a,b", "ET", None), row("c", "WT", 2 / 3)])
    assert path.read_text().splitlines() == [
        "case,patient,split,region,metric,value,unit,rule,reason",
        '"a,b","a,b",test,WT,dice,0.0000001,,a rule,',
        '"a,b","a,b",test,ET,dice,,,a rule,the truth is empty',
        "c,c,test,WT,dice,0.6666666667,,a rule,",
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", "WT", 1.0), row("a", "WT", 0.5)], "two rows"),
        ([row("a", "WT", None, reason="")], "neither"),
        ([row("a", "WT", float("nan"))], "nan has no place"),
        ([row("a", "WT", float("inf"))], "inf has no place"),
    ],
)
def test_rows_that_break_the_contract_are_not_written(
    tmp_path: Path, rows: list[Row], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_metrics(tmp_path / "metrics.csv", rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (1.0, "1"), (100.0, "100"), (0.1, "0.1"), (374.0, "374"),
     (1e-10, "0.0000000001"), (123456.789, "123456.789"), (-0.25, "-0.25"),
     (float(np.float32(0.1)), "0.1000000015"), (1234567890123.0, "1234567890000")],
)  # fmt: skip
def test_decimals_are_plain(value: float, text: str) -> None:
    assert decimal(value) == text
    assert float(decimal(value)) == pytest.approx(value, rel=1e-9)


def test_a_summary_counts_what_failed() -> None:
    rows = [row("a", "WT", 0.5), row("b", "WT", 1.0), row("c", "WT", None), row("d", "WT", 0.0)]
    rows[3] = replace(rows[3], reason="no prediction")
    summary = summarise_rows(rows)[0]
    assert (summary.region, summary.metric, summary.n, summary.failed) == ("WT", "dice", 3, 2)
    assert summary.mean == 0.5
    assert summary.ci_low <= 0.5 <= summary.ci_high
    assert summary.rule == "a rule"


def test_the_mean_is_taken_within_cases_first() -> None:
    rows = [row("a", "WT", 0.8), row("a", "ET", None), row("b", "WT", 0.4), row("b", "ET", 0.2)]
    mean = {r.region: r for r in summarise_rows(rows)}["mean"]
    assert mean.mean == pytest.approx((0.8 + 0.3) / 2)
    assert (mean.n, mean.failed) == (2, 0)
    assert mean.rule == "mean of WT, ET in each case; a rule"


def test_means_leave_the_background_out() -> None:
    parts = {"WT": 0.9, "TC": 0.6, "ET": 0.3, "necrosis": 0.2, "oedema": 0.4, "enhancing": 0.3}
    rows = [row("a", region, value) for region, value in {**parts, "background": 0.99}.items()]
    rows.append(replace(row("a", "all", 0.07), metric="loss"))
    found = {(r.region, r.metric): r for r in summarise_rows(rows)}
    assert found["mean", "dice"].mean == pytest.approx(0.6)
    assert found["mean_classes", "dice"].mean == pytest.approx(0.3)
    assert found["mean_with_background", "dice"].mean == pytest.approx((0.99 + 0.9) / 4)
    assert found["all", "loss"].mean == 0.07
    assert ("mean", "loss") not in found


def test_means_of_classes_and_of_one_region() -> None:
    classes = [row("a", "necrosis", 0.2), row("a", "oedema", 0.4), row("a", "background", 0.9)]
    found = {r.region: r.mean for r in summarise_rows(classes)}
    assert found["mean"] == pytest.approx(0.3)
    assert found["mean_with_background"] == pytest.approx(0.5)
    assert "mean_classes" not in found
    assert {r.region: r.mean for r in summarise_rows([row("a", "tumour", 0.7)])}["mean"] == 0.7


def test_a_summary_depends_on_the_seed_alone() -> None:
    rng = np.random.default_rng(0)
    rows = [row(f"c{i}", "WT", float(rng.random()), patient=f"p{i // 2}") for i in range(20)]
    assert summarise_rows(rows) == summarise_rows(rows)
    assert summarise_rows(rows, seed=1)[0].ci_low != summarise_rows(rows)[0].ci_low


def test_a_summary_of_nothing_is_empty_not_nan(tmp_path: Path) -> None:
    rows = summarise_rows([row("a", "WT", None), row("b", "WT", None)])
    write_summary(tmp_path, rows)
    first = read(tmp_path / "summary.csv")[0]
    assert first["mean"] == first["ci_low"] == ""
    assert (first["n"], first["failed"]) == ("0", "2")
    assert summarise_rows([]) == []


def test_summaries_are_written_as_the_contract_says(tmp_path: Path) -> None:
    rows = summarise_rows([row("a", "WT", 0.5), row("b", "WT", 2 / 3)])
    write_summary(tmp_path, rows, {"labels": "brats2021"})
    text = (tmp_path / "summary.csv").read_text()
    assert text.splitlines()[0] == (
        "region,metric,mean,median,q25,q75,ci_low,ci_high,n,failed,unit,rule"
    )
    assert not re.search(r"\d[eE]-?\d|nan|inf", text)
    assert read(tmp_path / "summary.csv")[0]["mean"] == "0.5833333333"
    parsed = json.loads((tmp_path / "summary.json").read_text())
    assert parsed["labels"] == "brats2021"
    assert SummaryRow(**parsed["summary"][0]) == rows[0]


def test_every_scheme_has_a_table(tmp_path: Path) -> None:
    for known in SCHEMES.values():
        rows = missing_rows(known.names, **ABOUT)
        write_metrics(tmp_path / known.name / "metrics.csv", rows)
        assert {r.region for r in summarise_rows(rows)} >= {*known.names, "mean"}
