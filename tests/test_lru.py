import sys

from hypothesis import given
from hypothesis import strategies as st

from charseq.lru import ENTRY, ByteLru


def test_what_was_put_is_found_and_nothing_else() -> None:
    memory: ByteLru[str, int] = ByteLru(10_000)
    memory.put("a", 1, 10)
    memory.put("b", 0, 10)
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (1, 0, None)


@given(st.lists(st.integers(0, 60), max_size=400))
def test_it_holds_no_more_than_fits_and_what_it_finds_is_right(keys: list[int]) -> None:
    room = 20 * (ENTRY + 10)
    memory: ByteLru[int, str] = ByteLru(room)
    for key in keys:
        found = memory.get(key)
        assert found in (None, str(key))
        if found is None:
            memory.put(key, str(key), 10)
        assert len(memory) <= 20


def test_what_is_asked_for_stays_while_others_go() -> None:
    memory: ByteLru[int, str] = ByteLru(10 * (ENTRY + 1))
    memory.put(-1, "dear", 1)
    for key in range(1000):
        memory.put(key, "x", 1)
        assert memory.get(-1) == "dear"
    assert memory.get(0) is None
    assert memory.get(999) == "x"


def test_what_would_take_half_of_the_room_is_not_kept() -> None:
    memory: ByteLru[str, str] = ByteLru(10_000)
    memory.put("large", "x", 6_000)
    assert memory.get("large") is None


def test_the_room_is_about_what_is_taken() -> None:
    memory: ByteLru[str, tuple[str, ...]] = ByteLru(2**20)
    for number in range(20_000):
        key, value = f"word {number}", (f"other {number}", "")
        memory.put(key, value, sys.getsizeof(key) + sum(map(sys.getsizeof, value)))
    taken = sum(
        sys.getsizeof(key) + sys.getsizeof(entry) + sys.getsizeof(entry[0]) + sys.getsizeof(part)
        for part in (memory._young, memory._old)
        for key, entry in part.items()
        for part in entry[0]
    ) + sys.getsizeof(memory._young) + sys.getsizeof(memory._old)  # fmt: skip
    assert 2**19 < taken < 2**21
