"""Symbols divided among several leaders, which readers find by themselves."""

from __future__ import annotations

from collections import Counter

import pytest

from ats_sync import Config
from ats_sync.cli import main
from ats_sync.errors import ConfigError
from ats_sync.feeds import Key, Kind
from ats_sync.shared.client import SharedStore
from ats_sync.shared.shards import SHARDS_KEY, Shard, home, shards
from ats_sync.simulator import SimulatedExchange

from ..support import until
from .feed import INTERVALS, config_of, managed, requests, same, served
from .servers import StoreServer

SYMBOLS = [f"COIN{number}USDT" for number in range(3000)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_symbol_is_in_one_part_and_the_parts_are_alike(count: int) -> None:
    parts = Counter(each for symbol in SYMBOLS for each in shards(count) if each.has_symbol(symbol))
    assert parts.total() == len(SYMBOLS)
    assert min(parts.values()) > 0.85 * len(SYMBOLS) / count


def test_one_more_part_takes_symbols_from_all_and_moves_no_others() -> None:
    moved = [
        (before, after)
        for symbol in SYMBOLS
        if (before := home(Key(Kind.BOOK, symbol), 3)) != (after := home(Key(Kind.BOOK, symbol), 4))
    ]
    assert {after for _, after in moved} == {4}
    assert {before for before, _ in moved} == {1, 2, 3}


def test_all_kinds_of_a_symbol_are_together_and_what_concerns_all_symbols_is_in_the_first() -> None:
    symbol = next(each for each in SYMBOLS if Shard(2, 3).has_symbol(each))
    assert {home(Key(kind, symbol), 3) for kind in (Kind.KLINES, Kind.TRADES, Kind.BOOK)} == {2}
    assert {home(Key(kind, symbol), 3) for kind in (Kind.MARK, Kind.QUOTES, Kind.TICKERS)} == {1}
    assert home(Key(Kind.SPOT), 3) == 1


@pytest.mark.parametrize("wrong", ["", "2", "0/2", "3/2", "a/b", "1/0", "01/2", "1/2/3", 2])
def test_an_impossible_part_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="shard"):
        Config(shard=wrong)


def test_the_command_refuses_it_in_one_sentence(valkey: StoreServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "--symbols", "BTCUSDT", "--shared", valkey.url, "--shard", "4/3"]) == 2
    assert "shard" in capsys.readouterr().err


def test_two_collectors_share_the_symbols_and_a_reader_does_not_notice(
    valkey: StoreServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with SimulatedExchange(6, seed=7) as exchange:
        config, symbols = config_of(exchange, valkey.url), list(exchange.symbols)
        ours = [[each for each in symbols if part.has_symbol(each)] for part in shards(2)]
        assert all(ours)
        store = SharedStore(valkey.url)
        with managed(config, ours[0], role="collector", shard="1/2") as first:
            with (
                managed(config, ours[1], role="collector", shard="2/2") as second,
                managed(config, symbols) as reader,
            ):
                for collector, theirs in ((first, ours[0]), (second, ours[1])):
                    same(reader, collector, lambda dm, s=theirs[0]: dm.rest_shaped.klines(s, "1m", 50))  # type: ignore[misc]
                    same(reader, collector, lambda dm, s=theirs[0]: dm.rest_shaped.agg_trades(s, 100))  # type: ignore[misc]
                    same(reader, collector, lambda dm, s=theirs[-1]: dm.get_orderbook(s))  # type: ignore[misc]
                for symbol in symbols:
                    served(reader, lambda dm, s=symbol: dm.get_mark_price(s))  # type: ignore[misc]
                served(reader, lambda dm: dm.get_spot_price(symbols[0]))

                def scanned() -> bool:
                    before = requests(reader)
                    reader.prefetch()
                    for symbol in symbols:
                        for interval in INTERVALS:
                            reader.get_klines(symbol, interval, 100)
                    return requests(reader) == before

                until(scanned)
                # A wish goes to the one that has the symbol, and the other does not follow it.
                reader.get_klines(ours[1][0], "5m", 10)
                until(lambda: second.status().ready("klines")[1] == len(ours[1]) * len(INTERVALS) + 1)
                assert first.status().ready("klines")[1] == len(ours[0]) * len(INTERVALS)
                until(lambda: reader.status().state.value == "live")

                assert main(["shared-status", valkey.url]) == 0
                shown = capsys.readouterr().out
                assert "leader    1/2  " in shown
                assert "leader    2/2  " in shown
                store.run(lambda redis: redis.delete(SHARDS_KEY))
                same(reader, second, lambda dm: dm.rest_shaped.klines(ours[1][0], "1m", 50))

            with managed(config, ours[0]) as reader:
                served(reader, lambda dm: dm.get_klines(ours[0][0], "1m", 20))
                before = requests(reader)
                assert len(reader.get_klines(ours[1][0], "1m", 20)) == 20
                assert requests(reader) == before + 1
                status = reader.status()
                assert status.shared is not None
                assert (status.state.value, status.ready("klines")) == ("degraded", (2 * len(ours[0]),) * 2)
                assert status.shared.reason.startswith("no collector leads shard 2/2")
                totals = reader.overview.shared()
                assert totals is not None
                assert [(each.shard, each.led) for each in totals.leases] == [("1/2", True), ("2/2", False)]
                assert main(["shared-status", valkey.url]) == 1
                assert "nobody; start one with: python -m ats_sync collect --shard 2/2" in capsys.readouterr().out
            with pytest.raises(ConfigError, match="leads shard 1/2"), managed(config, symbols, role="collector"):
                pass
        # Where nobody leads any longer, the symbols may be divided differently.
        with managed(config, symbols, role="collector") as only, managed(config, symbols) as reader:
            same(reader, only, lambda dm: dm.rest_shaped.klines(symbols[0], "1m", 50))
        store.close()
