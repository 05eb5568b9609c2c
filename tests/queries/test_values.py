from __future__ import annotations

import pytest

from ats_sync.errors import InvalidSymbol, NoSpotPair, RequestTimeout, StaleDataError
from ats_sync.feeds import Key, Kind
from ats_sync.queries.values import MarkPrice, check_spot_pair, spot_price
from ats_sync.venue.values import Mark

from ..desk import SYMBOL, Desk
from ..venue import samples
from ..venue.samples import MIDNIGHT


class TestMarks:
    def test_a_young_one_comes_from_memory_and_an_old_one_is_requested(self) -> None:
        desk = Desk()
        desk.deliver(samples.marks_frame([SYMBOL], event=MIDNIGHT))
        assert desk.read(MarkPrice(SYMBOL, None)).mark_price == "7.6115"
        assert desk.asked == []
        desk.later(60.0)
        newer = Mark(SYMBOL, "8", "0", MIDNIGHT, MIDNIGHT + 60_000)
        desk.answers = [[newer], RequestTimeout("x")]
        assert desk.read(MarkPrice(SYMBOL, None)) is newer
        with pytest.raises(StaleDataError) as caught:
            desk.read(MarkPrice(SYMBOL, None))
        assert caught.value.data.mark_price == "7.6115"

    def test_a_mark_with_a_time_in_the_future_costs_one_request_and_is_forgotten(self) -> None:
        desk = Desk()
        desk.deliver(samples.marks_frame([SYMBOL], event=MIDNIGHT + 86_400_000, price="9.9"))
        desk.answers = [[Mark(SYMBOL, "7.7", "0", MIDNIGHT, MIDNIGHT)]]
        assert desk.read(MarkPrice(SYMBOL, None)).mark_price == "7.7"
        desk.deliver(samples.marks_frame([SYMBOL], event=MIDNIGHT, price="7.8"))
        assert desk.read(MarkPrice(SYMBOL, None)).mark_price == "7.8"
        assert len(desk.asked) == 1

    def test_a_mark_that_no_answer_contains_is_unknown(self) -> None:
        desk = Desk()
        desk.answers = [[]]
        with pytest.raises(InvalidSymbol, match=SYMBOL):
            desk.read(MarkPrice(SYMBOL, None))


class TestSpot:
    def test_one_list_of_all_prices_serves_every_symbol(self) -> None:
        desk = Desk()
        desk.merge(Key(Kind.SPOT), [{"symbol": SYMBOL, "price": "7.6"}])
        check_spot_pair(desk.reads, SYMBOL)
        assert spot_price(desk.reads, SYMBOL, None, str) == "7.6"
        for read in (
            lambda: spot_price(desk.reads, "ETHUSDT", None, str),
            lambda: check_spot_pair(desk.reads, "ETHUSDT"),
        ):
            with pytest.raises(NoSpotPair, match="ETHUSDT"):
                read()
        assert desk.asked == []

    def test_while_nothing_is_known_it_is_requested(self) -> None:
        desk = Desk()
        check_spot_pair(desk.reads, "ETHUSDT")
        desk.answers = [{SYMBOL: "8"}]
        assert spot_price(desk.reads, SYMBOL, None, str) == "8"

    def test_a_followed_candle_has_the_price_sooner(self) -> None:
        key = Key(Kind.SPOT_KLINES, SYMBOL, "1m")
        desk = Desk(key)
        desk.later(30.0)
        desk.merge(key, [samples.row(MIDNIGHT - 60_000, price="7.5"), samples.row(MIDNIGHT, price="7.7")], limit=2)
        desk.store.spot_klines(SYMBOL, "1m").go_live(desk.link)
        assert spot_price(desk.reads, SYMBOL, None, str) == "7.7"
        assert desk.asked == []
