"""Starting and closing, on the embedded exchange."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ats_sync import (
    AccessDenied,
    Config,
    DataManager,
    HostNotFound,
    InvalidSymbol,
    NotRunning,
    Overall,
    StartTimeout,
)
from ats_sync.simulator import SimulatedExchange

from .support import PATIENCE, from_memory


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=12, seed=7) as ex:
        yield ex


def config_at(url: str) -> Config:
    stream = url.replace("http", "ws", 1)
    return Config(fapi_base=url, spot_base=url, fstream_base=stream, spot_stream_base=stream)


class TestLife:
    def test_it_starts_again_after_close(self, exchange: SimulatedExchange) -> None:
        symbol = exchange.symbols[0]
        dm = DataManager([symbol], ["1h"], config=exchange.config())
        for _ in range(2):
            assert dm.start(timeout=PATIENCE) is dm
            assert len(dm.get_klines(symbol, "1h", 10)) == 10
            dm.close()
            dm.close()
            assert dm.status().state is Overall.STOPPED
            with pytest.raises(NotRunning):
                dm.get_klines(symbol, "1h", 10)

    def test_tls(self) -> None:
        with (
            SimulatedExchange(symbols=["BTCUSDT"], tls=True) as ex,
            DataManager(["BTCUSDT"], ["1h"], config=ex.config()) as dm,
        ):
            assert ex.fapi_url.startswith("https://")
            assert len(from_memory(dm, lambda: dm.get_klines("BTCUSDT", "1h", 10))) == 10

    def test_closing_is_quick_while_connections_hang(self, exchange: SimulatedExchange) -> None:
        before = set(threading.enumerate())
        exchange.freeze(what="all")
        dm = DataManager([exchange.symbols[0]], ["1h"], config=exchange.config(close_timeout=5.0))
        try:
            with pytest.raises(StartTimeout):
                dm.start(timeout=0.3)
        finally:
            dm.close()
            exchange.thaw()
        assert set(threading.enumerate()) <= before


class TestStartErrors:
    def test_an_unknown_symbol_at_once(self, exchange: SimulatedExchange) -> None:
        dm = DataManager(["BTCUSDT", "NOSUCHUSDT"], ["1h"], config=exchange.config())
        with pytest.raises(InvalidSymbol, match="NOSUCHUSDT"):
            dm.start(timeout=PATIENCE)
        assert not dm.running

    def test_a_host_that_does_not_resolve_at_once(self) -> None:
        dm = DataManager(["BTCUSDT"], ["1h"], config=config_at("http://no-such-host.invalid"))
        with pytest.raises(HostNotFound, match=r"no-such-host\.invalid"):
            dm.start(timeout=PATIENCE)

    @pytest.mark.parametrize(("kind", "words"), [("403", "firewall"), ("451", "country")])
    def test_a_barred_address_at_once(self, exchange: SimulatedExchange, kind: str, words: str) -> None:
        exchange.fail_rest(kind)  # type: ignore[arg-type]
        try:
            with pytest.raises(AccessDenied, match=words):
                DataManager(["BTCUSDT"], ["1h"], config=exchange.config()).start(timeout=PATIENCE)
        finally:
            exchange.clear_faults()

    def test_too_late_names_what_is_missing_and_goes_on(self, exchange: SimulatedExchange) -> None:
        exchange.refuse(what="streams")
        dm = DataManager(["BTCUSDT"], ["1h"], config=exchange.config())
        try:
            with pytest.raises(StartTimeout, match="BTCUSDT") as caught:
                dm.start(timeout=0.5)
            assert caught.value.missing
            assert dm.status().state is Overall.STARTING
            exchange.accept()
            dm.start(timeout=PATIENCE)
            assert dm.initialized
        finally:
            exchange.accept()
            dm.close()

    def test_other_faults_are_waited_out(self, exchange: SimulatedExchange) -> None:
        exchange.fail_rest("500", count=3)
        try:
            with DataManager(["BTCUSDT"], ["1h"], config=exchange.config()) as dm:
                assert dm.initialized
        finally:
            exchange.clear_faults()
