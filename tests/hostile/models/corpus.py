"""Hostile run folders: attempts to run code, read or write files, exhaust memory, or crash.

Each case has a name, a function that damages a copy of a sound run, and the file that the error
must name. If a case changes a listed file, the manifest gets the right checksum, as an attacker
would do, so that the content has to be refused and not the checksum. Every payload would create a
file ``MARK`` if it were run.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from charseq.runs import store
from charseq.runs import weights as weights_module

MARK = "hostile-was-here"
ABOUT, WEIGHTS, MANIFEST = "about.json", "model.safetensors", "manifest.json"
Spoil = Callable[[Path], None]


class Case(NamedTuple):
    """``spoil`` damages a copy of the run ``base``; the error must name the file ``blamed``."""

    name: str
    spoil: Spoil
    blamed: str
    base: str = "soft"


class Payload:
    """A pickle that creates a file when it is loaded."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {MARK}",)


def seal(folder: Path, **sizes: int) -> None:
    """Write a manifest with the right checksums of the files in the folder."""
    entries = {
        path.name: store.Entry(
            sizes.get(path.name, path.stat().st_size),
            store.hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST and path.is_file() and not path.is_symlink()
    }
    (folder / MANIFEST).write_bytes(store._encode_manifest(entries))


def holds(name: str, content: bytes) -> Spoil:
    """A file with other content and a manifest that lists it."""

    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content)
        seal(folder)

    return spoil


def says(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Other values in about.json."""

    def spoil(folder: Path) -> None:
        about = json.loads((folder / ABOUT).read_bytes())
        change(about)
        (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        seal(folder)

    return spoil


def calibrates(about: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A sound calibration and confidence, but for the changes to its familiarity."""
    about["calibration"] = {
        "temperature": 1.0, "rest": 0.0, "ece_before": 1.0, "ece_after": 1.0, "examples": 9,
    }  # fmt: skip
    doubts(about)
    about["confidence"]["familiarity"].update(changes)
    return about


def doubts(about: dict[str, Any], **changes: Any) -> None:
    """A sound confidence, but for the changes."""
    familiarity = {
        "surprise": 1.0, "strangest": 2.0, "longest": 9, "shortest": 1, "symbols": 9,
        "weights": [0.0] * 5, "keys": "AQAAAAIAAAA=", "counts": "AQE=",
    }  # fmt: skip
    about["confidence"] = {
        "weights": [1.0, *[0.0] * 5], "strangers": 9, "sure_before": 1.0, "sure_after": 1.0,
        "familiarity": familiarity, **changes,
    }  # fmt: skip


def weighs(change: Callable[[dict[str, np.ndarray]], Any]) -> Spoil:
    """Other weights."""

    def spoil(folder: Path) -> None:
        weights = weights_module.load_arrays((folder / WEIGHTS).read_bytes())
        change(weights)
        content = safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in weights.items()})
        (folder / WEIGHTS).write_bytes(content)
        seal(folder)

    return spoil


def heads(header: Any, body: bytes = b"", length: int | None = None) -> Spoil:
    """Weights with this safetensors header and body."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    return holds(WEIGHTS, size.to_bytes(8, "little") + text + body)


def raw_manifest(content: Any) -> Spoil:
    """Another manifest."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return lambda folder: (folder / MANIFEST).write_bytes(text) and None


def lists(name: str) -> Spoil:
    """A manifest that lists a file of this name."""

    def spoil(folder: Path) -> None:
        entries = dict(store.state_of(folder).files)
        entries[name] = store.Entry(1, "0" * 64)
        (folder / MANIFEST).write_bytes(store._encode_manifest(entries))

    return spoil


def linked(name: str, to: str) -> Spoil:
    """A link to another place in place of the file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    return spoil


def piped(name: str) -> Spoil:
    """A named pipe without a writer in place of the file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


def sparse(name: str, size: int) -> Spoil:
    """A sparse file of this size."""

    def spoil(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.truncate(size)

    return spoil


def packed(kind: str) -> bytes:
    """An archive with entries outside its folder, or with huge ones."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"../../{MARK}", "x")
            archive.writestr("data.pkl", pickle.dumps(Payload()))
    elif kind == "tar":
        with tarfile.open(fileobj=out, mode="w") as tar:
            member = tarfile.TarInfo(f"/tmp/{MARK}")
            tar.addfile(member, io.BytesIO(b""))
    else:
        out.write(gzip.compress(b"\0" * 50_000_000, 1))
    return out.getvalue()


def within(part: str, **changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda about: about[part].update(changes)


def array(**parts: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **parts}}


def twice(name: str, item: bytes, *, offset: int = 0) -> Spoil:
    """A JSON object with one more ``item``; it begins after ``offset`` bytes of the file."""

    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        head, text = content[:offset], content[offset:]
        length = int.from_bytes(head, "little") + len(item) + 1
        (folder / name).write_bytes(length.to_bytes(offset, "little") if offset else b"")
        with (folder / name).open("ab") as file:
            file.write(b"{" + item + b"," + text.lstrip().removeprefix(b"{"))
        if name != MANIFEST:
            seal(folder)

    return spoil


def subwords(*pieces: str) -> Spoil:
    """A source of subwords: the 256 bytes and ``pieces``."""
    symbols = [f"<0x{byte:02X}>" for byte in range(256)] + list(pieces)
    return says(within("source", kind="bpe", symbols=symbols, scores=[0.0] * len(symbols)))


def huge_symbols(about: dict[str, Any]) -> None:
    about["source"]["symbols"] = [chr(0x4E00 + i) for i in range(20_000)]


SHELL = f"$(touch {MARK})"
CODE = f"__import__('os').system('touch {MARK}')"
YAML = f"!!python/object/apply:os.system ['{SHELL}']"
ONE = np.ones((1, 1), "f4")
DEEP = b'{"a":' * 500_000
TWO_SHAPES = b'{"w":{"dtype":"F32","shape":[2],"shape":[1,2],"data_offsets":[0,8]}}'
OVERLAP = {**array(), "v": array(data_offsets=[4, 12])["w"]}


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    return [nested(depth - 1)] if depth else []


CASES = [
    # --- code in place of numbers
    Case("weights are a pickle", holds(WEIGHTS, pickle.dumps(Payload())), WEIGHTS),
    Case("weights are a torch zip", holds(WEIGHTS, packed("zip")), WEIGHTS),
    Case("weights are a tar", holds(WEIGHTS, packed("tar")), WEIGHTS),
    Case("weights are a gzip bomb", holds(WEIGHTS, packed("gz")), WEIGHTS),
    Case("about is a pickle", holds(ABOUT, pickle.dumps(Payload())), ABOUT),
    Case("about is YAML", holds(ABOUT, YAML.encode()), ABOUT),
    Case("about is Python", holds(ABOUT, f"{CODE}\n".encode()), ABOUT),
    Case("about is a script", holds(ABOUT, f"#!/bin/sh\ntouch {MARK}\n".encode()), ABOUT),
    Case("a setting is code", says(within("settings", hidden=CODE)), ABOUT),
    Case("an unknown setting is code", says(within("settings", trust_remote_code=True)), ABOUT),
    Case("the cell is a module", says(within("settings", cell="os.system")), ABOUT),
    Case("the task is a path", says(within("settings", task="../../evil.py")), ABOUT),
    Case("the device is code", says(within("settings", device=CODE)), ABOUT),
    Case("symbols name a class", says(within("source", kind="python/object")), ABOUT),
    Case("units name a class", says(within("units", kind="python/object")), ABOUT, "words"),
    Case("an array of objects", heads(array(dtype="O"), b"\0" * 8), WEIGHTS),
    # --- out of the folder
    Case("the manifest names a parent", lists("../escape"), MANIFEST),
    Case("the manifest names an absolute path", lists("/etc/passwd"), MANIFEST),
    Case("the manifest names a hidden file", lists(".bashrc"), MANIFEST),
    Case("the manifest names a line break", lists("a\nb"), MANIFEST),
    Case("weights are a link to a device", linked(WEIGHTS, "/dev/zero"), WEIGHTS),
    Case("weights are a link to a secret", linked(WEIGHTS, "/etc/passwd"), WEIGHTS),
    Case("about is a link to itself", linked(ABOUT, ABOUT), ABOUT),
    Case("the manifest is a link", linked(MANIFEST, "/etc/passwd"), MANIFEST),
    # --- waiting without end
    Case("weights are a pipe", piped(WEIGHTS), WEIGHTS),
    Case("about is a pipe", piped(ABOUT), ABOUT),
    Case("the manifest is a pipe", piped(MANIFEST), MANIFEST),
    # --- more than the memory holds
    Case("weights are a hole of 7 GiB", sparse(WEIGHTS, 7 * 2**30), WEIGHTS),
    Case("about is a hole of 7 GiB", sparse(ABOUT, 7 * 2**30), ABOUT),
    Case("the manifest is a hole of 7 GiB", sparse(MANIFEST, 7 * 2**30), MANIFEST),
    Case("a header of 2**63 bytes", heads(b"{}", length=2**63), WEIGHTS),
    Case("a header of 90 MB", heads(b"{}", length=90_000_000), WEIGHTS),
    Case("a shape of 2**62", heads(array(shape=[2**62, 4]), b"\0" * 8), WEIGHTS),
    Case("a shape of 0 and 2**62", heads(array(shape=[0, 2**62], data_offsets=[0, 0])), WEIGHTS),
    Case("hidden of 4096 in 8 layers", says(within("settings", hidden=4096, layers=8)), WEIGHTS),
    Case("hidden of 2**60", says(within("settings", hidden=2**60)), ABOUT),
    Case("twenty thousand symbols", says(huge_symbols), WEIGHTS),
    Case("limits of 2**40", says(lambda about: about.update(limits=[2**40])), ABOUT),
    Case("a million objects", holds(ABOUT, b'{"a":[' + b"{}," * 2_000_000 + b"1]}"), ABOUT),
    # --- parsers
    Case("about is nested without end", holds(ABOUT, DEEP), ABOUT),
    Case("the manifest is nested without end", raw_manifest(DEEP[:900_000]), MANIFEST),
    Case("a header nested without end", heads(DEEP), WEIGHTS),
    Case("about holds NaN", holds(ABOUT, b'{"format": 1, "finished": true, "x": NaN}'), ABOUT),
    Case("a number of 5,000 digits", says(lambda a: a.update(format=10**4000)), ABOUT),
    Case("about is UTF-16", holds(ABOUT, '{"format": 1}'.encode("utf-16")), ABOUT),
    Case("about is empty", holds(ABOUT, b""), ABOUT),
    Case("weights are empty", holds(WEIGHTS, b""), WEIGHTS),
    Case("offsets that overlap", heads({**array(), "v": array()["w"]}, b"\0" * 8), WEIGHTS),
    Case("offsets before the start", heads(array(data_offsets=[-8, 0])), WEIGHTS),
    Case("a shape of fractions", heads(array(shape=[2.0]), b"\0" * 8), WEIGHTS),
    Case("an escape sequence as a name", heads({"\x1b]0;x\x07\n" * 9: 1}), WEIGHTS),
    Case("a key twice in about", twice(ABOUT, b'"format":1'), ABOUT),
    Case("a setting twice", twice(ABOUT, b'"settings":{"cell":"gru","cell":"gru"}'), ABOUT),
    Case("a key twice in the manifest", twice(MANIFEST, b'"format":1'), MANIFEST),
    Case("a weight twice", twice(WEIGHTS, b'"readout.bias":{}', offset=8), WEIGHTS),
    Case("two shapes of a weight", heads(TWO_SHAPES, b"\0" * 8), WEIGHTS),
    Case("two notes", heads(b'{"__metadata__":{},"__metadata__":{}}'), WEIGHTS),
    Case("offsets that overlap in part", heads(OVERLAP, b"\0" * 12), WEIGHTS),
    Case("offsets with a gap", heads(array(data_offsets=[8, 16]), b"\0" * 16), WEIGHTS),
    Case("about is 40 deep", says(lambda a: a.update(x=nested(40))), ABOUT),
    Case("half a surrogate pair", says(within("data", name="\ud800")), ABOUT),
    Case("a known piece for unknown text", subwords("<unk>"), ABOUT),
    # --- numbers that poison
    Case("seconds of 10^400", says(lambda a: a.update(seconds=10**400)), ABOUT),
    Case("seconds of 1e999", twice(ABOUT, b'"seconds2":1e999'), ABOUT),
    Case("seconds below 0", says(lambda a: a.update(seconds=-1)), ABOUT),
    Case("parameters of -1", says(lambda a: a.update(parameters=-1)), ABOUT),
    Case("epochs of 1e300", says(within("settings", epochs=1e300)), ABOUT),
    Case("versions in lists", says(within("versions", python=[[3]])), ABOUT),
    Case("a score that is true", says(within("scores", ser=True)), ABOUT),
    Case("a weight is NaN", weighs(lambda w: w["readout.bias"].fill(np.nan)), WEIGHTS),
    Case("a weight is infinite", weighs(lambda w: w["readout.bias"].fill(np.inf)), WEIGHTS, "hard"),
    Case("a weight of float64", weighs(lambda w: w.update(x=np.ones(2))), WEIGHTS),
    Case("a weight is missing", weighs(lambda w: w.pop("readout.bias")), WEIGHTS, "hard"),
    Case("a weight of other axes", weighs(lambda w: w.update({"readout.bias": ONE})), WEIGHTS),
    Case("a temperature of 0", says(lambda a: a.update(calibration={"temperature": 0.0})), ABOUT),
    Case("confidence in nothing", says(lambda a: a.update(confidence={"weights": []})), ABOUT),
    Case("confidence without a calibration", says(doubts), ABOUT),
    Case("n-grams of no table", says(lambda about: calibrates(about, keys="AAAA")), ABOUT),
    Case("n-grams out of order", says(lambda about: calibrates(about, keys="AgAAAAEAAAA=")), ABOUT),
    Case("an n-gram beyond the table", says(lambda a: calibrates(a, keys="AAAAAP////8=")), ABOUT),
    Case("a weight without end", says(lambda a: doubts(calibrates(a), weights=[1e30] * 6)), ABOUT),
    # --- lies
    Case("symbols twice", says(lambda a: a["source"].update(symbols=["a", "a"])), ABOUT),
    Case("a symbol with a line break of another field", says(within("target", x="\n")), ABOUT),
    Case("a later format", says(lambda about: about.update(format=99)), ABOUT),
    Case("an ensemble without members", says(within("settings", ensemble=3)), ABOUT, "hard"),
    Case("words said to be pairs", says(within("settings", task="pairs")), ABOUT, "words"),
    Case("a manifest without a seal", raw_manifest({"format": 1, "files": {}}), MANIFEST),
    Case("a manifest of a list", raw_manifest([1]), MANIFEST),
    Case("a manifest of a later format", raw_manifest({"format": 2}), MANIFEST),
    Case("a size that is a lie", lambda folder: seal(folder, **{WEIGHTS: 10}), WEIGHTS),
]  # fmt: skip


def build(fixtures: Path, into: Path) -> Iterator[tuple[Case, Path]]:
    """Every case as a folder."""
    for number, case in enumerate(CASES):
        folder = into / f"{number:02}"
        shutil.copytree(fixtures / case.base, folder)
        case.spoil(folder)
        yield case, folder
