"""``charseq plot``: the runs that are named, and the file that is written."""

from __future__ import annotations

from pathlib import Path

from world import ROOT, World


def test_plot_draws_the_runs_that_are_named(tmp_path: Path, world: World) -> None:
    drawn = []

    def draw(path: Path, runs: list[Path], *, force: bool, report: object) -> None:
        assert callable(report)
        drawn.append((path, [*map(str, runs)], force))

    world.replace("evaluation.pictures.learning_curve", draw=draw)
    runs = [str(ROOT / "checkpoints" / name) for name in ("dates", "sentences")]
    path = tmp_path / "x.png"
    assert world.run("plot", *runs, "-o", str(path), "--force") == (0, "", f"drawn {path}\n")
    assert drawn == [(path, runs, True)]
    assert world.run("plot", runs[0])[0] == 2
