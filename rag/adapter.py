"""An adapter's folder: what it holds, what it was made for, and how it is merged into a model. Trains nothing.

ADAPTER/
  adapter_model.safetensors   the matrices (LoRA, Hu et al. 2021), in bfloat16
  adapter_config.json         PEFT's: where they belong
  training.json               which model and template it is for, checksum, data, settings and results
"""

import hashlib
import json
import mmap
import shutil
from pathlib import Path
from typing import Any

from rag.errors import ModelError
from rag.models import MANIFEST, prepare, sha256_of

BUNDLED = Path(__file__).parent / "reader"
WEIGHTS, CONFIG, RECORD = "adapter_model.safetensors", "adapter_config.json", "training.json"


def read_record(adapter: Path) -> dict[str, Any]:
    """What an adapter says of itself. Raises `ModelError`."""
    try:
        record: dict[str, Any] = json.loads((adapter / RECORD).read_text(encoding="utf-8"))
        needed = [record[key] for key in ("template", "weights_sha256", "base_sha256")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{adapter} is no adapter of `rag finetune` ({error!r}); name the folder of one.") from error
    if not all(isinstance(value, str) for value in needed):
        raise ModelError(f"The record of the adapter in {adapter} is damaged; make it or install it again.")
    return record


def check(adapter: Path) -> None:
    """Raise `ModelError` where an adapter's weights are not those of its record."""
    known = read_record(adapter)["weights_sha256"]
    if not (adapter / WEIGHTS).is_file() or sha256_of(adapter / WEIGHTS) != known:
        raise ModelError(f"The adapter in {adapter} is damaged; make it or install it again.")


def rank_of(adapter: Path) -> int:
    """The rank of an adapter's matrices, after a check. Raises `ModelError`."""
    check(adapter)
    try:
        return int(json.loads((adapter / CONFIG).read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelError(f"The adapter in {adapter} is damaged; make it or install it again.") from error


def weights_identity(model: Path) -> str:
    """One sha256 for all tensors of a model's folder, in however many files they lie. Raises `ModelError`."""
    tensors: dict[str, Any] = {}
    try:
        for file in model.glob("*.safetensors"):
            tensors |= _tensors(file)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"The weights in {model} are damaged ({error!r}); get the model again.") from error
    if not tensors:
        raise ModelError(f"{model} holds no safetensors, which an adapter needs; choose another language model.")
    return hashlib.sha256(json.dumps(tensors, sort_keys=True).encode()).hexdigest()


def _tensors(file: Path) -> dict[str, Any]:
    """Each tensor's type, shape and sha256. The file's header says where they lie."""
    with file.open("rb") as opened:
        content = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
    begin = 8 + int.from_bytes(content[:8], "little")
    found = {}
    for name, tensor in json.loads(bytes(content[8:begin])).items():
        if name != "__metadata__":
            first, last = tensor["data_offsets"]
            digest = hashlib.sha256(content[begin + first : begin + last]).hexdigest()
            found[name] = [tensor["dtype"], tensor["shape"], digest]
    return found


def merged(model: Path, adapter: Path, models_dir: Path) -> Path:
    """The folder of a model with an adapter merged into its weights, made once per machine. Raises `ModelError`."""
    record = read_record(adapter)
    files = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(model.glob("*.safetensors"))]
    base = hashlib.sha256(f"{model.resolve()} {files}".encode()).hexdigest()  # what changed is merged anew
    target = models_dir / f"{model.name}-{base[:8]}-reader-{record['weights_sha256'][:12]}"
    prepare(target, lambda folder: _merge(model, adapter, folder))
    return target


def _merge(model: Path, adapter: Path, folder: Path) -> None:
    check(adapter)
    if weights_identity(model) != read_record(adapter)["base_sha256"]:
        raise ModelError(f"The adapter in {adapter} was made for another model than {model.name}; choose none.")
    from rag.trainer import merge

    merge(model, adapter, folder)
    for file in model.iterdir():
        beside = file.suffix in (".json", ".jinja", ".txt", ".model") and not file.name.endswith(".index.json")
        if file.is_file() and beside and file.name != MANIFEST and not (folder / file.name).exists():
            shutil.copy(file, folder)  # tokenizer, chat format
