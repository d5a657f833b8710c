"""docs/architecture.md against the code: the picture and the table of packages."""

import re
import tomllib
from pathlib import Path

LAYERS = re.compile(r"[\w]+")


def layers(repo: Path) -> list[list[str]]:
    """The packages of each layer that import-linter checks, from the top."""
    contracts = tomllib.loads((repo / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layered,) = [contract for contract in contracts if contract["type"] == "layers"]
    return [LAYERS.findall(layer) for layer in layered["layers"] if layer != "__main__"]


def test_the_picture_shows_every_package_in_its_layer(repo: Path) -> None:
    drawn: dict[int, list[str]] = {}
    picture = (repo / "docs/figures/packages.svg").read_text()
    for height, name in re.findall(r'y="(\d+)"><tspan font-weight="bold">(\w+)<', picture):
        drawn.setdefault(int(height), []).append(name)
    assert [drawn[height] for height in sorted(drawn)] == layers(repo)


def test_the_table_has_a_row_for_every_package(repo: Path) -> None:
    page = (repo / "docs/architecture.md").read_text()
    named = re.findall(r"^\| `(\w+)/?` \|", page, re.MULTILINE)
    assert named == [name for layer in layers(repo) for name in layer]
