"""From voxels to a mask on the patient's own grid, in the right place of the world."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glioscope.api.predicting import predict
from glioscope.core.case import Case
from glioscope.core.errors import CaseErrors, DataError, ModelError
from glioscope.core.labels import SCHEMES, Labels
from glioscope.core.plan import Plan, Target
from glioscope.core.volume import Volume
from glioscope.formats.image import ImageSource, write_image
from glioscope.formats.nifti import NiftiSource, write_nifti
from glioscope.formats.opening import open_dataset
from glioscope.models import build, models
from glioscope.models.trained import load_model
from glioscope.prediction.decode import decode, drop_small
from glioscope.prediction.engines import torch_engine
from glioscope.prediction.predictor import Predictor
from glioscope.prediction.window import activate, infer, with_flips
from tests.test_volume import ORIENTATIONS, affines, oblique, reoriented


def plan(**changes) -> Plan:
    values = {
        "dims": 3,
        "channels": ("flair",),
        "crop": "head",
        "spacing": None,
        "size": None,
        "normalise": "zscore",
        "window": None,
        "overlap": 0.5,
        "divisor": 1,
        "activation": "sigmoid",
        "targets": (Target(name="tumour", classes=("tumour",), paints="tumour"),),
        "labels": SCHEMES["binary"],
        "network": "none",
        "arguments": {},
    }
    return Plan(**{**values, **changes})


def bright(batch: np.ndarray) -> np.ndarray:
    """A network that finds what is bright: z-score above 2."""
    return (batch[:, :1] - 2) * 10


def head(affine: np.ndarray, codes: str) -> tuple[Volume, np.ndarray]:
    """A head with a bright tumour off its centre, in any axis order, and the tumour's world."""
    x, y, z = np.mgrid[:20, :22, :16]
    inside = ((x - 10) / 9) ** 2 + ((y - 11) / 10) ** 2 + ((z - 8) / 7) ** 2 < 1
    array = np.where(inside, 100.0 + (x + y + z) % 3, 0)
    array[12:16, 5:9, 9:12] = 400
    volume = reoriented(Volume(array[None].astype(np.float32), ("flair",), affine), codes)
    return volume, volume.grid.world(np.argwhere(volume.array[0] == 400))


def write_and_segment(folder: Path, volume: Volume, chosen: Plan) -> nib.Nifti1Image:
    path, out = folder / "case_flair.nii.gz", folder / "mask.nii.gz"
    write_nifti(path, volume)
    result = Predictor(chosen, bright).segment(Case("c", "c", path, {"flair": NiftiSource(path)}))
    write_nifti(out, result.mask, like=path)
    return nib.load(out)


def same_points(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    distance = np.linalg.norm(found[:, None] - expected[None], axis=2)
    return max(distance.min(axis=0).max(), distance.min(axis=1).max()) <= tolerance


@given(affine=affines, codes=st.sampled_from(ORIENTATIONS))
@settings(deadline=None, max_examples=60)
def test_a_mask_lies_at_the_tumours_world_coordinates(tmp_path_factory, affine, codes) -> None:
    volume, tumour = head(affine, codes)
    mask = write_and_segment(tmp_path_factory.mktemp("case"), volume, plan())
    assert mask.shape == volume.grid.shape
    np.testing.assert_allclose(mask.affine, volume.affine, atol=1e-3)
    found = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj)))
    assert same_points(found, tumour, 0.01 * min(volume.spacing))


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_all_48_orientations_with_resampling_on_the_way(tmp_path: Path, codes: str) -> None:
    volume, tumour = head(oblique(), codes)
    mask = write_and_segment(tmp_path, volume, plan(size=(24, 26, 20)))
    found = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj)))
    assert np.linalg.norm(found.mean(axis=0) - tumour.mean(axis=0)) < 0.5
    assert 0.6 < len(found) / len(tumour) < 1.7


def test_a_2d_mask_has_the_size_of_its_image(tmp_path: Path) -> None:
    pixels = np.full((51, 34), 60, np.uint8)
    pixels[30:40, 5:12] = 250
    write_image(tmp_path / "7.png", pixels)
    case = Case("7", "7", tmp_path / "7.png", {"image": ImageSource(tmp_path / "7.png")})
    flat = plan(dims=2, channels=("image",), size=(32, 32), normalise="zscore-slice")
    mask = Predictor(flat, bright).segment(case).mask
    assert mask.array.shape == (1, 51, 34, 1)
    expected = pixels == 250
    overlap = 2 * (mask.array[0, :, :, 0] * expected).sum() / (mask.array.sum() + expected.sum())
    assert overlap > 0.8


@given(
    shape=st.tuples(*[st.integers(5, 23)] * 3),
    window=st.tuples(*[st.integers(4, 12)] * 3),
    overlap=st.floats(0, 0.9),
    divisor=st.sampled_from([1, 2, 4]),
)
@settings(deadline=None)
def test_windows_give_what_the_whole_image_gives(shape, window, overlap, divisor) -> None:
    """A network without a view round a voxel must not notice the windows."""
    image = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    seen = []

    def forward(batch: np.ndarray) -> np.ndarray:
        seen.append(batch.shape[2:])
        return batch * 3 + 1

    logits = infer(forward, image, plan(window=window, overlap=overlap, divisor=divisor))
    np.testing.assert_allclose(logits, image * 3 + 1, rtol=1e-4, atol=1e-4)
    assert all(n % divisor == 0 for batch in seen for n in batch)


def test_slices_go_through_a_2d_network_in_order() -> None:
    image = np.arange(2 * 5 * 6 * 11, dtype=np.float32).reshape(2, 5, 6, 11)
    logits = infer(lambda batch: batch[:, :1], image, plan(dims=2, divisor=4))
    np.testing.assert_array_equal(logits, image[:1])


def test_flips_are_undone() -> None:
    batch = np.random.default_rng(0).normal(size=(1, 1, 4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(with_flips(lambda b: b, (0, 1, 2))(batch), batch, atol=1e-6)


def test_softmax_leaves_the_background_out() -> None:
    logits = np.zeros((3, 1, 1, 2), np.float32)
    logits[0, ..., 0], logits[2, ..., 1] = 1, 50
    classes = tuple(Target(name=n, classes=(n,), paints=n) for n in ("necrosis", "oedema"))
    chosen = plan(activation="softmax", targets=classes, labels=SCHEMES["brats2021"])
    chances = activate(logits, chosen)
    np.testing.assert_allclose(chances[:, 0, 0, 0], 1 / (2 + np.e), atol=1e-6)
    mask = decode(Volume(chances, ("necrosis", "oedema")), chosen)
    np.testing.assert_array_equal(mask.array.ravel(), [0, 2])


def test_regions_paint_over_each_other_and_specks_are_dropped() -> None:
    regions = SCHEMES["brats2021"].regions
    paints = {"WT": "oedema", "TC": "necrosis", "ET": "enhancing"}
    targets = tuple(
        Target(name=n, classes=c, paints=paints[n], smallest=0.003) for n, c in regions.items()
    )
    chances = np.zeros((3, 12, 4, 4), np.float32)
    chances[0, :6] = chances[1, :4] = chances[2, :2] = 1
    chances[0, 10, 0, 0] = 1
    names = tuple(regions)
    chosen = plan(targets=targets, labels=SCHEMES["brats2021"])
    mask = decode(Volume(chances, names), chosen).array[0, :, 0, 0]
    np.testing.assert_array_equal(mask, [4, 4, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0])


def test_islands_touch_over_corners() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 0] = True
    kept = drop_small(mask, 0.002, 0.001)
    assert np.argwhere(kept).tolist() == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("name", list(models))
def test_every_network_gives_logits_of_the_input_size(name: str) -> None:
    traits = models[name].traits
    size = traits.divisor(models[name].resolved({})) * 2
    network = build(name, inputs=2, outputs=3, arguments={})
    batch = np.zeros((1, 2, *[size] * traits.dims), np.float32)
    logits = torch_engine(network, "cpu", None)(batch)
    assert logits.shape == (1, 3, *[size] * traits.dims)
    mixed = torch_engine(network, "cpu", torch.bfloat16)(batch)
    assert mixed.dtype == np.float32


def test_encoder_weights_from_a_file(tmp_path: Path) -> None:
    """One grey channel sees the sum of what the three colours saw."""
    from safetensors.torch import save_file

    colour = build("unet", inputs=3, outputs=1, arguments={})
    path = tmp_path / "encoder.safetensors"
    save_file(colour.encoder.state_dict(), path)
    grey = build("unet", inputs=1, outputs=1, arguments={"pretrained": str(path)})
    expected = colour.encoder.conv1.weight.sum(dim=1, keepdim=True)
    assert torch.equal(grey.encoder.conv1.weight, expected)
    assert torch.equal(grey.encoder.layer3[0].conv1.weight, colour.encoder.layer3[0].conv1.weight)
    with pytest.raises(ModelError, match=r"do not fit this network .*model.pretrained=none"):
        build(
            "unet", inputs=1, outputs=1, arguments={"pretrained": str(path), "encoder": "resnet18"}
        )
    (tmp_path / "w.pth").write_bytes(b"x")
    with pytest.raises(ModelError, match="weights that cannot run code"):
        build("unet", inputs=1, outputs=1, arguments={"pretrained": str(tmp_path / "w.pth")})


def test_predict_writes_what_the_contract_says(tiny_model: Path, tmp_path: Path) -> None:
    data = open_dataset("phantom:cases=2,seed=9,spacing=6")
    for case, codes in zip(data.cases, ("LPS", "SAR"), strict=True):
        for name, source in case.channels.items():
            volume = reoriented(source.read(), codes)
            write_nifti(tmp_path / "in" / case.id / f"{case.id}-{name}.nii.gz", volume)
    records = predict(
        tiny_model, [tmp_path / "in"], tmp_path / "out", preview=True, probabilities=True
    )
    listed = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [r["case"] for r in listed] == [c.id for c in data.cases]
    assert set(listed[0]) == {
        "case", "inputs", "mask", "labels", "values", "model_sha256", "engine", "seconds",
        "volume_ml", "warnings", "error",
    }  # fmt: skip
    for record, codes in zip(records, ("LPS", "SAR"), strict=True):
        mask = nib.load(record.mask)
        assert "".join(nib.aff2axcodes(mask.affine)) == codes
        assert mask.get_data_dtype() == np.uint8
        voxels = np.count_nonzero(np.asarray(mask.dataobj))
        assert record.volume_ml["WT"] == pytest.approx(voxels * 0.216, abs=1e-3)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *(f"{c.id}.nii.gz" for c in data.cases), "predictions.json", "previews", "probabilities",
    ]  # fmt: skip
    before = (tmp_path / "out" / f"{data.cases[0].id}.nii.gz").stat().st_mtime_ns
    again = predict(tiny_model, [tmp_path / "in"], tmp_path / "out", skip_existing=True)
    assert [r.case for r in again] == [r.case for r in records]
    assert (tmp_path / "out" / f"{data.cases[0].id}.nii.gz").stat().st_mtime_ns == before


def test_one_bad_case_does_not_stop_the_others(tiny_model: Path, tmp_path: Path) -> None:
    data = open_dataset("phantom:cases=2,seed=9,spacing=6")
    for case in data.cases:
        for name, source in case.channels.items():
            write_nifti(tmp_path / "in" / case.id / f"{case.id}-{name}.nii.gz", source.read())
    bad = tmp_path / "in" / data.cases[0].id / f"{data.cases[0].id}-t2.nii.gz"
    bad.write_bytes(bad.read_bytes()[:1000])
    records = predict(tiny_model, [tmp_path / "in"], tmp_path / "out")
    assert [r.error is None for r in records] == [False, True]
    assert str(bad) in str(records[0].error)
    assert not (tmp_path / "out" / f"{data.cases[0].id}.nii.gz").exists()
    with pytest.raises(CaseErrors):
        predict(tiny_model, [bad.parent], tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_two_inputs_of_one_name_are_refused_first(tiny_model: Path, tmp_path: Path) -> None:
    case = open_dataset("phantom:cases=1,seed=9,spacing=6").cases[0]
    for place in ("a", "b"):
        for name, source in case.channels.items():
            write_nifti(tmp_path / place / case.id / f"{case.id}-{name}.nii.gz", source.read())
    inputs = [tmp_path / place / case.id for place in ("a", "b")]
    with pytest.raises(DataError, match="one name per case"):
        predict(tiny_model, inputs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_changed_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    for file in ("model.safetensors", "plan.json"):
        copy = tmp_path / file.replace(".", "")
        shutil.copytree(tiny_model, copy, ignore=shutil.ignore_patterns("cache", "checkpoints"))
        changed = bytearray((copy / file).read_bytes())
        changed[-3] ^= 1
        (copy / file).write_bytes(changed)
        with pytest.raises(ModelError, match="was changed"):
            load_model(copy)
    values = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps({**values, "format": 99}))
    with pytest.raises(ModelError, match="update glioscope"):
        load_model(copy)
    with pytest.raises(ModelError, match="is not a model"):
        load_model(tmp_path)


def test_output_values_follow_the_input_then_the_model() -> None:
    from glioscope.api.predicting import _output_labels

    class Model:
        plan = plan(labels=SCHEMES["brats2021"])

    assert _output_labels(Model, SCHEMES["brats2023"], None).name == "brats2023"
    assert _output_labels(Model, SCHEMES["binary"], None).name == "brats2021"
    assert _output_labels(Model, None, None).name == "brats2021"
    assert _output_labels(Model, None, "brats2024").values["enhancing"] == 3
    with pytest.raises(ModelError, match="--labels binary"):
        _output_labels(Model, None, "binary")


def test_labels_are_part_of_the_saved_plan() -> None:
    chosen = plan(labels=Labels("binary", {"tumour": 1}, {"WT": ("tumour",)}))
    assert Plan.model_validate_json(chosen.model_dump_json()) == chosen
