"""A model in a file: round trips, and files that mean harm."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import scgeoae

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture
def file(mapped: AnnData, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    scgeoae.write_model(mapped, path)
    return path


def parts(path: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Tensors and metadata of a file."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    return load_file(path), json.loads(header["__metadata__"]["scgeoae"])


def rewrite(path: Path, arrays: dict[str, np.ndarray], others: object) -> None:
    save_file(arrays, path, {"scgeoae": json.dumps(others)})


@pytest.mark.parametrize("convert", [str, lambda path: path])
def test_round_trip(mapped: AnnData, tmp_path: Path, convert) -> None:
    path = convert(tmp_path / "model.safetensors")
    model = scgeoae.get.model(mapped)
    assert scgeoae.write_model(model, path) is None
    back = scgeoae.read_model(path)
    x = torch.from_numpy(mapped.obsm["X_pca"].astype(np.float32))
    with torch.no_grad():
        assert torch.equal(back.autoencoder(x), model.autoencoder(x))
    assert not back.autoencoder.training
    assert back.unit == model.unit
    assert back.input.features.tolist() == model.input.features.tolist()
    assert back.input.obsm_key == "X_pca"
    assert back.region.extent == model.region.extent
    np.testing.assert_array_equal(back.region.mask, model.region.mask)
    np.testing.assert_array_equal(back.error_quantiles, model.error_quantiles)
    assert back.input.value_range == model.input.value_range


def test_an_anndata_and_its_model_give_one_file(mapped: AnnData, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    scgeoae.write_model(scgeoae.get.model(mapped), other)
    assert other.read_bytes() == file.read_bytes()
    assert file.stat().st_size < 100_000


def test_a_failed_write_leaves_the_old_file(mapped: AnnData, file: Path, monkeypatch) -> None:
    before = file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match=r"^$"):
        scgeoae.write_model(mapped, file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_bad_arguments(mapped: AnnData, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="AnnData or a model"):
        scgeoae.write_model("geoae", tmp_path / "x")
    with pytest.raises(KeyError, match="results there"):
        scgeoae.write_model(mapped, tmp_path / "x", key="other")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        scgeoae.read_model(tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        scgeoae.read_model(tmp_path)
    with pytest.raises(ValueError, match="not a model file but an AnnData"):
        scgeoae.read_model("cells.h5ad")
    with pytest.raises(FileNotFoundError, match=r"x' cannot be written: there is no directory .*none'"):
        scgeoae.write_model(mapped, tmp_path / "none" / "x")


def nan_weight(arrays: dict, others: dict) -> None:
    arrays["weights/observation.mean"] = np.full_like(arrays["weights/observation.mean"], np.nan)


def future(arrays: dict, others: dict) -> None:
    others["format"] = 99


def wrong_shape(arrays: dict, others: dict) -> None:
    arrays["weights/encoder.layers.0.weight"] = arrays["weights/encoder.layers.0.weight"][1:]


def missing_key(arrays: dict, others: dict) -> None:
    del arrays["weights/observation.scale"]


def missing_number(arrays: dict, others: dict) -> None:
    del others["architecture/n_features"]


def huge_layers(arrays: dict, others: dict) -> None:
    arrays["architecture/hidden_dims"] = np.array([10**12, 10**12])


def huge_number(arrays: dict, others: dict) -> None:
    others["architecture/n_features"] = 1e400


def nested_name(arrays: dict, others: dict) -> None:
    arrays["frame/unit/deeper"] = np.zeros(1)


def number_for_names(arrays: dict, others: dict) -> None:
    others["input/features"] = 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan_weight, "finite"),
        (future, "format 99"),
        (wrong_shape, "has shape"),
        (missing_key, "observation.scale"),
        (missing_number, "n_features"),
        (huge_layers, "not those of layers"),
        (huge_number, "damaged"),
        (nested_name, "damaged"),
        (number_for_names, "features"),
    ],
)
def test_damaged_files_are_refused(file: Path, change, message: str) -> None:
    arrays, others = parts(file)
    change(arrays, others)
    rewrite(file, arrays, others)
    with pytest.raises(ValueError, match=message):
        scgeoae.read_model(file)


@pytest.mark.parametrize("others", [[], "x", None, 3, {"format": {"a": 1}}, {}])
def test_strange_metadata_are_refused(file: Path, others: object) -> None:
    rewrite(file, parts(file)[0], others)
    with pytest.raises(ValueError, match="damaged"):
        scgeoae.read_model(file)


def test_deep_metadata_are_refused(file: Path) -> None:
    save_file(parts(file)[0], file, {"scgeoae": "[" * 200_000})
    with pytest.raises(ValueError, match="damaged"):
        scgeoae.read_model(file)


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9999])
def test_truncated_files_are_refused(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="not a model file of scgeoae, or it is damaged"):
        scgeoae.read_model(file)


class Bomb:
    """Runs code when it is unpickled."""

    fuse = False

    def __reduce__(self) -> tuple:
        return setattr, (Bomb, "fuse", True)


def npz(value: np.ndarray, *, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, weights=value)
    return buffer.getvalue()


def torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weights": Bomb()}, buffer)
    return buffer.getvalue()


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.npy", bytes(50_000_000))
    return buffer.getvalue()


def huge_tensor() -> bytes:
    """A header that declares a terabyte."""
    header = json.dumps(
        {"weights/observation.mean": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header + bytes(100)


@pytest.mark.parametrize(
    "content",
    [
        lambda: pickle.dumps(Bomb()),
        lambda: npz(np.array([Bomb()], dtype=object)),
        torch_file,
        zip_bomb,
        huge_tensor,
        lambda: struct.pack("<Q", 2**62) + b"{}",
        lambda: b"\x89HDF\r\n\x1a\n" + bytes(1000),
        lambda: bytes(1000),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, content) -> None:
    path = tmp_path / "model"
    path.write_bytes(content())
    Bomb.fuse = False
    with pytest.raises(ValueError, match="not a model file of scgeoae"):
        scgeoae.read_model(path)
    assert not Bomb.fuse


def test_oversized_files_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with path.open("wb") as file:
        file.truncate(2**31 + 1)  # sparse: takes no room
    with pytest.raises(ValueError, match="too large"):
        scgeoae.read_model(path)
