"""Training: what an epoch holds, that it learns, stops, resumes and never loses work."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from glioscope.api.evaluating import evaluate
from glioscope.api.training import train
from glioscope.core.config import Augmentation, Schedule, TrainSection
from glioscope.core.errors import CaseErrors, DataError, GlioscopeError, ModelError, StorageError
from glioscope.core.recipes import load_recipe
from glioscope.formats.nifti import write_nifti
from glioscope.formats.opening import open_dataset
from glioscope.models.trained import load_model
from glioscope.prepare.augment import augment
from glioscope.prepare.cache import Cache
from glioscope.prepare.normalise import NORMALISATIONS
from glioscope.prepare.planning import make_plan
from glioscope.prepare.scan import target_table
from glioscope.training.callbacks import read_log
from glioscope.training.checkpoints import SafeCheckpoint
from glioscope.training.module import make_optimizer, scheduled_rate
from glioscope.training.samples import Draws, TrainingSamples, training_slices
from tests.conftest import TINY

PHANTOM = "phantom:cases=6,seed=3,spacing=6"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_a_run_holds_what_the_contract_says(tiny_model: Path) -> None:
    names = {path.name for path in tiny_model.iterdir()}
    assert names >= {
        "model.safetensors", "model.json", "plan.json", "README.md", "splits.json", "log.csv",
        "train.log", "checkpoints", "cache", "tensorboard",
    }  # fmt: skip
    splits = json.loads((tiny_model / "splits.json").read_text())
    assert set(splits) == {"by", "seed", "train", "valid", "test"}
    assert splits["by"] == "patient"
    log = read_log(tiny_model / "log.csv")
    assert [row["epoch"] for row in log] == ["1", "2"]
    assert set(log[0]) >= {"epoch", "lr", "train_loss", "valid_loss", "valid_dice", "seconds"}
    model = load_model(tiny_model)
    assert model.provenance.recipe.train.epochs == 2
    assert set(model.provenance.trained_on) == {*splits["train"], *splits["valid"]}
    assert "split by patient" in (tiny_model / "train.log").read_text()


def test_no_pickle_is_written_or_read(tiny_model: Path) -> None:
    for path in (tiny_model / "checkpoints").iterdir():
        assert path.read_bytes()[8:9] == b"{"  # safetensors: a length, then JSON
    (tiny_model / "checkpoints" / "evil.ckpt").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="a whole checkpoint"):
        SafeCheckpoint().load_checkpoint(tiny_model / "checkpoints" / "evil.ckpt")
    (tiny_model / "checkpoints" / "evil.ckpt").unlink()


def test_checkpoints_keep_every_kind_of_value(tmp_path: Path) -> None:
    value = {
        "a": [1, 2.5, None, True, "x", (1, (2,))],
        3: {"t": torch.arange(3), "nested": [torch.ones(2, 2, dtype=torch.bfloat16)]},
        "inf": float("inf"),
        "empty": {},
    }
    SafeCheckpoint().save_checkpoint(value, tmp_path / "c.ckpt")
    back = SafeCheckpoint().load_checkpoint(tmp_path / "c.ckpt")
    assert back["a"] == value["a"]
    assert back["inf"] == float("inf")
    assert back["empty"] == {}
    assert torch.equal(back[3]["t"], value[3]["t"])
    assert back[3]["nested"][0].dtype == torch.bfloat16


def test_it_learns_to_segment_phantoms_it_never_saw(tmp_path: Path) -> None:
    overrides = [
        "data.size=[32,32,32]", "model.widths=[8,16,32]", "loss=dice+bce", "train.lr=0.01",
        "train.epochs=12", "train.patience=null", "train.schedule.name=cosine",
    ]  # fmt: skip
    seen, unseen = (f"phantom:cases={n},seed={s},spacing=4" for n, s in ((14, 1), (4, 2)))
    train("unet3d-binary", seen, tmp_path / "run", overrides=overrides)
    new = evaluate(tmp_path / "run", unseen, tmp_path / "new")
    assert new.mean("WT", "dice") > 0.75
    assert new.warnings == ()
    known = evaluate(tmp_path / "run", seen, tmp_path / "known", split="all")
    assert "was trained or tuned on 11 of these cases" in known.warnings[0]
    assert {row.split for row in known.rows} == {"train", "valid", "test"}


def test_2d_images_and_patients(tmp_path: Path) -> None:
    from glioscope.formats.phantom import write_phantoms

    write_phantoms(tmp_path / "pairs", 12, 0, "pairs")
    overrides = [
        "model.pretrained=none", "data.size=[64,64]", "train.epochs=1", "train.batch=4",
    ]  # fmt: skip
    train("unet-resnet34", tmp_path / "pairs", tmp_path / "run", overrides=overrides)
    assert "split by patient (known from patients.csv)" in (tmp_path / "run/train.log").read_text()
    splits = json.loads((tmp_path / "run" / "splits.json").read_text())
    patient = {c.id: c.patient for c in open_dataset(tmp_path / "pairs").cases}
    people = [{patient[c] for c in splits[name]} for name in ("train", "valid", "test")]
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    evaluation = evaluate(tmp_path / "run", tmp_path / "pairs", tmp_path / "scores")
    assert evaluation.mean("tumour", "iou") is not None
    assert (tmp_path / "scores" / "report.html").stat().st_size > 10_000


def test_resume_takes_its_settings_from_the_run(tiny_model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_model, run)
    with pytest.raises(GlioscopeError, match=r"train.lr: cannot change when a run is resumed"):
        train("unet3d-binary", PHANTOM, run, resume=True, overrides=["train.lr=0.1"])
    with pytest.raises(DataError, match="fingerprint"):
        train("unet3d-binary", "phantom:cases=6,seed=4,spacing=6", run, resume=True)
    model = train("unet3d-binary", PHANTOM, run, resume=True, overrides=["train.epochs=3"])
    assert model.provenance.recipe.train.epochs == 3
    assert len(read_log(run / "log.csv")) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_batch_and_leaves_a_model(tmp_path: Path, number: int) -> None:
    from glioscope.training.module import Segmenter

    start = Segmenter.training_step

    def step(self, batch, batch_idx):
        if self.current_epoch == 1:
            os.kill(os.getpid(), number)
        return start(self, batch, batch_idx)

    before = signal.getsignal(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segmenter, "training_step", step)
        train("unet3d-binary", PHANTOM, tmp_path / "run", overrides=[*TINY, "train.epochs=9"])
    assert signal.getsignal(number) == before
    assert len(read_log(tmp_path / "run" / "log.csv")) == 1
    assert load_model(tmp_path / "run").network() is not None


def test_a_scheme_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    import pandas as pd

    lines = []
    for number, case in enumerate(open_dataset(PHANTOM).cases):
        mask = case.mask.read()
        mask.array[mask.array == 3] = 1
        names = {name: f"p{number}_{name}.nii" for name in ("t1", "t2", "flair", "mask")}
        for name, file in names.items():
            write_nifti(tmp_path / file, mask if name == "mask" else case.channels[name].read())
        lines.append({"case": f"p{number}", **names})
    pd.DataFrame(lines).to_csv(tmp_path / "cases.csv", index=False)
    with pytest.raises(DataError, match="say which with --labels"):
        train("unet3d-binary", tmp_path, tmp_path / "run", overrides=TINY)
    model = train("unet3d-binary", tmp_path, tmp_path / "run", overrides=TINY, labels="brats2023")
    assert model.provenance.labels.name == "brats2023"


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    from glioscope.training.module import Segmenter

    start = Segmenter.training_step

    def step(self, batch, batch_idx):
        return start(self, batch, batch_idx) * (float("nan") if self.current_epoch else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segmenter, "training_step", step)
        train("unet3d-binary", PHANTOM, tmp_path / "run", overrides=[*TINY, "train.epochs=9"])
    assert len(read_log(tmp_path / "run" / "log.csv")) == 1
    assert "the validation loss is not finite" in (tmp_path / "run" / "train.log").read_text()
    assert all(w.isfinite().all() for w in weights(tmp_path / "run").values())


def test_a_run_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="is not empty; expected an empty folder; go on with"):
        train("unet3d-binary", PHANTOM, tmp_path, overrides=TINY)
    assert (tmp_path / "thesis.txt").exists()


def test_bad_cases_are_all_listed_and_nothing_is_left(tmp_path: Path) -> None:
    data = tmp_path / "data"
    cases = open_dataset(PHANTOM).cases
    for case in cases:
        for name, source in (*case.channels.items(), ("seg", case.mask)):
            write_nifti(data / case.id / f"{case.id}-{name}.nii.gz", source.read())
    splits = {
        "by": "patient",
        "seed": 0,
        "train": [c.id for c in cases[:4]],
        "valid": [cases[4].id],
        "test": [cases[5].id],
    }
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    bad = [data / c.id / f"{c.id}-flair.nii.gz" for c in cases[:2]]
    bad[0].write_bytes(b"not a scan")
    bad[1].unlink()
    with pytest.raises(CaseErrors) as caught:
        train(
            "unet3d-binary", data, tmp_path / "run", overrides=TINY, splits=tmp_path / "splits.json"
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert str(bad[0]) in lines[0]
    assert cases[1].id in lines[1]
    assert "has no flair" in lines[1]
    assert not (tmp_path / "run").exists()
    model = train(
        "unet3d-binary", data, tmp_path / "run", overrides=TINY,
        splits=tmp_path / "splits.json", skip_bad=True,
    )  # fmt: skip
    assert len(model.provenance.skipped) == 2
    assert set(model.provenance.trained_on) == {c.id for c in cases[2:5]}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.batch=2", None),
        ("loss=cross-entropy", "cross-entropy"),
        ("model.name=unet", "widths"),
        ("model={name: unet}", "2D network"),
        ("loss=dise", "did you mean dice"),
        ("model.widths=16", "model.widths: is 16"),
        ("data.channels=[zero]", "name no sequence"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    tmp_path: Path, override: str, said: str | None
) -> None:
    if said is None:
        override, said = "data.size=null", "batch"
        overrides = [*TINY, override, "train.batch=2"]
    else:
        overrides = [*TINY, override]
    with pytest.raises(GlioscopeError, match=said):
        train("unet3d-binary", PHANTOM, tmp_path / "run", overrides=overrides)
    assert not (tmp_path / "run").exists()


def test_two_processes_score_like_one(tmp_path: Path) -> None:
    """Validation under DDP (gloo) is what one process gets with the same weights."""
    data = "phantom:cases=10,seed=3,spacing=8"
    overrides = [
        *TINY,
        "train.devices=2",
        "train.epochs=1",
        "data.cache=" + str(tmp_path / "cache"),
    ]
    splits = make_valid_heavy_splits(tmp_path, data)
    train("unet3d-binary", data, tmp_path / "two", overrides=overrides, splits=splits)
    (row,) = read_log(tmp_path / "two" / "log.csv")
    loss, dice = score_in_one_process(tmp_path / "two", data)
    assert float(row["valid_dice"]) == pytest.approx(dice, abs=1e-6)
    assert float(row["valid_loss"]) == pytest.approx(loss, abs=1e-6)


def make_valid_heavy_splits(folder: Path, data: str) -> Path:
    """Three validation cases over two processes: one of them has more to do."""
    names = [c.id for c in open_dataset(data).cases]
    splits = {
        "by": "patient",
        "seed": 0,
        "train": names[:6],
        "valid": names[6:9],
        "test": names[9:],
    }
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder / "splits.json"


def score_in_one_process(run: Path, data: str) -> tuple[float, float]:
    from glioscope.losses.mixing import build_loss
    from glioscope.prediction.engines import torch_engine
    from glioscope.prediction.window import infer
    from glioscope.training.module import score_case

    model = load_model(run)
    dataset = open_dataset(data)
    cache = Cache(run.parent / "cache", model.plan, dataset.labels)
    table = torch.from_numpy(target_table(model.plan, dataset.labels))
    loss = build_loss(model.provenance.recipe.loss, "sigmoid")
    forward = torch_engine(model.network(), "cpu", None)
    scores = []
    valid = json.loads((run / "splits.json").read_text())["valid"]
    for case in dataset.only(valid).cases:
        prepared = cache.load(case)
        logits = infer(forward, np.array(prepared.image), model.plan)
        scores.append(score_case(prepared, logits, model.plan, loss, table))
    return float(np.mean([s.loss for s in scores])), float(np.mean([s.dice for s in scores]))


def cached(tmp_path: Path, overrides: tuple[str, ...] = ()) -> tuple[list, Cache, object]:
    recipe = load_recipe("unet3d-binary", ["data.size=null", *overrides])
    dataset = open_dataset(PHANTOM)
    cache = Cache(tmp_path, make_plan(recipe, dataset, {}, 4), dataset.labels)
    assert cache.fill(dataset.cases) == []
    return list(dataset.cases), cache, recipe


def test_the_cache_is_read_instead_of_the_scan(tmp_path: Path, monkeypatch) -> None:
    cases, cache, _ = cached(tmp_path)
    monkeypatch.setattr("glioscope.prepare.cache.prepare_image", None)
    prepared = cache.load(cases[0])
    assert isinstance(prepared.image, np.memmap)
    assert prepared.image.shape[0] == 3
    assert prepared.mask.shape == prepared.image.shape[1:]
    assert len(prepared.points)
    assert all(prepared.mask[tuple(point)] for point in prepared.points)


def test_patches_are_drawn_by_seed_epoch_and_number_alone(tmp_path: Path) -> None:
    cases, cache, recipe = cached(tmp_path, ("data.patch=[12,12,12]", "data.foreground=1.0"))
    samples = TrainingSamples(cases, cache, recipe.data, seed=5)
    draws = Draws([np.array([-1])] * 6, None, 8, seed=5)
    first = list(draws)
    assert len(first) == len(draws) == 8
    assert first == list(draws)
    draws.set_epoch(1)
    assert first != list(draws)
    one, again = samples[first[3]], samples[first[3]]
    assert torch.equal(one.image, again.image)
    assert one.image.shape == (3, 12, 12, 12)
    assert one.target.shape == (1, 12, 12, 12)
    assert all(samples[draw].target.any() for draw in first)


def test_two_processes_share_an_epoch_without_overlap() -> None:
    slices = [np.arange(5)] * 4
    parts = [list(Draws(slices, None, None, 0, (rank, 2))) for rank in (0, 1)]
    drawn = [(d.case, d.slice) for part in parts for d in part]
    assert len(parts[0]) == len(parts[1]) == 10
    assert len(set(drawn)) == 20


def test_slice_rules(tmp_path: Path) -> None:
    from glioscope.core.config import SliceRule

    recipe = load_recipe("unet-resnet34", ["data.channels=[flair]", "data.size=[32,32]"])
    dataset = open_dataset(PHANTOM)
    cache = Cache(tmp_path, make_plan(recipe, dataset, {}, 32), dataset.labels)
    depth = dataset.cases[0].grid().shape[2]
    every, _ = training_slices(dataset.cases, cache, SliceRule())
    assert all(len(s) == depth for s in every)
    some, notes = training_slices(dataset.cases, cache, SliceRule(start=4, count=6))
    assert all(s.tolist() == [4, 5, 6, 7, 8, 9] for s in some)
    assert notes == []
    _, notes = training_slices(dataset.cases, cache, SliceRule(start=4, count=100))
    assert "6 of 6 cases have fewer slices" in notes[0]
    tumour, _ = training_slices(dataset.cases, cache, SliceRule(tumour_only=True))
    for case, slices in zip(dataset.cases, tumour, strict=True):
        present = cache.load(case).mask.any(axis=(0, 1))
        assert slices.tolist() == np.flatnonzero(present).tolist()
    with pytest.raises(DataError, match="no slice fits"):
        training_slices(dataset.cases, cache, SliceRule(start=500))
    samples = TrainingSamples(dataset.cases, cache, recipe.data, seed=0)
    draws = Draws(tumour, 2, None, seed=0)
    drawn = list(draws)
    assert len(drawn) == 12
    assert samples[drawn[0]].image.shape == (1, 32, 32)


@pytest.mark.parametrize("dims", [2, 3])
def test_augmentation_moves_image_and_mask_together(dims: int) -> None:
    settings = Augmentation(flip=0.5, rotate=1, degrees=30, scale=1)
    mask = torch.zeros([24] * dims, dtype=torch.uint8)
    mask[tuple([slice(6, 14)] * dims)] = 4
    image = mask[None].float()
    for seed in range(8):
        moved, labels = augment(image, mask, settings, np.random.default_rng(seed))
        assert set(labels.unique().tolist()) <= {0, 4}
        agree = ((moved[0] > 2) == (labels == 4)).float().mean()
        assert agree > 0.97
        assert labels.any()


def test_augmentation_is_drawn_from_its_generator_alone() -> None:
    settings = Augmentation(
        rotate=0.5, scale=0.5, gamma=0.5, brightness=0.5, contrast=0.5, noise=0.5, blur=0.5
    )
    image, mask = torch.rand(2, 16, 16), torch.zeros(16, 16, dtype=torch.uint8)
    runs = []
    for _ in range(2):
        torch.manual_seed(len(runs))
        moved, _ = augment(image, mask, settings, np.random.default_rng(4))
        runs.append(moved)
    assert torch.equal(*runs)
    assert not torch.equal(runs[0], image)
    unchanged, _ = augment(image, mask, Augmentation(flip=0), np.random.default_rng(0))
    assert torch.equal(unchanged, image)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_normalisations(name: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(500, 80, (12, 12, 5)).astype(np.float32)
    image[:4] = 0
    out = NORMALISATIONS[name](image)
    assert out.dtype == np.float32
    assert out.shape == image.shape
    np.testing.assert_allclose(NORMALISATIONS[name](image * 7), out, atol=1e-4)
    assert np.isfinite(NORMALISATIONS[name](np.zeros_like(image))).all()
    assert np.isfinite(NORMALISATIONS[name](np.full_like(image, 3))).all()
    if name == "unit-slice":
        assert (out.min(), out.max()) == (0, 1)
    else:
        assert (out[:4] == 0).all()
        assert abs(out[4:].mean()) < 1e-4
        assert abs(out[4:].std() - 1) < 1e-3


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimizers(name: str) -> None:
    settings = TrainSection(optimizer=name, lr=0.25, weight_decay=0.5, momentum=0.5)
    (group,) = make_optimizer(torch.nn.Linear(1, 1), settings).param_groups
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.5)
    assert group.get("momentum", 0.5) == 0.5


@pytest.mark.parametrize("name", ["cosine", "poly"])
def test_rates_are_those_of_torch(name: str) -> None:
    settings = TrainSection(lr=0.1, epochs=7, schedule=Schedule(name=name))
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1)
    theirs = {
        "cosine": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7),
        "poly": torch.optim.lr_scheduler.PolynomialLR(optimizer, 7, settings.schedule.power),
    }[name]
    optimizer.param_groups[0]["lr"] = 0.1
    for epoch in range(7):
        expected = theirs.get_last_lr()[0] if epoch else 0.1
        assert scheduled_rate(settings, epoch) == pytest.approx(expected)
        optimizer.step()
        theirs.step()


def test_regions_classes_and_binary_targets() -> None:
    dataset = open_dataset(PHANTOM)
    made = {
        kind: make_plan(load_recipe("unet3d-binary", [f"data.targets={kind}"]), dataset, {}, 16)
        for kind in ("binary", "classes", "regions")
    }
    assert [t.name for t in made["regions"].targets] == ["WT", "TC", "ET"]
    assert [t.paints for t in made["regions"].targets] == ["oedema", "necrosis", "enhancing"]
    assert [t.name for t in made["classes"].targets] == ["necrosis", "oedema", "enhancing"]
    assert made["classes"].outputs == 4
    (target,) = made["binary"].targets
    assert (target.name, target.paints) == ("WT", "tumour")
    table = target_table(made["classes"], dataset.labels)
    assert table[:, [0, 1, 2, 3]].tolist() == np.eye(4).tolist()
    table = target_table(made["regions"], dataset.labels)
    assert table[:, [0, 1, 2, 3]].tolist() == [[0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]]
