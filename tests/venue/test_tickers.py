from __future__ import annotations

import json
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.venue.envelope import scan_event_time
from ats_sync.venue.tickers import best_quotes, last_trades, scan_quotes

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
    assert last_trades([samples.ticker_data("A", 5), {"symbol": "B", "lastId": 6}, {}, None, "x"]) == {
        "A": 5,
        "B": 6,
    }


def test_every_real_quote_is_scanned_and_decoded_alike(recording: Path) -> None:
    quotes = list(real.of_stream(recording, "@bookTicker"))
    assert len(quotes) == 613
    for message, data in quotes:
        assert scan_quotes(message) == (data["s"], data["u"])
        assert scan_event_time(message) == data["E"]
        assert best_quotes(message) == (data["b"], data["B"], data["a"], data["A"])
