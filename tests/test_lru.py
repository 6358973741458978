"""Least-recently-used cache: its values, its order of eviction and its size in bytes."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from charseq.lru import ENTRY_BYTES, ByteLru


def test_values_are_found_by_their_keys() -> None:
    cache: ByteLru[str, int] = ByteLru(10_000)
    cache.put("a", 1, 10)
    cache.put("b", 0, 10)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, 0, None)


@given(st.lists(st.integers(0, 60), max_size=400))
def test_a_cache_never_exceeds_its_capacity_and_finds_the_right_values(keys: list[int]) -> None:
    capacity = 20 * (ENTRY_BYTES + 10)
    cache: ByteLru[int, str] = ByteLru(capacity)
    for key in keys:
        found = cache.get(key)
        assert found in (None, str(key))
        if found is None:
            cache.put(key, str(key), 10)
        assert len(cache) <= 20


def test_an_entry_in_use_stays_while_others_are_evicted() -> None:
    cache: ByteLru[int, str] = ByteLru(10 * (ENTRY_BYTES + 1))
    cache.put(-1, "dear", 1)
    for key in range(1000):
        cache.put(key, "x", 1)
        assert cache.get(-1) == "dear"
    assert cache.get(0) is None
    assert cache.get(999) == "x"
    assert 0 not in cache
    assert 999 in cache


def test_an_entry_of_more_than_half_of_the_capacity_is_not_kept() -> None:
    cache: ByteLru[str, str] = ByteLru(10_000)
    cache.put("large", "x", 6_000)
    assert cache.get("large") is None


def test_the_capacity_is_about_the_memory_in_use() -> None:
    cache: ByteLru[str, tuple[str, ...]] = ByteLru(2**20)
    for number in range(20_000):
        key, value = f"word {number}", (f"other {number}", "")
        cache.put(key, value, sys.getsizeof(key) + sum(map(sys.getsizeof, value)))
    taken = sum(
        sys.getsizeof(key) + sys.getsizeof(entry) + sys.getsizeof(entry[0]) + sys.getsizeof(part)
        for part in (cache._young, cache._old)
        for key, entry in part.items()
        for part in entry[0]
    ) + sys.getsizeof(cache._young) + sys.getsizeof(cache._old)  # fmt: skip
    assert 2**19 < taken < 2**21
