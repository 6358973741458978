"""Folders on a real cluster of two nodes on one host: every row once, as on one machine."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from guide_lines import lines_for
from pyarrow import parquet

import charseq
from charseq.distributed import ray_tasks
from charseq.distributed.converter import SharedModel
from charseq.distributed.folders import Job
from charseq.errors import CharseqError, MissingExtraError, UsageError
from charseq.inference.convert import convert

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray, when it is imported and ends

DATES = Path(__file__).parents[2] / "checkpoints" / "dates"
FILES, ROWS = 15, 40
STORE = 80 * 2**20
"""Bytes of a node's object store, the least that Ray takes."""
SECONDS = 120
HOW = ["-m", str(DATES), "--column", "text", "-n", "4"]


def texts(number: int) -> list[str]:
    """Different dates for a file."""
    return [f"{1 + k % 28}. März {1900 + number * ROWS + k}" for k in range(ROWS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in four formats, some packed, and one with rows that cannot be read."""
    top = tmp_path_factory.mktemp("cluster") / "in"
    (top / "more").mkdir(parents=True)
    for number in range(FILES):
        rows = [{"id": f"{k:03}", "text": text} for k, text in enumerate(texts(number))]
        if number % 3 == 0:
            parquet.write_table(pa.Table.from_pylist(rows), top / f"{number:02}.parquet")
        elif number % 3 == 1:
            lines = [f'{row["id"]},"{row["text"]}"\r\n' for row in rows]
            (top / f"{number:02}.csv").write_text("id,text\r\n" + "".join(lines), "utf-8")
        else:
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            packed = gzip.compress("".join(lines).encode(), mtime=0)
            (top / "more" / f"{number:02}.jsonl.gz").write_bytes(packed)
    with (top / "01.csv").open("ab") as file:
        file.write(b'900,"not \xff UTF-8"\r\n901,"le 14 juillet 2020"\r\n')
    return top


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, bytes]:
    """The bytes of all outputs, from one machine."""
    model, found = charseq.load(DATES), {}
    for path in sorted(folder.rglob("*.*")):
        out = folder.parent / f"one-{path.name}"
        convert(model, path, out, column="text", n=4)
        found[str(path.relative_to(folder))] = out.read_bytes()
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with one CPU."""
    pytest.importorskip("ray", reason="Ray is not installed (the extra ray)")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    yield made
    made.shutdown()


@pytest.fixture
def second(cluster: Any) -> Any:
    """A second node with one CPU, where a test has killed it a new one."""
    (node,) = cluster.worker_nodes or [
        cluster.add_node(num_cpus=1, object_store_memory=STORE, wait=False)
    ]
    cluster.wait_for_nodes()
    return node


def command(folder: Path, out: Path, *more: str) -> list[str]:
    """The command line of a conversion."""
    words = [sys.executable, "-m", "charseq", "convert", str(folder), "-o", str(out)]
    return [*words, *HOW, "--engine", "ray", *more]


def start(cluster: Any, folder: Path, out: Path) -> subprocess.Popen[str]:
    """A conversion on the cluster."""
    words = command(folder, out, "--address", cluster.address)
    return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def outputs(out: Path) -> dict[str, bytes]:
    """The bytes of what was written, but for the record and the rejects."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and not path.name.startswith(".") and "rejects" not in path.name
    }


def wait_for(fact: Callable[[], Any]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + SECONDS
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.005)


def is_writing(node: Any) -> bool:
    """Whether a process of a node has an unfinished output open."""
    raylet = node.all_processes["raylet"][0].process.pid
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet:
                opened = [one.readlink().name for one in (path / "fd").iterdir()]
                if any(one.endswith(".part") for one in opened):
                    return True
        except OSError:
            continue
    return False


def test_a_driver_that_is_killed_goes_on(
    cluster: Any, second: Any, folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    running = start(cluster, folder, out)
    wait_for(lambda: len(outputs(out)) >= 3 or running.poll() is not None)
    running.kill()
    running.communicate()
    found = outputs(out)
    assert 3 <= len(found) < FILES
    times = {name: (out / name).stat().st_mtime_ns for name in found}
    again = start(cluster, folder, out)
    _, said = again.communicate(timeout=SECONDS)
    assert outputs(out) == expected
    assert times == {name: (out / name).stat().st_mtime_ns for name in times}, "not redone"
    done = int(said.partition("out: ")[2].split()[0])
    assert len(found) <= done < FILES
    assert f"{FILES - done} files" in said.replace("(1 file)", "(1 files)")


def test_ray_data_maps_the_callable(cluster: Any, second: Any, tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="Ray Data is not installed")
    rows = [{"order": k, "ordered on": text} for k, text in enumerate(texts(1))]
    (tmp_path / "orders").mkdir()
    for part in range(2):
        table = pa.Table.from_pylist(rows[part::2])
        parquet.write_table(table, tmp_path / "orders" / f"{part}.parquet")
    done = subprocess.run(
        [sys.executable, "-c", lines_for("Ray Data").replace("/data/", f"{tmp_path}/")],
        capture_output=True, text=True, check=False,
        env=os.environ | {"RAY_ADDRESS": cluster.address},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = parquet.read_table(tmp_path / "orders.iso").sort_by("order").to_pylist()
    answers = charseq.load(DATES).predict(texts(1))
    assert [row["date"] for row in found] == [one.prediction for one in answers]
    assert [row["ordered on"] for row in found] == texts(1)


def test_a_node_that_is_killed_costs_no_row(
    cluster: Any, second: Any, folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    running = start(cluster, folder, out)
    wait_for(lambda: is_writing(second) or running.poll() is not None)
    assert running.poll() is None
    cluster.remove_node(second, allow_graceful=False)
    assert len(outputs(out)) < FILES, "in the middle"
    _, said = running.communicate(timeout=SECONDS)
    assert outputs(out) == expected
    assert running.returncode == 1, "for the row that cannot be read"
    assert f"in ({FILES} files)" in said
    assert "1 row rejected" in said
    assert said.rstrip().endswith("01.csv.rejects.jsonl")
    hidden = [path.name for path in out.rglob(".*")]
    assert hidden == [".charseq-convert.json"], "no part of a file is left"


# --- without a cluster


def job(folder: Path, out: Path, name: str = "04.csv", replaced: Any = None) -> Job:
    """One file to convert."""
    return Job(str(folder / name), str(out / name), replaced)


OPTIONS: dict[str, Any] = {"column": "text", "n": 4, "force": False}


def test_a_task_converts_a_file_once(
    folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    shared = SharedModel.of(charseq.load(DATES))
    one = job(folder, tmp_path)
    one.rejects.write_text('{"line": 1}\n')  # of an attempt that was killed between two renames
    (tmp_path / ".charseq-0.part").write_text("")
    assert ray_tasks.convert_file(shared, OPTIONS, one).rows == ROWS
    assert outputs(tmp_path) == {"04.csv": expected["04.csv"]}
    assert not one.rejects.exists()
    assert ray_tasks.convert_file(shared, OPTIONS, one) is None, "committed"
    facts = Path(one.out).stat()
    marks = [facts.st_ino, facts.st_size, facts.st_mtime_ns]
    again = job(folder, tmp_path, replaced=marks)
    assert ray_tasks.convert_file(shared, OPTIONS, again).rows == ROWS
    assert again.is_committed


def test_a_task_tells_its_fault(folder: Path, tmp_path: Path) -> None:
    shared = SharedModel.of(charseq.load(DATES))
    fault = ray_tasks.convert_file(shared, OPTIONS | {"column": "x"}, job(folder, tmp_path))
    assert "no column 'x'" in fault
    gone = SharedModel(str(tmp_path / "no-run"), "{}", "")
    assert "no-run" in ray_tasks.convert_file(gone, OPTIONS, job(folder, tmp_path))
    missing = ray_tasks.convert_file(shared, OPTIONS, job(folder, tmp_path, "no.csv"))
    assert "no.csv" in missing
    assert outputs(tmp_path) == {}


def test_a_task_waits_for_the_process_that_writes(
    folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    shared, one = SharedModel.of(charseq.load(DATES)), job(folder, tmp_path)
    program = (
        "import sys, time; from pathlib import Path; from charseq import files\n"
        "with files.claiming(Path(sys.argv[1])): print('has it', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", program, one.out]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        ender = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {other.pid}"])
        assert ray_tasks.convert_file(shared, OPTIONS, one).rows == ROWS
        assert other.wait() == -signal.SIGKILL
        ender.wait()
    assert outputs(tmp_path) == {"04.csv": expected["04.csv"]}


@pytest.mark.parametrize(
    ("out", "options", "device"),
    [
        (None, {}, "cpu"),
        ("-", {}, "cpu"),
        (__file__, {}, "cpu"),
        ("out", {"review": "r.csv"}, "cpu"),
        ("out", {"to_format": "kaldi"}, "cpu"),
        ("out", {}, "cuda"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(
    out: str | None, options: dict[str, Any], device: str
) -> None:
    with pytest.raises(UsageError):
        ray_tasks.check_folders(out, options, device=device)
    assert ray_tasks.check_folders("out", {"review": None}, device="cpu") == "out"


def test_sizes_are_those_of_plain_files(folder: Path) -> None:
    names = ["01.csv", "04.csv"]
    expected = sum((folder / name).stat().st_size for name in names)
    assert ray_tasks.size_of([str(folder / name) for name in names], "auto") == expected
    assert ray_tasks.size_of([str(folder)], "auto") is None


def test_ray_is_started_and_ended(
    folder: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra ray)")
    before = signal.getsignal(signal.SIGTERM)
    asked: list[dict[str, Any]] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", lambda **how: asked.append(how))
    with ray_tasks._cluster(None, 2):
        assert signal.getsignal(signal.SIGTERM) == before
    with ray_tasks._cluster("auto", 2):
        pass
    own, other = asked
    assert (own["address"], own["num_cpus"]) == ("local", 2), "not one that runs by chance"
    assert other["address"] == "auto"
    assert "num_cpus" not in other


def test_a_cluster_that_is_not_there_is_told(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (the extra ray)")
    model = charseq.load(DATES)
    with pytest.raises(CharseqError, match=r"no cluster of Ray at 127\.0\.0\.1:1: "):
        ray_tasks.convert_folders(
            model, [str(folder)], tmp_path / "out", address="127.0.0.1:1", column="text"
        )


def test_ray_is_an_extra(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        ray_tasks.convert_folders(charseq.load(DATES), [str(folder)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_are_counted_together(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks one after another in this process, in the place of a cluster."""

    @contextmanager
    def here(address: str | None, jobs: int) -> Iterator[Callable[..., Any]]:
        held.append((address, jobs))
        yield lambda *given: partial(ray_tasks.convert_file, *given)

    held: list[Any] = []
    fake = SimpleNamespace(
        wait=lambda waiting, num_returns: (waiting[:1], waiting[1:]),
        get=lambda task: task(),
        exceptions=SimpleNamespace(RayError=OSError),
    )
    monkeypatch.setattr(ray_tasks, "_cluster", here)
    monkeypatch.setattr(ray_tasks, "require", lambda *_: None)
    monkeypatch.setitem(sys.modules, "ray", fake)
    lines: list[str] = []
    seen: list[tuple[int, int]] = []
    source = tmp_path / "in"
    shutil.copytree(folder, source)
    (source / "bad.csv").write_text("id,other\n1,a\n")
    found = ray_tasks.convert_folders(
        charseq.load(DATES), [str(source)], tmp_path / "out", address="here", jobs=2,
        report=lines.append, progress=lambda *one: seen.append(one), column="text",
    )  # fmt: skip
    assert held == [("here", 2)]
    assert found.rows.rows == FILES * ROWS + 2
    assert found.rows.rejected == 1
    assert [path.name for path in found.rejected] == ["01.csv.rejects.jsonl"]
    assert list(found.faults) == [str(source / "bad.csv")]
    assert f"{FILES * ROWS + 2:,} rows" in lines[0]
    assert len(seen) == FILES + 1
    assert seen[-1][1] == sum(path.stat().st_size for path in source.rglob("*.*"))
    (source / "bad.csv").write_text("id,text\n1,5 May 2021\n")
    again = ray_tasks.convert_folders(
        charseq.load(DATES), [str(source)], tmp_path / "out", column="text"
    )
    assert (again.done, again.rows.rows, again.faults) == (FILES, 1, {})
    words = tmp_path / "words.dict"
    words.write_text("5 May 2021  2 0 2 1\n6 May 2021  2 0 2 1\n")
    lexicon = ray_tasks.convert_folders(
        charseq.load(DATES), [str(words)], tmp_path / "out 2", format="cmudict"
    )
    assert (lexicon.rows.rows, lexicon.faults) == (2, {})
