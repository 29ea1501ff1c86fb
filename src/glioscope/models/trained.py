"""A trained model is a folder: weights, plan, provenance and card. Nothing in it can run code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..core.config import Recipe
from ..core.errors import DataError, ModelError, RecipeError, UnknownName, one_line
from ..core.files import read_json, replacing, sha256, write_json, write_text
from ..core.labels import SCHEMES, Labels
from ..core.plan import Plan
from . import build

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1
_COPY = "copy the model again from where it was trained"
WEIGHTS, PLAN, MODEL, CARD = "model.safetensors", "plan.json", "model.json", "README.md"


class Provenance(BaseModel):
    """`model.json`: where a model comes from.

    Attributes:
        format: Version of the model folder.
        recipe: The resolved recipe it was trained with.
        labels: The scheme of the masks it was trained on.
        data: Path, format and fingerprint of the training data.
        metrics: Validation scores of the best epoch.
        versions: Versions of Python and of the libraries.
        sha256: Hash of the weights and of the plan.
        trained_on: Case ids of the training and validation splits.
        patients: Their patients.
        skipped: What was wrong with each case that was left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    recipe: Recipe
    labels: Labels
    data: dict[str, str]
    metrics: dict[str, float]
    versions: dict[str, str]
    sha256: dict[str, str] = {}
    trained_on: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def scheme(self) -> str | None:
        """Name of the label scheme, for `--labels`; None for labels without a known meaning."""
        return self.labels.name if self.labels.name in SCHEMES else None


@dataclass(frozen=True)
class TrainedModel:
    """A model folder that was checked and read; its weights are read by `network`."""

    folder: Path
    plan: Plan
    provenance: Provenance

    @property
    def sha256(self) -> str:
        """Hash of the weights."""
        return self.provenance.sha256["weights"]

    def network(self) -> nn.Module:
        """Build the network with its weights, ready to predict.

        Raises:
            ModelError: If the weights do not fit the network.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder / WEIGHTS
        try:
            network = empty_network(self.plan)
        except (UnknownName, RecipeError) as error:
            raise ModelError(
                self.folder / PLAN, f"asks for a network that is not here ({error})",
                "one of this version", "update glioscope",
            ) from error  # fmt: skip
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise ModelError(
                path, f"is not safetensors ({error})", "weights that cannot run code", _COPY
            ) from error
        except RuntimeError as error:
            found = f"does not fit the network ({str(error).splitlines()[-1].strip()})"
            raise ModelError(path, found, f"the weights of {PLAN}", _COPY) from error
        return network.eval()


def empty_network(plan: Plan) -> nn.Module:
    """Build the network of a plan without loading pretrained weights."""
    arguments = dict(plan.arguments)
    if "pretrained" in arguments:
        arguments["pretrained"] = "none"
    return build(plan.network, inputs=len(plan.channels), outputs=plan.outputs, arguments=arguments)


def save_model(
    folder: Path, weights: Mapping[str, Tensor], plan: Plan, provenance: Provenance
) -> TrainedModel:
    """Write a model folder; `model.json`, which carries the hashes, comes last.

    Raises:
        StorageError: If the folder cannot be written.
    """
    from safetensors.torch import save

    content = save({name: w.detach().cpu().contiguous() for name, w in weights.items()})
    with replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(content)  # safetensors' own writer has no word for a full disk
    write_json(folder / PLAN, plan.model_dump(mode="json"))
    hashes = {"weights": sha256(folder / WEIGHTS), "plan": sha256(folder / PLAN)}
    provenance = provenance.model_copy(update={"sha256": hashes})
    write_text(folder / CARD, card(plan, provenance))
    write_json(folder / MODEL, provenance.model_dump(mode="json"))
    return TrainedModel(folder, plan, provenance)


def load_model(folder: Path) -> TrainedModel:
    """Read a model folder and check its hashes.

    Raises:
        ModelError: If it is not a model, was changed, or is from a newer version.
    """
    if not (folder / MODEL).is_file():
        raise ModelError(
            folder,
            "is not a model",
            f"a folder with {MODEL}, {PLAN} and {WEIGHTS}",
            "train one with glioscope train RECIPE DATA --out RUN",
        )
    values = _read(folder / MODEL)
    version = values.get("format") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise ModelError(
            folder / MODEL, f"is of format {version}", f"at most {FORMAT}", "update glioscope"
        )
    provenance: Provenance = _validated(Provenance, values, folder / MODEL)
    for name, file in (("weights", WEIGHTS), ("plan", PLAN)):
        path = folder / file
        if not path.is_file():
            raise ModelError(
                path, "is missing", f"the file beside {MODEL}", "copy the whole folder"
            )
        if sha256(path) != provenance.sha256.get(name):
            raise ModelError(
                path,
                "was changed after the model was saved",
                f"the sha256 in {MODEL}",
                _COPY,
            )
    return TrainedModel(folder, _validated(Plan, _read(folder / PLAN), folder / PLAN), provenance)


def is_model(path: Path) -> bool:
    """Tell whether a path is a model folder."""
    return (path / MODEL).is_file()


def card(plan: Plan, provenance: Provenance) -> str:
    """Return the model card in Markdown."""
    recipe = provenance.recipe
    scores = "\n".join(f"| {k} | {v:.4f} |" for k, v in provenance.metrics.items())
    return f"""# {recipe.name}

{recipe.about}

- **Input**: {", ".join(plan.channels)} ({plan.dims}D), normalised by {plan.normalise}
- **Output**: {", ".join(t.name for t in plan.targets)}; stored as \
{", ".join(f"{v} {k}" for k, v in plan.labels.values.items())}
- **Trained on**: {len(provenance.trained_on)} cases of {provenance.data.get("format", "?")} data, \
fingerprint {provenance.data.get("fingerprint", "?")}
- **Network**: {plan.network} {plan.arguments}

| validation | value |
|---|---|
{scores}

For research. Not a medical device; not for diagnosis or treatment.
"""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in (
        "glioscope",
        "torch",
        "lightning",
        "monai",
        "numpy",
        "segmentation-models-pytorch",
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except DataError as error:
        raise ModelError(error.where, error.found, error.expected, error.remedy) from error


def _validated(kind: type[BaseModel], values: object, path: Path) -> Any:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        found = one_line(f"{where or 'its content'}: {first['msg']}")
        raise ModelError(path, found, "a model of this version", _COPY) from error
