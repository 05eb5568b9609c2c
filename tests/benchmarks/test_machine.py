from __future__ import annotations

from .machine import collected_without, others


def test_what_is_ours_is_left_out_by_name() -> None:
    names = ["json", "ats_sync", "ats_sync.store.klines", "tests.support", "__main__", "atsomething", "orjson"]
    assert others(names) == ["atsomething", "json", "orjson"]


def test_the_others_are_collected_in_a_process_without_ours() -> None:
    libraries = ["requests", "websocket", "orjson", "cachetools", "tenacity", "no_such_module"]
    bare, without, with_ours = (collected_without(each) for each in ([], libraries, [*libraries, "ats_sync"]))
    assert 0 < bare["objects"] < without["objects"] < with_ours["objects"]
    assert without["ms"] > 0
