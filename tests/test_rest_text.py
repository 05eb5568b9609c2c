from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from ats_sync.config import Config
from ats_sync.errors import NoSpotPair, RequestRejected, RequestTimeout
from ats_sync.feeds import Key, Kind
from ats_sync.rest_text import INTEREST_LIFETIME, SURE_TIME, RestText, Text
from ats_sync.store.series import Origin
from ats_sync.venue.endpoints import Bucket, Host
from ats_sync.venue.intervals import MINUTE
from ats_sync.venue.trades import rest_trades
from ats_sync.venue.values import rest_marks

from .desk import SYMBOL, Body, Desk
from .venue import samples
from .venue.samples import MIDNIGHT, compact

KLINES, SPOT_KLINES = Key(Kind.KLINES, SYMBOL, "1m"), Key(Kind.SPOT_KLINES, SYMBOL, "1m")
ROWS = [samples.row(MIDNIGHT + (i - 9) * MINUTE, length=MINUTE, trades=3) for i in range(10)]
CONFIG = Config()


class Asked:
    """What a program asks over HTTP, and which series were then to be followed."""

    def __init__(self, *keys: Key, live: bool = True, streams: bool = True) -> None:
        self.desk = Desk(*keys, streams=streams)
        self.wanted: list[tuple[Key, int]] = []
        self.text = RestText(self.desk.reads, CONFIG, live=live, want=lambda key, rows: self.wanted.append((key, rows)))

    def sent(self) -> list[tuple[Host, str]]:
        return [(fetch.request.host, fetch.request.path) for fetch in self.desk.asked]


def warm() -> Asked:
    asked = Asked(KLINES)
    desk = asked.desk
    desk.later(30.0)
    desk.merge(KLINES, ROWS, limit=10)
    series = desk.store.klines(SYMBOL, "1m")
    assert series is not None
    series.go_live(desk.link)
    return asked


def value(text: Text | None) -> Any:
    assert text is not None
    return orjson.loads(text.body)


# --- candles, books, trades ---------------------------------------------------------------------------


def test_candles_in_memory_are_the_bytes_of_rest() -> None:
    asked = warm()
    assert asked.text.klines(SYMBOL, "1m", 4) == Text(compact(ROWS[-4:]), True, 0.0)
    asked.desk.later(2.5)
    assert asked.text.klines(SYMBOL, "1m", 4).age == pytest.approx(2.5)
    assert asked.wanted == [(KLINES, 4)] * 2
    assert asked.desk.asked == []


def test_what_is_requested_is_no_older_than_its_answer() -> None:
    asked = warm()
    asked.desk.link.up = False
    asked.desk.answers = [Body(compact(ROWS[-2:]))]
    text = asked.text.klines(SYMBOL, "1m", 4)
    assert text == Text(compact(ROWS[-4:]), False, 0.0)
    assert orjson.loads(text.body) == ROWS[-4:]


def test_an_idea_of_the_time_that_lags_behind_makes_no_age_below_zero() -> None:
    asked = warm()
    asked.desk.deliver(samples.kline_frame(ROWS[-1], event=MIDNIGHT + 31_000))
    assert asked.text.klines(SYMBOL, "1m", 4).age == 0.0


def test_a_failed_request_is_the_error_of_the_request_itself() -> None:
    asked = warm()
    asked.desk.link.up = False
    failure = RequestTimeout("x")
    asked.desk.answers = [failure, failure]
    for interval in ("1h", "1m"):  # of one there is nothing in memory
        with pytest.raises(RequestTimeout) as raised:
            asked.text.klines(SYMBOL, interval, 4)
        assert raised.value is failure


def test_candles_of_a_spot_pair_are_its_own() -> None:
    asked = Asked()
    asked.desk.answers = [[samples.row_text(row) for row in ROWS]]
    assert value(asked.text.klines(SYMBOL, "1m", 10, spot=True)) == ROWS
    assert asked.sent() == [(Host.SPOT, "/api/v3/klines")]
    assert asked.wanted == [(SPOT_KLINES, 10)]


def test_without_a_spot_pair_nothing_is_sent_or_followed() -> None:
    asked = Asked()
    asked.desk.store.spot.replace({"ETHUSDT": "7.6"}, Origin(MIDNIGHT))
    reads: list[Callable[[], Text]] = [
        lambda: asked.text.klines(SYMBOL, "1m", 10, spot=True),
        lambda: asked.text.spot_price(SYMBOL),
    ]
    for read in reads:
        with pytest.raises(RequestRejected) as refused:
            read()
        assert (refused.value.status, refused.value.code) == (400, -1121)
        assert isinstance(refused.value.__cause__, NoSpotPair)
    assert (asked.desk.asked, asked.wanted) == ([], [])


def test_a_book_has_as_many_levels_as_were_requested() -> None:
    asked = Asked(Key(Kind.BOOK, SYMBOL))
    asked.desk.deliver(samples.book_frame(7))
    text = asked.text.depth(SYMBOL, 5)
    book, sent = orjson.loads(text.body), samples.rest_book(7)
    assert (book["lastUpdateId"], book["bids"], book["asks"]) == (7, sent["bids"][:5], sent["asks"][:5])
    assert text.from_memory
    assert asked.wanted == [(Key(Kind.BOOK, SYMBOL), 5)]


def test_trades_that_are_requested_are_followed_as_deep() -> None:
    asked = Asked()
    trades = [samples.rest_trade(number) for number in range(5)]
    asked.desk.answers = [rest_trades(compact(trades))]
    text = asked.text.agg_trades(SYMBOL, 5)
    assert (orjson.loads(text.body), text.from_memory) == (trades, False)
    assert asked.wanted == [(Key(Kind.TRADES, SYMBOL), 5)]


# --- one value ----------------------------------------------------------------------------------------


def test_a_mark_of_the_stream_is_joined_with_the_interest_rate_of_an_answer_for_an_hour() -> None:
    asked = Asked()
    desk, interest = asked.desk, Key(Kind.MARK)
    desk.merge(interest, [samples.rest_mark(SYMBOL)])
    desk.later(2.0)
    desk.deliver(samples.marks_frame([SYMBOL], event=MIDNIGHT + 2_000, price="8.0000"))
    text = asked.text.premium_index(SYMBOL)
    expected = samples.rest_mark(SYMBOL, at=MIDNIGHT + 2_000, price="8.0000")
    assert (orjson.loads(text.body), text.from_memory) == (expected, True)
    for after, known in ((INTEREST_LIFETIME - 2.0, True), (1.0, False)):
        desk.later(after)
        desk.deliver(samples.marks_frame([SYMBOL], event=desk.clock.exchange_ms(), price="9.0000"))
        desk.answers = [rest_marks(compact([samples.rest_mark(SYMBOL, price="9.5000")]))]
        assert asked.text.premium_index(SYMBOL).from_memory is known


def test_a_quote_is_that_of_the_stream_where_it_has_all_that_rest_writes() -> None:
    asked = Asked()
    asked.desk.deliver(samples.quotes_frame(SYMBOL, 3))
    asked.desk.later(1.5)
    text = asked.text.book_ticker(SYMBOL)
    assert orjson.loads(text.body) == {
        "symbol": SYMBOL, "bidPrice": "7.6110", "bidQty": "10", "askPrice": "7.6120", "askQty": "10",
        "time": MIDNIGHT - 4, "lastUpdateId": 3,
    }  # fmt: skip
    assert text.from_memory
    assert text.age == pytest.approx(1.5)
    assert asked.wanted == [(Key(Kind.BOOK, SYMBOL), 20)]


def test_a_quote_that_memory_lacks_is_handed_on_as_it_came() -> None:
    asked = Asked()
    asked.desk.answers = [b'{ "symbol" : "BTCUSDT" }']
    assert asked.text.book_ticker(SYMBOL) == Text(b'{ "symbol" : "BTCUSDT" }', False)


def test_spot_prices_come_from_the_poll_with_its_age() -> None:
    asked = Asked()
    asked.desk.store.spot.replace({SYMBOL: "7.6", "ETHUSDT": "2"}, Origin(MIDNIGHT))
    asked.desk.later(12.0)
    one, every = asked.text.spot_price(SYMBOL), asked.text.spot_prices()
    assert orjson.loads(one.body) == {"symbol": SYMBOL, "price": "7.6"}
    assert orjson.loads(every.body) == [{"symbol": SYMBOL, "price": "7.6"}, {"symbol": "ETHUSDT", "price": "2"}]
    assert (one.from_memory, every.from_memory) == (True, True)
    assert [one.age, every.age] == pytest.approx([12.0, 12.0])
    asked.desk.later(50.0)  # it is too old
    asked.desk.answers = [{SYMBOL: "9"}]
    assert asked.text.spot_price(SYMBOL) == Text(compact({"symbol": SYMBOL, "price": "9"}), False)


def test_tickers_need_streams_and_are_left_to_the_exchange_for_an_unknown_symbol() -> None:
    assert Asked(streams=False).text.ticker_24h(SYMBOL) is None
    asked = Asked()
    asked.desk.merge(Key(Kind.TICKERS), [samples.rest_ticker("ETHUSDT", 5)])
    asked.desk.deliver(samples.tickers_frame({"ETHUSDT": 6}))
    assert [row["symbol"] for row in value(asked.text.ticker_24h(None))] == ["ETHUSDT"]
    assert value(asked.text.ticker_24h("ETHUSDT"))["lastId"] == 6


# --- the time, and everything else ------------------------------------------------------------------------


def test_the_time_is_published_only_where_it_is_known_well_enough() -> None:
    asked = Asked()
    clock, now = asked.desk.clock, MIDNIGHT / 1000
    assert asked.text.time() is None, "no answer of /time has come"
    clock.set_exchange(now, now + SURE_TIME + 0.01)
    assert asked.text.time() is None
    clock.set_exchange(now, now + SURE_TIME)
    assert asked.text.time() == Text(compact({"serverTime": MIDNIGHT + 250}), True)
    clock.doubt()
    assert asked.text.time() is None


def test_an_answer_is_handed_on_as_it_came_and_given_again_for_its_lifetime_with_the_time_of_now() -> None:
    asked = Asked()
    body = b'{"timezone":"UTC","serverTime":%d,"symbols":[ ]}' % MIDNIGHT
    asked.desk.answers = [body, b"second"]
    url = CONFIG.fapi_base + "/fapi/v1/exchangeInfo"
    assert asked.text.pass_on(url, 60.0) == Text(body, False, 0.0)
    asked.desk.later(60.0)
    again = asked.text.pass_on(url, 60.0)
    assert again.body == body.replace(b"%d" % MIDNIGHT, b"%d" % (MIDNIGHT + 60_000))
    assert again.from_memory
    assert again.age == pytest.approx(60.0)
    asked.desk.later(0.1)
    assert asked.text.pass_on(url, 60.0) == Text(b"second", False, 0.0)


@pytest.mark.parametrize(("live", "lifetime"), [(True, 0.0), (False, 60.0)])
def test_without_a_lifetime_or_a_manager_each_is_a_request(live: bool, lifetime: float) -> None:
    asked = Asked(live=live)
    asked.desk.answers = [b"first", b"second"]
    url = CONFIG.spot_base + "/api/v3/depth?symbol=BTCUSDT"
    assert [asked.text.pass_on(url, lifetime) for _ in range(2)] == [Text(b"first", False), Text(b"second", False)]
    assert asked.sent() == [(Host.SPOT, "/api/v3/depth?symbol=BTCUSDT")] * 2


def test_what_cannot_be_handed_on_is_the_error_of_the_request() -> None:
    asked = Asked()
    refused = RequestRejected("Bad.", status=400, code=-1121)
    asked.desk.answers = [refused, RequestTimeout("x")]
    with pytest.raises(RequestRejected) as caught:
        asked.text.pass_on(CONFIG.fapi_base + "/x")
    assert caught.value is refused
    with pytest.raises(RequestTimeout):
        asked.text.pass_on(CONFIG.fapi_base + "/x", 5.0)


def test_it_shows_the_budget_and_the_exchanges_time() -> None:
    asked = Asked()
    asked.desk.used = 70
    assert asked.text.usage(Bucket.FUTURES).cost == 70
    asked.desk.later(5.0)
    assert asked.text.exchange_time() == MIDNIGHT / 1000 + 5.0
