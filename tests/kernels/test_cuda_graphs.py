"""A step that is played on memory of its own; the recording itself is a GPU's."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from charseq.kernels.cuda_graphs import EagerLoop, GraphCache, clone, leaves, write_back


class Pair(NamedTuple):
    one: Tensor
    other: tuple[Tensor, None]


def pair() -> Pair:
    return Pair(torch.tensor([1.0, 2.0]), (torch.tensor([3.0]), None))


def test_on_a_cpu_a_loop_runs_as_it_is() -> None:
    def advance(fixed: Tensor, moving: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return moving[1], moving[0] + fixed

    player = GraphCache(torch.device("cpu"))
    for _ in range(3):
        loop = player.begin("sum", advance, torch.ones(2), (torch.zeros(2), torch.full((2,), 5.0)))
        assert type(loop) is EagerLoop
        for _ in range(3):
            loop.step()
        assert [part.tolist() for part in loop.moving] == [[6.0, 6.0], [2.0, 2.0]]


def test_nested_tuples_keep_their_kind() -> None:
    given = pair()
    found = clone(given)
    assert type(found) is Pair
    assert found.other[1] is None
    assert [leaf.tolist() for leaf in leaves(found)] == [[1.0, 2.0], [3.0]]
    found.one.zero_()
    assert given.one.tolist() == [1.0, 2.0]


def test_what_moved_is_written_back_though_places_have_changed() -> None:
    """As if all at once: a value that lies where another is written is not lost."""
    rooms: tuple[Any, ...] = (torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.ones(2))
    write_back(rooms, (rooms[1], rooms[0].flip(0), rooms[2]))
    assert [room.tolist() for room in rooms] == [[3.0, 4.0], [2.0, 1.0], [1.0, 1.0]]
    write_back(rooms, (rooms[1][:1].expand(2), rooms[0] + 1, rooms[2]))
    assert [room.tolist() for room in rooms] == [[2.0, 2.0], [4.0, 5.0], [1.0, 1.0]]
