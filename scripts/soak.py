"""Soak test: hours of kills, faults, random input and many rows, with the installed charseq.

    same     100,000 texts in batches of 1, 7 and 257 and in another order: the same bits, of pairs
             (hard and soft attention, greedy and a beam of 5) and of next words
    fuzz     ten minutes of random input for readers, vocabularies, headers and the command line
    saves    500 SIGKILLs at random moments of a process that saves without pause
    faults   a save under strace: EIO in every fsync, ENOSPC in every write, SIGKILL at every call
    train    a training that is killed ten times, and one that is not: the same weights
    convert  a conversion that is killed several times: the same bytes, little computed twice
    rows     ten million rows need at most 50 MB more memory than ten thousand

Every part prints one line of figures; the exit code is 1 if a part fails. The models are the small
frozen runs of the tests. --kernels off uses plain NumPy, whatever is installed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
Facts = dict[str, Any]
BLOCK = 2500
"""Texts whose hashes are compared together."""
Part = Callable[[Path, float], Facts]


class Broken(Exception):
    """A check has failed."""


def require(held: bool, message: str) -> None:
    """Raise Broken with a message unless the condition holds."""
    if not held:
        raise Broken(message)


def start(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a Python process that imports this charseq."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *words], env=environment, **options)


# --- same text, same answer


def same(_place: Path, scale: float) -> Facts:
    """Hashes of answers for every batch size and order, one block of texts after the other."""
    from charseq.inference import predictor

    count = max(20, int(100_000 * scale))
    models = {name: predictor.load(FIXTURES / name) for name in ("hard", "soft", "words")}
    shares = {"hard": count // 2, "soft": count - count // 2, "words": count}
    texts = {name: list(_texts(name, share)) for name, share in shares.items()}
    digests: dict[str, list[str]] = {}
    for begin in range(0, count, BLOCK):
        for name, model in models.items():
            block = texts[name][begin * shares[name] // count :][: BLOCK * shares[name] // count]
            for width in (5,) if name == "words" else (1, 5):
                digests.setdefault(f"{name}, {width}", []).append(
                    _hash_of_all_sizes(name, model, block, width)
                )
        click.echo(f"same     {min(begin + BLOCK, count):,} texts", err=True)
    whole = {name: hashlib.sha256("".join(all_of).encode()).hexdigest()[:12]
             for name, all_of in digests.items()}  # fmt: skip
    return {"texts": count, **whole}


def _hash_of_all_sizes(name: str, model: Any, texts: list[str], width: int) -> str:
    """The hash of the answers in batches of every size; raises Broken if they differ."""
    shuffled = random.Random(2).sample(texts, len(texts))
    options: Facts = {"n": 5} if name == "words" else {"n": width, "beam": width}
    hashes = {
        str(size): _digest(model, texts, texts, batch_size=size, **options) for size in (1, 7, 257)
    }
    hashes["shuffled"] = _digest(model, texts, shuffled, batch_size=64, **options)
    require(len(set(hashes.values())) == 1, f"{name}, {width}: {hashes}")
    return hashes["1"]


def _texts(name: str, count: int) -> Iterator[str]:
    """Different texts of the kind that the model was trained on, some of them odd."""
    draw = random.Random(1)
    letters = {"hard": "bdgklmnprstaeio", "soft": "0123456789."}.get(name, "")
    if name == "words":
        lines = (ROOT / "data" / "sentences" / "train.txt").read_text(encoding="utf-8").split("\n")
        for number in range(count):
            words = draw.choice(lines).split(" ")
            yield " ".join(words[: draw.randint(1, len(words))]) + (" ?" * (number % 3 == 0))
        return
    for number in range(count):
        odd = "ß\u0301x " if number % 9 == 0 else ""
        yield "".join(draw.choices(letters + odd, k=draw.randint(1, 14))) + f"{number % 7}"


def _digest(model: Any, texts: list[str], order: list[str], **options: Any) -> str:
    """A hash of all candidates and the bits of their numbers, in the order of ``texts``."""
    found = {}
    for one in model.predict(order, **options):
        told = [(c.prediction, c.score.hex(), c.probability.hex()) for c in one.candidates]
        found[one.source] = hashlib.sha256(repr(told).encode()).digest()
    return hashlib.sha256(b"".join(found[text] for text in texts)).hexdigest()


# --- odd bytes


def fuzz(_place: Path, scale: float) -> Facts:
    """The random cases of the tests (tests/odd.py), with new seeds until the time is over."""
    sys.path.insert(0, str(ROOT / "tests"))
    cases = importlib.import_module("odd").CASES
    os.environ["CHARSEQ_MODEL"] = str(FIXTURES / "soft")
    begun, counts = time.monotonic(), dict.fromkeys(cases, 0)
    while time.monotonic() - begun < 600 * scale:
        for name, case in cases.items():
            for _ in range(5 if name == "words" else 100):
                seed = random.SystemRandom().randrange(2**62)
                try:
                    case(random.Random(seed))
                except Exception as fault:
                    raise Broken(f"odd.{name}(Random({seed})): {fault!r}") from fault
                counts[name] += 1
    return {"seconds": round(time.monotonic() - begun), "cases": sum(counts.values()), **counts}


# --- kills while saving

SAVER = """
import sys
from charseq.runs import store
print("ready", flush=True)
n = int(sys.argv[2])
while True:
    n += 1
    word = str(n).encode()
    store.publish(sys.argv[1], {"a": word, "b": word * 50_000, f"c{n % 3}": word},
                  drop=[f"c{(n + 1) % 3}"])
    print(n, flush=True)
"""


def saves(place: Path, scale: float) -> Facts:
    """Kills at random moments; every state that was reported as saved exists, whole."""
    from charseq.runs import store

    run, last, torn = place / "run", 0, 0
    kills = max(5, int(500 * scale))
    for _ in range(kills):
        saver = start("-c", SAVER, str(run), str(last), stdout=subprocess.PIPE)
        require(saver.stdout is not None and bool(saver.stdout.readline()), "no saver")
        time.sleep(random.SystemRandom().uniform(0, 0.1))
        saver.kill()
        told = [int(line) for line in saver.communicate()[0].split()]
        torn += (run / ".new").exists()
        names = store.names(run)
        if not names:
            require(not told, "a saved state is gone")
            continue
        found = store.read_all(run, names)
        now = int(found["a"])
        require(now in ((told or [last])[-1], (told or [last])[-1] + 1), f"{now} after {told[-1:]}")
        require(found["b"] == found["a"] * 50_000, "half of one state and half of another")
        last = now
    return {"kills": kills, "in the middle of a save": torn, "saves": last, "lost": 0}


# --- faults from outside

SAVE = """
import os, sys
from charseq.runs import store
from charseq.errors import CheckpointError
os.path.exists("/soak-begins")
try:
    store.publish(sys.argv[1], {"a": b"new", "b": b"new" * 9000, "c": b"new"}, drop=["d"])
    code = 0
except CheckpointError as fault:
    print(fault)
    code = 3
os.path.exists("/soak-ends")
os._exit(code)
"""
OLD = {"a": b"old", "b": b"old" * 9000, "d": b"old"}
NEW = {"a": b"new", "b": b"new" * 9000, "c": b"new"}
CALLS = "openat,write,fsync,close,rename,mkdir,unlink,unlinkat,rmdir,newfstatat,lseek"


def faults(place: Path, scale: float) -> Facts:
    """Saves in which one system call fails, or is the last that the process makes."""
    from charseq.runs import store

    require(shutil.which("strace") is not None, "strace is not installed")
    counts = _count(place)
    facts: Facts = {"calls of a save": sum(last - first + 1 for first, last in counts.values())}
    step = max(1, round(1 / scale))
    for effect, only in (
        ("error=EIO", ("fsync",)),
        ("error=ENOSPC", ("write", "openat", "mkdir", "rename")),
        ("signal=KILL", tuple(counts)),
    ):
        points = [
            (call, when)
            for call in only
            if call in counts
            for when in range(counts[call][0], counts[call][1] + 1)
        ]
        outcome = {"old": 0, "new": 0}
        for call, when in points[:: step if len(points) > 9 else 1]:
            run = place / "run"
            shutil.rmtree(run, ignore_errors=True)
            store.publish(run, OLD)
            code, said = _strace(run, f"inject={call}:{effect}:when={when}")
            where = f"{effect} at {call} {when}: {code} {said!r}"
            found = store.read_all(run, store.names(run))
            require(found in (OLD, NEW), f"{where}: neither old nor new")
            if effect.startswith("error") and code == 3:
                require(str(run) in said and said.count("\n") == 1, where)
            elif effect.startswith("error"):
                require(code == 0 and found == NEW, where)
            else:
                require(code in (0, -signal.SIGKILL, 128 + signal.SIGKILL), where)
            outcome["old" if found == OLD else "new"] += 1
            store.publish(run, NEW, drop=["d"])
            require(store.read_all(run, store.names(run)) == NEW, f"{where}: not mended")
        facts[effect] = outcome
    return facts


def _strace(run: Path, what: str, log: Path | None = None) -> tuple[int, str]:
    """Exit code and stdout of one save under strace."""
    where = ["-o", str(log or os.devnull)]
    done = subprocess.run(
        [
            *("strace", "-f", *where, "-e", f"trace={CALLS},access,stat", "-e", what),
            *(sys.executable, "-c", SAVE, str(run)),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def _count(place: Path) -> dict[str, tuple[int, int]]:
    """First and last number of each system call between the two marks, counted for each call."""
    from charseq.runs import store

    log = place / "calls"
    store.publish(place / "run", OLD)
    code, said = _strace(place / "run", "signal=none", log)
    require(code == 0, f"strace does not work here: {said}")
    seen: dict[str, int] = {}
    counts: dict[str, tuple[int, int]] = {}
    inside = False
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"(?:\d+ +)?(\w+)\(", line)
        if match is None:
            continue
        call = match[1]
        seen[call] = seen.get(call, 0) + 1
        if "/soak-" in line:
            inside = "/soak-begins" in line
        elif inside and call in CALLS.split(","):
            counts[call] = (counts.get(call, (seen[call], 0))[0], seen[call])
    require("fsync" in counts, "no fsync in a save")
    return counts


# --- training


def train(place: Path, scale: float) -> Facts:
    """A training command that is killed again and again, against one that is not."""
    data = place / "data"
    data.mkdir()
    draw = random.Random(3)
    words = {"".join(draw.choices("abcde", k=draw.randint(2, 6))) for _ in range(400)}
    rows = [f"{word}\t{word[::-1]}\n" for word in sorted(words)]
    (data / "train.tsv").write_text("".join(rows[20:]), encoding="utf-8")
    (data / "dev.tsv").write_text("".join(rows[:20]), encoding="utf-8")
    kills = max(1, int(10 * scale))
    options = ["--epochs", "12", "--threads", "1", "--attention", "soft"]
    for name, value in (("hidden", 16), ("embedding", 8), ("dropout", 0.3), ("save_seconds", 0.05),
                        ("evaluations", 4), ("batch_size", 16)):  # fmt: skip
        options += ["--set", f"{name}={value}"]

    def go(run: str) -> subprocess.Popen[bytes]:
        words = ["train", str(data), "-o", str(place / run), *options]
        return start("-m", "charseq", *words, stderr=subprocess.PIPE)

    whole = go("whole")
    require(whole.communicate() is not None and whole.returncode == 0, "training failed")
    done, resumed = 0, []
    while True:
        process = go("killed")
        if done < kills:
            folder = place / "killed"
            before = _saves(folder)
            while process.poll() is None and _saves(folder) <= before:
                time.sleep(0.01)
            time.sleep(random.SystemRandom().uniform(0, 0.2))
            process.kill()
        _, said = process.communicate()
        resumed += re.findall(rb"at step ([\d,]*\d)", said)
        if process.returncode == 0:
            break
        require(process.returncode == -signal.SIGKILL, said.decode())
        done += 1
        about = place / "killed" / "about.json"
        if about.exists() and json.loads(about.read_bytes())["finished"]:
            break  # the kill came after the end
    sums = [_sha256(place / run / "model.safetensors") for run in ("whole", "killed")]
    require(sums[0] == sums[1], f"{sums} after {done} kills")
    steps = [step.decode() for step in resumed]
    return {"kills": done, "went on at": steps, "sha256 of both": sums[0][:12]}


def _saves(run: Path) -> int:
    """Time of the last save; 0 before the first."""
    try:
        return (run / "manifest.json").stat().st_mtime_ns
    except OSError:
        return 0


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- conversion


def convert(place: Path, scale: float) -> Facts:
    """A conversion that is killed again and again, against one that is not."""
    count = max(10_000, int(100_000 * scale))
    texts = list(dict.fromkeys(_texts("soft", count)))
    (place / "in.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    words = ["convert", str(place / "in.txt"), "-m", str(FIXTURES / "soft"), "-o"]
    begun = time.monotonic()
    whole = start("-m", "charseq", *words, str(place / "whole.txt"), "-q")
    require(whole.wait() == 0, "conversion failed")
    seconds = time.monotonic() - begun
    kills, kept, largest = 0, [0], 0
    while True:
        process = start("-m", "charseq", *words, str(place / "out.txt"), stderr=subprocess.PIPE)
        if kills < 5:
            before = sum(_pieces(place))
            while process.poll() is None and sum(_pieces(place)) <= before:
                time.sleep(0.05)
            time.sleep(random.SystemRandom().uniform(0, 0.3) * seconds)
            process.kill()
        _, said = process.communicate()
        kept += [int(n.replace(b",", b"")) for n in re.findall(rb"goes on after ([\d,]+)", said)]
        if process.returncode == 0:
            break
        require(process.returncode == -signal.SIGKILL, said.decode())
        kills += 1
        largest = max(largest, *_pieces(place), 0)
        if (place / "out.txt").exists():  # the kill came after the end: convert once more
            again = start("-m", "charseq", *words, str(place / "out.txt"), "--force", "-q")
            require(again.wait() == 0, "conversion failed")
            break
    same_bytes = _sha256(place / "whole.txt") == _sha256(place / "out.txt")
    require(same_bytes, "the output differs after a kill")
    require(kept == sorted(kept), f"answers were lost: {kept}")
    require(not list(place.glob(".charseq-*")), "something was left behind")
    twice = round(100 * kills * largest / len(texts), 1)
    return {"rows": len(texts), "kills": kills, "answers kept at each start": kept[1:],
            "done twice, in percent, at most": twice}  # fmt: skip


def _pieces(place: Path) -> list[int]:
    """The number of answers of each piece in the journal; a kill loses at most one piece."""
    lines = [
        line
        for path in place.glob(".charseq-*.journal")
        for line in path.read_bytes().split(b"\n")[1:-1]
    ]
    values = [json.loads(line.partition(b" ")[2]) for line in lines]
    return [0, *(len(value) for value in values if isinstance(value, list))]


# --- many rows

COUNTER = """
import resource, sys
from types import SimpleNamespace as S
from charseq.inference.convert import convert
class Model:
    has_features = False
    def predict(self, texts, **options):
        return [S(prediction=t.upper(), unknown=[], truncated=False, origin="model", unsure=False,
                  candidates=[S(prediction=t.upper(), probability=1.0)]) for t in texts]
found = convert(Model(), sys.argv[1], sys.argv[2], kept_for="m", force=True)
print(found.ok + found.rejected, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def rows(place: Path, scale: float) -> Facts:
    """Peak memory with few rows and with many; no row is lost or moved."""
    facts: Facts = {}
    peaks = []
    for count in (10_000, max(20_000, int(10_000_000 * scale))):
        path, out = place / "in.txt", place / "out.txt"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"row {number}\n" for number in range(count))
        done = start("-c", COUNTER, str(path), str(out), stdout=subprocess.PIPE)
        told = done.communicate()[0].split()
        require(done.returncode == 0 and int(told[0]) == count, f"{told} of {count} rows")
        with out.open(encoding="utf-8") as file:
            moved = sum(line != f"ROW {number}\n" for number, line in enumerate(file))
        require(moved == 0, f"{moved} rows were lost or moved")
        peaks.append(int(told[1]) / 1024)
        facts[f"{count:,} rows"] = f"{peaks[-1]:.0f} MB"
    require(peaks[1] <= peaks[0] + 50, f"{peaks} MB")
    return facts


PARTS: dict[str, Part] = {
    part.__name__: part for part in (same, fuzz, saves, faults, train, convert, rows)
}


@click.command(help="\b\n" + (__doc__ or ""))
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Only these parts.")
@click.option("--scale", default=1.0, show_default=True, help="Share of the full numbers.")
@click.option("--kernels", type=click.Choice(["off"]), help="Plain NumPy, also in what is started.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a part.")
def main(only: Sequence[str], scale: float, kernels: str | None, *, as_json: bool) -> None:
    """Run every part and print its figures."""
    from charseq.errors import CharseqError

    if kernels:
        os.environ["CHARSEQ_KERNELS"] = kernels
    broken = False
    for name in only or PARTS:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            try:
                facts = {"part": name, "held": True, **PARTS[name](Path(place), scale)}
            except (Broken, CharseqError) as fault:
                facts, broken = {"part": name, "held": False, "why": str(fault)}, True
        facts["minutes"] = round((time.monotonic() - begun) / 60, 1)
        told = ", ".join(f"{key} {value}" for key, value in facts.items() if key != "part")
        click.echo(json.dumps(facts) if as_json else f"{name:<8} {told}")
    sys.exit(broken)


if __name__ == "__main__":
    main()
