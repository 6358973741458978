"""check, info, gradients: what each prints, and what it asks of the rooms below."""

from pathlib import Path
from types import SimpleNamespace

from world import World

from charseq.config import Config


def test_check_and_info_print_lines_or_an_object(world: World, tmp_path: Path) -> None:
    configs: list[Config] = []

    def check(data: str, *, config: Config) -> SimpleNamespace:
        configs.append(config)
        return SimpleNamespace(lines=lambda: ["rows 3", "é"], to_json=lambda: {"rows": 3})

    world.replace("recipes", check=check, info=lambda run: ({"run": run}, ["a run", "b"]))
    assert world.run("check", str(tmp_path), "--columns", "target,source") == (0, "rows 3\né\n", "")
    assert configs == [Config(columns="target,source")]
    assert world.run("check", str(tmp_path), "--json") == (0, '{"rows": 3}\n', "")
    assert world.run("info", "R") == (0, "a run\nb\n", "")
    assert world.run("info", "R", "--json") == (0, '{"run": "R"}\n', "")
