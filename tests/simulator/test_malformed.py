from __future__ import annotations

import json
from typing import Any, cast

import pytest

from ats_sync.simulator.literals import MALFORMED
from ats_sync.simulator.malformed import HUGE, fits, malform
from ats_sync.simulator.market import Frame
from ats_sync.simulator.wire import Wire

KLINE = Frame("btcusdt@kline_1m", 5, '{"e":"kline","E":5,"s":"BTCUSDT","k":{"t":1,"s":"BTCUSDT","c":"1.5","x":false}}')
TRADE = Frame("btcusdt@aggTrade", 5, '{"e":"aggTrade","E":5,"s":"BTCUSDT","a":7,"p":"1.5","q":"2","m":true}')
BOOK = Frame("btcusdt@depth20@100ms", 5, '{"e":"depthUpdate","u":9,"b":[["1.0","2"],["0.9","1"]],"a":[["1.1","2"]]}')
MARKS = Frame("!markPrice@arr", 5, '[{"e":"markPriceUpdate","s":"A","p":"1"},{"e":"markPriceUpdate","s":"B","p":"2"}]')


def payload(item: Frame | Wire) -> Any:
    assert isinstance(item, Frame)
    return json.loads(item.payload)


def bare(item: Frame | Wire) -> bytes:
    """The message without its (short) frame header."""
    assert isinstance(item, Wire)
    return item.bare[2 if item.bare[1] < 126 else 4 :]


@pytest.mark.parametrize("kind", [kind for kind in MALFORMED if kind not in ("bad_element", "fragmented")])
def test_the_good_message_follows_unless_replaced(kind: str) -> None:
    assert malform(kind, KLINE, False)[1:] == [KLINE]
    assert len(malform(kind, KLINE, True)) == 1
    assert malform(kind, KLINE, True)[0] is not KLINE


def test_a_field_that_is_missing_empty_or_not_a_number() -> None:
    good = json.loads(TRADE.payload)
    assert set(good) - set(payload(malform("missing_field", TRADE, True)[0])) == {"p"}
    assert payload(malform("empty_field", TRADE, True)[0]) == good | {"p": ""}
    assert payload(malform("nan", TRADE, True)[0]) == good | {"p": "NaN"}
    assert "c" not in payload(malform("missing_field", KLINE, True)[0])["k"]
    assert "b" not in payload(malform("missing_field", BOOK, True)[0])
    assert payload(malform("empty_field", MARKS, True)[0])[0]["p"] == ""


def test_wrong_types_keep_the_event_recognisable() -> None:
    kline = payload(malform("wrong_types", KLINE, True)[0])
    assert (kline["e"], kline["s"]) == ("kline", "BTCUSDT")
    assert kline["k"] == {"t": {"value": 1}, "s": "BTCUSDT", "c": ["1.5"], "x": "yes"}
    assert payload(malform("wrong_types", TRADE, True)[0])["a"] == {"value": 7}
    assert payload(malform("wrong_types", BOOK, True)[0])["b"] == 7
    assert payload(malform("wrong_types", MARKS, True)[0])[1]["p"] == ["2"]


def test_texts_that_are_not_json() -> None:
    for kind in ("not_json", "truncated", "empty_message"):
        with pytest.raises(json.JSONDecodeError):
            json.loads(bare(malform(kind, TRADE, True)[0]))
    assert TRADE.payload.encode().startswith(bare(malform("truncated", TRADE, True)[0]))
    with pytest.raises(UnicodeDecodeError):
        bare(malform("invalid_utf8", TRADE, True)[0]).decode()


def test_binary_is_a_binary_frame() -> None:
    item = cast(Wire, malform("binary", TRADE, True)[0])
    assert item.combined[0] == 0x82


def test_huge_is_at_least_ten_megabytes_of_good_json() -> None:
    found = malform("huge", TRADE, True)[0]
    assert isinstance(found, Frame)
    assert len(found.payload) > HUGE >= 10_000_000
    assert payload(found)["e"] == "padding"


def test_deep_and_long_numbers_defeat_plain_decoding() -> None:
    with pytest.raises(RecursionError):
        payload(malform("deep", TRADE, True)[0])
    assert len(cast(Frame, malform("big_int", TRADE, True)[0]).payload) > 4300


def test_one_bad_element() -> None:
    assert fits("bad_element", MARKS)
    assert fits("bad_element", BOOK)
    assert not fits("bad_element", KLINE)
    good = json.loads(MARKS.payload)
    beside = payload(malform("bad_element", MARKS, False)[0])
    assert [element for element in beside if element in good] == good
    assert len(beside) == 3
    instead = payload(malform("bad_element", MARKS, True)[0])
    assert len(instead) == 2
    assert sum(element in good for element in instead) == 1
    assert len(payload(malform("bad_element", BOOK, False)[0])["b"]) == 3


def test_fragments_join_to_the_good_message() -> None:
    [item] = malform("fragmented", TRADE, False)
    assert isinstance(item, Wire)
    data, message, opcodes = item.bare, b"", []
    while data:
        opcodes.append(data[0])
        size = data[1]
        if data[0] & 0x0F != 0x9:
            message += data[2 : 2 + size]
        data = data[2 + size :]
    assert message.decode() == TRADE.payload
    assert opcodes == [0x01, 0x89, 0x00, 0x80]
