from __future__ import annotations

import json

import pytest

from ats_sync.venue.envelope import normalised, stream_name
from ats_sync.venue.payload import DecodeError

from .everything import KLINE, TRADE


def test_the_stream_name_is_found_in_place() -> None:
    assert stream_name(TRADE) == b"btcusdt@aggTrade"
    assert stream_name(KLINE) == "币安人生usdt@kline_1m".encode()


@pytest.mark.parametrize(
    "message",
    [b"", b"{}", b'{"stream":"abc', b'{"stream": "a","data":{}}', b'{"data":{},"stream":"a"}', b'{"stream":"\\u5e01"}'],
)
def test_a_name_that_is_not_in_the_usual_place_is_left_to_the_parser(message: bytes) -> None:
    assert stream_name(message) is None


def test_any_order_and_spacing_is_rewritten() -> None:
    message = json.loads(TRADE)
    odd = json.dumps({"data": message["data"], "new": 1, "stream": message["stream"]}, indent=1).encode()
    assert normalised(odd) == TRADE


def test_escaped_names_are_unescaped() -> None:
    escaped = json.dumps(json.loads(KLINE)).encode()
    assert b"\\u" in escaped
    assert normalised(escaped) == KLINE


@pytest.mark.parametrize(
    "message", [b'{"result":null,"id":7}', b'{"error":{"code":2,"msg":"x"},"id":7}', b'{"stream":null}']
)
def test_what_is_not_a_stream_frame_is_returned_as_its_object(message: bytes) -> None:
    assert normalised(message) == json.loads(message)


@pytest.mark.parametrize(
    "message",
    [
        b"", b" ", b"[]", b"null", b"5", b'"x"', b"{", b'{"stream":"a"}', b'{"stream":5,"data":{}}', b"\xff\xfe",
        b"<html></html>", b'{"stream":"a","data":{}', b"[" * 100_000, b"\x00" * 8,
        b'{"data":{"a":' + b"9" * 5_000 + b'},"stream":"a"}',
    ],
)  # fmt: skip
def test_what_is_not_a_frame_is_refused(message: bytes) -> None:
    with pytest.raises(DecodeError):
        normalised(message)


@pytest.mark.parametrize("message", [b'{"data":{},"stream":"\\ud800"}', b'{"data":{"s":"\\udfff"},"stream":"a"}'])
def test_half_characters_are_refused(message: bytes) -> None:
    with pytest.raises(DecodeError):
        normalised(message)


def test_nesting_of_any_depth_is_refused_or_passed() -> None:
    for depth in (*range(800, 1_000), 5_000, 200_000):
        message = b'{"data":' + b"[" * depth + b"]" * depth + b',"stream":"x"}'
        try:
            normalised(message)
        except DecodeError:
            continue
