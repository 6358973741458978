"""Predictions of the frozen checkpoints under ``fixtures/``, bit for bit.

    python tests/frozen.py > tests/fixtures/answers.json

wrote the reference file. It is not written again as long as the format of checkpoints and the rules
of the search are the same. The rules changed once: empty outputs went, and the narrow limits of
sources shorter than all learnt ones. The three runs are small (hidden 16): pairs with hard and with
soft attention, next words.
Bits of products and of exp depend on the processor, so the file has a probe of them: numbers are
compared bit for bit where the probe is the same, and within a tolerance elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"
TEXTS = {
    "hard": ["kogima", "banana", "kigi", "to", "gigiko", "", "xyz", "d" * 40, "rikotese"],
    "soft": ["3.4.77", "28.12.10", "1.1.99", "", "31.13", "x", "9.9.9 9.9.9"],
    "words": ["I love", "The", "", "what is your", "xyzzy plugh", "I do not know", "Where are"],
}
# Environment of plain NumPy, with products that every x86-64 processor of the last ten years has.
PLAIN = {
    "CHARSEQ_KERNELS": "off",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parent.parent),
}


def probe() -> str:
    """A hash of the bits of products, exp, tanh and log on this processor."""
    import numpy as np

    draw = np.random.default_rng(1)
    a = draw.normal(size=(48, 24)).astype(np.float32)
    b = draw.normal(size=(3, 24, 16)).astype(np.float32)
    product = a @ b
    parts = [product, np.exp(product), np.tanh(product), np.log(np.abs(product) + 1)]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def answers() -> dict[str, Any]:
    """Predictions of the three runs: texts, and numbers in hexadecimal."""
    import charseq

    found: dict[str, Any] = {"probe": probe()}
    for name, texts in TEXTS.items():
        model: Any = charseq.load(FIXTURES / name)
        words = name == "words"
        for width in (5,) if words else (1, 5):
            options = {} if words else {"beam": width}
            found[f"{name}, {width} best"] = {
                one.source: [
                    (c.prediction, c.score.hex(), c.probability.hex()) for c in one.candidates
                ]
                for one in model.predict(texts, n=width, **options)
            }
        if words:
            scores = zip(texts, model.score(texts), strict=True)
            found["lines"] = {text: [("", one.score.hex())] for text, one in scores}
            found["drawn"] = model.generate(texts[:3], count=2, seed=7)
    return found


def plain_answers() -> dict[str, Any]:
    """The same predictions from a process with plain NumPy."""
    done = subprocess.run(
        [sys.executable, __file__], env={**os.environ, **PLAIN}, check=True, capture_output=True
    )
    return json.loads(done.stdout)


def flat(found: dict[str, Any]) -> tuple[list[str], list[float]]:
    """All texts and all numbers of the predictions, in a fixed order."""
    texts: list[str] = []
    numbers: list[float] = []
    for name in sorted(found.keys() - {"probe", "drawn"}):
        for source, candidates in found[name].items():
            texts.append(source)
            for text, *rest in candidates:
                texts.append(text)
                numbers += map(float.fromhex, rest)
    return texts, numbers


if __name__ == "__main__":
    json.dump(answers(), sys.stdout, ensure_ascii=False, indent=1)
    sys.stdout.write("\n")
