from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.venue.envelope import scan_event_time
from ats_sync.venue.payload import DecodeError
from ats_sync.venue.tickers import (
    as_rest_ticker,
    best_quotes,
    last_trades,
    quote_text,
    rest_tickers,
    scan_quotes,
    streamed_quote,
    tickers_of,
)

from . import recording as real
from . import samples
from .everything import scanned, shuffled


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False))
def test_quotes_are_read_by_name_in_any_order(order: random.Random) -> None:
    data = samples.quotes_data("币安人生USDT", 12)
    message = json.dumps(shuffled({"stream": "!bookTicker", "data": data}, order)).encode()
    assert scanned(message, scan_quotes) == ("币安人生USDT", 12)
    assert scanned(message, best_quotes) == ("7.6110", "10", "7.6120", "10")


def test_bad_tickers_are_left_out() -> None:
    rows = tickers_of([samples.ticker_data("A", 5), {"symbol": "B", "lastId": 6}, {}, None, "x", {"s": "C"}])
    assert last_trades(rows) == {"A": 5, "B": 6}


def test_a_streamed_ticker_is_written_as_rest_does(october_2026: Path) -> None:
    streamed = json.loads((october_2026 / "ws" / "stream_all_ticker_arr.json").read_bytes())["data"]
    answer = json.loads((october_2026 / "rest" / "ticker_24hr.json").read_bytes())
    (row,) = tickers_of(streamed).values()
    written = as_rest_ticker(row)
    assert written == {
        "symbol": "XPTUSDT", "priceChange": "-54.1500", "priceChangePercent": "-3.211", "weightedAvgPrice": "1664.1148",
        "lastPrice": "1632.4800", "lastQty": "0.006", "openPrice": "1686.6300", "highPrice": "1716.8500",
        "lowPrice": "1613.6200", "volume": "7406.798", "quoteVolume": "12325762.2149", "openTime": 1791296580000,
        "closeTime": 1791382992306, "firstId": 19210546, "lastId": 19266957, "count": 56401,
    }  # fmt: skip
    assert set(written) == set(answer[0])
    for body in (answer, answer[0]):
        rows = rest_tickers(samples.compact(body))
        assert [as_rest_ticker(row) for row in rows.values()] == (body if isinstance(body, list) else [body])


def test_a_ticker_that_lacks_a_number_is_refused_when_it_is_read() -> None:
    for name, bad in (("c", None), ("c", "x"), ("n", "5"), ("O", 1.5)):
        (row,) = tickers_of([samples.ticker_data("A", 5) | {name: bad}]).values()
        with pytest.raises(DecodeError):
            as_rest_ticker(row)


def test_every_real_quote_is_scanned_and_decoded_alike(recording: Path) -> None:
    quotes = list(real.of_stream(recording, "@bookTicker"))
    assert len(quotes) == 613
    for message, data in quotes:
        assert scan_quotes(message) == (data["s"], data["u"])
        assert scan_event_time(message) == data["E"]
        assert best_quotes(message) == (data["b"], data["B"], data["a"], data["A"])


def test_a_streamed_quote_is_written_as_rest_does() -> None:
    quote = streamed_quote(samples.quotes_frame("币安人生USDT", 12))
    assert (
        quote_text("币安人生USDT", quote)
        == (
            '{"symbol":"币安人生USDT","bidPrice":"7.6110","bidQty":"10","askPrice":"7.6120","askQty":"10",'
            f'"time":{samples.MIDNIGHT - 4},"lastUpdateId":12}}'
        ).encode()
    )
    without = {name: value for name, value in samples.quotes_data("A", 12).items() if name != "T"}
    assert quote_text("A", streamed_quote(samples.frame("!bookTicker", without))) is None
