"""The contract that scripts outside rely on: names, columns, exit codes, one line per error."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from glioscope.cli import main
from glioscope.formats.nifti import write_nifti
from glioscope.formats.opening import open_dataset
from tests.conftest import TINY

METRICS = "case,patient,split,region,metric,value,unit,rule,reason"
SUMMARY = "region,metric,mean,median,q25,q75,ci_low,ci_high,n,failed,unit,rule"
SET = [part for override in TINY for part in ("--set", override)]


class Outcome:
    """Exit code and output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def glioscope(monkeypatch, capsys):
    """Run the command line in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["glioscope", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def write_case(folder: Path, **changes) -> Path:
    """Write a phantom as a BraTS case; `changes` names channels that are made differently."""
    case = open_dataset("phantom:cases=1,seed=9,spacing=6").cases[0]
    for name, source in (*case.channels.items(), ("seg", case.mask)):
        path = folder / case.id / f"{case.id}-{name}.nii.gz"
        volume = source.read()
        path.parent.mkdir(parents=True, exist_ok=True)
        if name not in changes:
            write_nifti(path, volume)
        elif changes[name] is not None:
            changes[name](path, volume)
    return folder / case.id


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def header(path: Path) -> str:
    return path.read_text().splitlines()[0]


def test_recipes(glioscope) -> None:
    listed = json.loads(glioscope("recipes", "--json").out)
    assert {"unet3d-binary", "unet-resnet34"} <= {r["name"] for r in listed}
    assert set(listed[0]) >= {"name", "dims", "network", "input", "targets", "reported"}
    assert "unet3d-binary" in glioscope("recipes").out


def test_version_and_usage(glioscope) -> None:
    assert glioscope("--version").out.startswith("glioscope ")
    assert glioscope("train").code == 2
    assert glioscope("no-such-verb").code == 2
    assert glioscope("train", "--no-such-option").code == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['glioscope', '--help']\n"
        "from glioscope.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'rich', 'pydantic'} & set(sys.modules)\n"
        "print(*heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "segment" in done.stdout.lower()
    assert done.stderr.strip() == ""


def test_the_way_of_a_scan_imports_no_torch() -> None:
    code = (
        "import sys, glioscope.formats.opening, glioscope.prepare.planning\n"
        "import glioscope.prepare.cache, glioscope.prediction.predictor\n"
        "import glioscope.prediction.engines\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there() -> None:
    import glioscope as package

    for name in package.__all__:
        assert callable(getattr(package, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_from_phantoms_to_a_report(glioscope, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert glioscope("phantom", data, "--cases", 4, "--seed", 5).code == 0
    done = glioscope("train", "unet3d-binary", data, "--out", run, *SET)
    assert done.code == 0
    assert "split by patient" in done.err
    done = glioscope("evaluate", run, data, "--out", tmp_path / "scores")
    assert done.code == 0
    assert header(tmp_path / "scores" / "metrics.csv") == METRICS
    assert header(tmp_path / "scores" / "summary.csv") == SUMMARY
    lines = rows(tmp_path / "scores" / "metrics.csv")
    keys = [(r["case"], r["region"], r["metric"]) for r in lines]
    assert len(keys) == len(set(keys))
    assert {r["region"] for r in lines} == {"WT", "background", "all"}
    assert {r["metric"] for r in lines if r["region"] == "WT"} >= {
        "dice", "iou", "sensitivity", "specificity", "precision", "accuracy",
    }  # fmt: skip
    assert all(r["value"] or r["reason"] for r in lines)
    assert [r["metric"] for r in lines if r["region"] == "all"] == ["loss"]
    page = (tmp_path / "scores" / "report.html").read_text()
    assert page.count("data:image/png") >= 1
    assert "<script src" not in page
    facts = json.loads(glioscope("info", run, "--json").out)
    assert (facts["kind"], facts["recipe"]) == ("model", "unet3d-binary")
    facts = json.loads(glioscope("info", data, "--json").out)
    assert (facts["kind"], facts["cases"], facts["labels"]) == ("data", 4, "brats2023")


def test_three_axis_orders_through_the_command_line(glioscope, tiny_model, tmp_path: Path) -> None:
    """The same head in three axis orders gives masks in one place of the world."""
    from tests.test_volume import reoriented

    case = open_dataset("phantom:cases=1,seed=9,spacing=6").cases[0]
    places = []
    for codes in ("RAS", "LPS", "IRP"):
        folder = tmp_path / codes / f"case-{codes}"
        for name, source in case.channels.items():
            volume = reoriented(source.read(), codes)
            write_nifti(folder / f"case-{codes}-{name}.nii.gz", volume)
        done = glioscope("predict", tiny_model, folder, "--out", tmp_path / "out")
        assert done.code == 0
        mask = nib.load(tmp_path / "out" / f"case-{codes}.nii.gz")
        assert "".join(nib.aff2axcodes(mask.affine)) == codes
        found = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj)))
        places.append(np.array(sorted(np.round(found, 3).tolist())))
    np.testing.assert_allclose(places[0], places[1], atol=1e-2)
    np.testing.assert_allclose(places[0], places[2], atol=1e-2)


def test_files_given_one_by_one(glioscope, tiny_model, tmp_path: Path) -> None:
    folder = write_case(tmp_path / "in", seg=None)
    named = [
        part
        for name in ("t1", "t2", "flair")
        for part in (f"--{name}", next(folder.glob(f"*-{name}.nii.gz")))
    ]
    done = glioscope("predict", tiny_model, *named, "--out", tmp_path / "out", "--preview")
    assert done.code == 0
    assert (tmp_path / "out" / f"{folder.name}.nii.gz").exists()
    assert (tmp_path / "out" / "previews" / f"{folder.name}.png").exists()


def test_one_failure_among_several_is_exit_1(glioscope, tiny_model, tmp_path: Path) -> None:
    good = write_case(tmp_path / "a")
    bad = tmp_path / "b" / "other"
    bad.mkdir(parents=True)
    for path in good.iterdir():
        name = path.name.replace(good.name, "other")
        (bad / name).write_bytes(path.read_bytes()[: 400 if "t2" in name else None])
    done = glioscope("predict", tiny_model, good, bad, "--out", tmp_path / "out")
    assert done.code == 1
    assert "other-t2.nii.gz" in done.err
    assert (tmp_path / "out" / f"{good.name}.nii.gz").exists()
    assert not (tmp_path / "out" / "other.nii.gz").exists()


def test_score_needs_no_model(glioscope, tmp_path: Path) -> None:
    affine = np.diag([1.0, 1, 2, 1])
    for index in range(3):
        truth = np.zeros((10, 11, 12), np.uint8)
        truth[2:8, 2:8, 2:8], truth[3:6, 3:6, 3:6], truth[4, 4, 4] = 2, 4, 1
        found = np.roll(truth, index, axis=0)
        for place, array in (("truth", truth), ("pred", found)):
            name = f"p{index}_seg.nii.gz" if place == "truth" else f"p{index}.nii.gz"
            if not (place == "pred" and index == 2):
                path = tmp_path / place / name
                path.parent.mkdir(exist_ok=True)
                nib.save(nib.Nifti1Image(array, affine), path)
    done = glioscope("score", tmp_path / "truth", tmp_path / "pred", "--out", tmp_path / "out")
    assert done.code == 1
    assert header(tmp_path / "out" / "metrics.csv") == METRICS
    lines = {(r["case"], r["region"], r["metric"]): r for r in rows(tmp_path / "out/metrics.csv")}
    assert float(lines["p0", "WT", "dice"]["value"]) == 1
    assert float(lines["p1", "WT", "dice"]["value"]) == pytest.approx(5 / 6)
    assert float(lines["p2", "ET", "dice"]["value"]) == 0
    assert lines["p2", "ET", "dice"]["reason"]
    assert header(tmp_path / "out" / "summary.csv") == SUMMARY
    assert (tmp_path / "out" / "report.html").exists()


def truncated(path: Path, volume) -> None:
    write_nifti(path, volume)
    path.write_bytes(path.read_bytes()[:2000])


def text(path: Path, volume) -> None:
    path.write_text("patient moved to the archive\n")


def with_nan(path: Path, volume) -> None:
    array = volume.array.copy()
    array[0, 3, 3, 3] = np.nan
    nib.save(nib.Nifti1Image(array[0], volume.affine), path)


def smaller(path: Path, volume) -> None:
    write_nifti(path, volume.crop((0, 0, 0), (9, 9, 9)))


def elsewhere(path: Path, volume) -> None:
    affine = volume.affine.copy()
    affine[0, 3] += 30
    nib.save(nib.Nifti1Image(volume.array[0], affine), path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flair": None}, "has no flair (only t1, t1c, t2); expected t1 t2 flair"),
        ({"t2": truncated}, "t2.nii.gz"),
        ({"t2": text}, "t2.nii.gz: is not NIfTI"),
        ({"t1": with_nan}, "t1.nii.gz: "),
        ({"flair": smaller}, "flair.nii.gz: shape 9x9x9; expected"),
        ({"flair": elsewhere}, "flair.nii.gz: its affine puts voxels up to 30.0 mm away"),
    ],
)
def test_a_bad_scan_is_one_line_and_leaves_nothing(
    glioscope, tiny_model, tmp_path: Path, changes, said
) -> None:
    folder = write_case(tmp_path / "in", **changes)
    before = sorted(tmp_path.rglob("*"))
    done = glioscope("predict", tiny_model, folder, "--out", tmp_path / "out")
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert "Traceback" not in done.err
    assert done.out == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "unet3d-binry", "phantom:cases=4"], "did you mean unet3d-binary?"),
        (["train", "unet3d-binary", "nowhere"], "nowhere: "),
        (
            ["train", "unet3d-binary", "phantom:cases=4", "--set", "train.epoch=3"],
            "train.epoch is unknown, did you mean epochs?",
        ),
        (["train", "unet3d-binary", "phantom:case=4"], "did you mean cases?"),
        (["train", "unet3d-binary", "phantom:cases=2"], "expected at least 3"),
        (["evaluate", "nowhere", "phantom:cases=1"], "is not a model"),
        (["score", "nowhere", "elsewhere"], "nowhere"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(
    glioscope, tmp_path: Path, arguments, said
) -> None:
    done = glioscope(*arguments, "--out", tmp_path / "out")
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_nobody_foresaw_is_one_line_too(glioscope, monkeypatch) -> None:
    monkeypatch.setattr("glioscope.api.exploring.recipes", lambda: 1 / 0)
    done = glioscope("recipes")
    assert done.code == 2
    assert done.err.startswith("unexpected ZeroDivisionError: ")
    assert len(done.err.splitlines()) == 1


def test_masks_beside_the_scans_do_not_matter_to_predict(glioscope, tiny_model, tmp_path) -> None:
    folder = write_case(tmp_path / "in", seg=text, t1c=text)
    plain = tmp_path / "patient7"
    plain.mkdir()
    for path in folder.iterdir():
        (plain / path.name.rsplit("-", 1)[1]).write_bytes(path.read_bytes())
    for place in (folder, plain):
        assert glioscope("predict", tiny_model, place, "--out", tmp_path / "out").code == 0
    listed = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [r["case"] for r in listed] == [folder.name, "patient7"]
    assert len(listed[0]["inputs"]) == 3


def test_binary_and_brats_labels_are_compared_as_whole_tumour(
    glioscope, tiny_model, tmp_path: Path
) -> None:
    def tumour(path: Path, volume) -> None:
        write_nifti(path, volume.with_array((volume.array > 0).astype(np.uint8)))

    folder = write_case(tmp_path / "in", seg=tumour)
    out = tmp_path / "out"
    done = glioscope("evaluate", tiny_model, folder, "--labels", "binary", "--out", out)
    assert done.code == 0
    assert {r["region"] for r in rows(out / "metrics.csv")} == {"tumour", "background", "all"}
    assert "data:image/png" in (out / "report.html").read_text()


def test_debug_shows_the_traceback(glioscope, tmp_path: Path) -> None:
    from glioscope.core.errors import DataError

    with pytest.raises(DataError):
        glioscope("--debug", "train", "unet3d-binary", "nowhere", "--out", tmp_path / "out")


def test_pretrained_weights_that_cannot_be_had(glioscope, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = glioscope("train", "unet-resnet34", "phantom:cases=8,dims=2", "--out", tmp_path / "out")
    assert done.code == 2
    assert "ImageNet weights of resnet34: the weights cannot be downloaded" in done.err
    assert "--set model.pretrained=none" in done.err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_recorded_and_what_was_made_stays(
    glioscope, tiny_model, tmp_path: Path, monkeypatch
) -> None:
    import errno

    from glioscope.core.files import storage_error
    from glioscope.formats.nifti import write_nifti as write

    first = write_case(tmp_path / "in")
    for name in ("b", "c"):
        twin = tmp_path / "in" / name
        twin.mkdir()
        for path in first.iterdir():
            (twin / path.name.replace(first.name, name)).write_bytes(path.read_bytes())
    done = []

    def until_full(path, volume, like=None):
        if done:
            raise storage_error(path, OSError(errno.ENOSPC, "No space left on device"))
        done.append(path)
        write(path, volume, like)

    monkeypatch.setattr("glioscope.api.predicting.write_nifti", until_full)
    outcome = glioscope("predict", tiny_model, tmp_path / "in", "--out", tmp_path / "out")
    assert outcome.code == 1
    assert "the disk is full; free some space" in outcome.err
    listed = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [bool(r["error"]) for r in listed] == [False, True, True]
    assert [p.name for p in (tmp_path / "out").glob("*.nii.gz")] == [done[0].name]


def test_skipped_cases_count_as_missed_or_are_left_out(
    glioscope, tiny_model, tmp_path: Path
) -> None:
    good = write_case(tmp_path / "in")
    for name, broken, keep in (("no-scan", "t2", 100), ("no-truth", "seg", 100), ("less", "t1", 0)):
        twin = tmp_path / "in" / name
        twin.mkdir()
        for path in good.iterdir():
            whole = not path.name.endswith(f"-{broken}.nii.gz")
            if whole or keep:
                data = path.read_bytes()[: None if whole else keep]
                (twin / path.name.replace(good.name, name)).write_bytes(data)
    out = tmp_path / "out"
    done = glioscope("evaluate", tiny_model, tmp_path / "in", "--out", out)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 3
    assert not out.exists()
    done = glioscope("evaluate", tiny_model, tmp_path / "in", "--out", out, "--skip-bad")
    assert done.code == 1
    dice = {r["case"]: r for r in rows(out / "metrics.csv") if r["metric"] == "dice"}
    assert set(dice) == {good.name, "no-scan", "less"}
    assert dice["no-scan"]["value"] == dice["less"]["value"] == "0"
    assert "t2.nii.gz" in dice["no-scan"]["reason"]
    blocks = blocks_of((out / "report.html").read_text())
    assert list(blocks)[:3] == ["no-truth", "less", "no-scan"]
    assert "Left out: " in blocks["no-truth"]
    assert "seg.nii.gz</dd>" in blocks["no-truth"]
    for name in ("less", "no-scan"):
        assert "Counted as missed: " in blocks[name]
    assert "Empty frames: t1." in blocks["less"]
    assert "Empty frames: t2." in blocks["no-scan"]


def test_what_the_model_was_trained_on_is_marked(glioscope, tiny_model, tmp_path: Path) -> None:
    data = "phantom:cases=6,seed=3,spacing=6"
    done = glioscope("evaluate", tiny_model, data, "--split", "valid", "--out", tmp_path)
    assert done.code == 0
    page = (tmp_path / "report.html").read_text()
    ((name, block),) = blocks_of(page).items()
    assert "The model was trained or tuned on this case." in block
    assert f'of these cases ({name}) (see <a href="#problem-1">{name}</a>)' in page


def blocks_of(page: str) -> dict[str, str]:
    """Return what a report says of each case with a problem."""
    blocks = re.findall(r"<article.*?</article>", page, flags=re.DOTALL)
    return {re.search(r">([^<]*)</h3>", b)[1]: b for b in blocks}


def test_a_mask_that_cannot_be_written_does_not_stop_the_others(
    glioscope, tmp_path: Path, tiny_model: Path
) -> None:
    out = tmp_path / "out"
    assert glioscope("phantom", tmp_path / "data", "--cases", 3).code == 0
    first, *others = sorted(path.name for path in (tmp_path / "data").iterdir() if path.is_dir())
    (out / f"{first}.nii.gz").mkdir(parents=True)
    done = glioscope("predict", tiny_model, tmp_path / "data", "--out", out)
    assert done.code == 1
    assert f"{first}.nii.gz: cannot be written" in done.err
    assert all((out / f"{name}.nii.gz").is_file() for name in others)
