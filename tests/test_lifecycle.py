"""Starting and closing, on the simulated exchange."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ats_sync import (
    AccessDenied,
    AtsSyncError,
    CertificateRejected,
    Config,
    ConfigError,
    DataError,
    DataManager,
    FeedState,
    HostNotFound,
    InvalidSymbol,
    NotRunning,
    Overall,
    ProxyRefused,
    RequestRejected,
    StartTimeout,
)
from ats_sync.engine.obstacles import ATTEMPTS
from ats_sync.simulator import SimulatedExchange
from ats_sync.venue.endpoints import Host

from .support import PATIENCE, accepted, from_memory, until


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=12, seed=7) as ex:
        yield ex


def config_at(url: str) -> Config:
    stream = url.replace("http", "ws", 1)
    return Config(fapi_base=url, spot_base=url, fstream_base=stream, spot_stream_base=stream)


SPOT_PRICES = "/api/v3/ticker/price"


def hopeless(dm: DataManager, host: Host) -> bool:
    """Return whether waiting for this host is hopeless."""
    return dm._life.living().query(lambda engine, at: engine.obstacles.hopeless({host})) is not None


def name_server(monkeypatch: pytest.MonkeyPatch, answer: int, times: int | None = None) -> list[object]:
    """Make the next ``times`` name look-ups (None: all) fail in this way; return the hosts that are looked up."""
    real, asked = socket.getaddrinfo, []

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        asked.append(host)
        if times is None or len(asked) <= times:
            raise socket.gaierror(answer, "as the test wants it")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


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

    def test_a_host_that_does_not_exist_after_a_few_attempts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        name_server(monkeypatch, socket.EAI_NONAME)
        dm = DataManager(["BTCUSDT"], ["1h"], config=config_at("http://no-such-host.invalid"))
        with pytest.raises(HostNotFound, match=r"no-such-host\.invalid"):
            dm.start()
        assert not dm.running

    def test_a_name_server_that_fails_for_now_is_waited_out(
        self, exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = name_server(monkeypatch, socket.EAI_AGAIN, times=8)
        with DataManager(["BTCUSDT"], ["1h"], config=exchange.config()) as dm:
            assert dm.initialized
        assert len(asked) > 8

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

    def test_the_timeout_does_not_name_what_has_arrived(self, exchange: SimulatedExchange) -> None:
        exchange.refuse(what="streams")
        dm = DataManager(["BTCUSDT"], ["1h"], config=exchange.config())
        try:
            with pytest.raises(StartTimeout) as caught:
                dm.start(timeout=4.0)
            assert "BTCUSDT orderbook" in caught.value.missing
            assert not {"spot", "mark", "BTCUSDT oi 1h"} & set(caught.value.missing), caught.value.missing
        finally:
            exchange.accept()
            dm.close()


class TestWhatCanNeverWork:
    """``start()`` without a timeout ends after a few attempts, in plain words."""

    def hopeless(self, config: Config, error: type[Exception], words: str) -> None:
        dm = DataManager(["BTCUSDT"], ["1h"], config=config)
        with pytest.raises(error, match=words) as caught:
            dm.start()
        assert not getattr(caught.value, "retryable", True)
        assert not dm.running

    def test_a_certificate_that_does_not_verify(self) -> None:
        with SimulatedExchange(symbols=["BTCUSDT"], tls=True) as ex:
            self.hopeless(replace(ex.config(), ca_file=None), CertificateRejected, "certificate of .* does not verify")

    def test_a_base_url_that_answers_404(self, exchange: SimulatedExchange) -> None:
        config = exchange.config()
        self.hopeless(replace(config, fapi_base=config.fapi_base + "/nothing"), RequestRejected, "HTTP 404")

    def test_a_handshake_that_answers_404(self, exchange: SimulatedExchange) -> None:
        exchange.handshake(404)
        try:
            self.hopeless(exchange.config(), RequestRejected, "HTTP 404")
        finally:
            exchange.handshake(None)

    def test_a_proxy_that_wants_a_password(self, exchange: SimulatedExchange) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            Refusing(server)
            proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
            config = replace(exchange.config(), proxies={"http": proxy, "https": proxy})
            self.hopeless(config, ProxyRefused, "user name and password")

    def test_an_unusable_proxy(self, exchange: SimulatedExchange) -> None:
        config = replace(exchange.config(), proxies={"all": "socks5://127.0.0.1:7890"})
        self.hopeless(config, ConfigError, "socks5")

    def test_an_unusable_proxy_of_the_environment(
        self, exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:7890")
        self.hopeless(replace(exchange.config(), proxies=None), ConfigError, "socks5")

    def test_a_missing_file_of_authorities(self, exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/corporate.pem")
        self.hopeless(exchange.config(), ConfigError, r"corporate\.pem")


class Refusing(threading.Thread):
    """A proxy that answers 407 to everything, until its socket is closed."""

    def __init__(self, server: socket.socket) -> None:
        super().__init__(daemon=True)
        self._server = server
        self.start()

    def run(self) -> None:
        for client in accepted(self._server):
            with client:
                client.recv(65536)
                client.sendall(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )


class TestOneVerbOneMeaning:
    def test_streams_that_are_refused_leave_rest_to_serve(
        self, exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("ats_sync.engine.reconciler.STREAMS_MISSED_FOR", 6.0)
        exchange.refuse(what="streams")
        try:
            with DataManager(["BTCUSDT"], ["1h"], config=exchange.config()) as dm:
                assert "started degraded" in caplog.text
                assert dm.status().state is Overall.DEGRADED
                assert len(dm.get_klines("BTCUSDT", "1h", 10)) == 10
                exchange.accept()
                until(lambda: dm.status().state is Overall.LIVE, PATIENCE)
        finally:
            exchange.accept()

    def test_an_error_closes_only_what_this_very_call_launched(self, exchange: SimulatedExchange) -> None:
        with DataManager(["BTCUSDT"], ["1h"], config=exchange.config()) as dm:
            with pytest.raises(InvalidSymbol, match="NOSUCHUSDT"):
                dm.initialize(["NOSUCHUSDT"], ["1h"], timeout=PATIENCE)
            assert dm.running
            assert len(dm.get_klines("BTCUSDT", "1h", 10)) == 10

    @pytest.mark.parametrize("kind", ["403", "404"])
    def test_an_earlier_failure_does_not_count(self, exchange: SimulatedExchange, kind: str) -> None:
        with DataManager(["BTCUSDT"], ["1h"], config=exchange.config()) as dm:
            if kind == "403":
                exchange.fail_rest("403", "/fapi/v1/klines", count=1)
                with pytest.raises(DataError):
                    dm.get_klines("BTCUSDT", "1h", 10, max_age=0)
            else:
                with pytest.raises(RequestRejected):
                    dm.rest_shaped.get("/fapi/v1/nothing", timeout=10.0)
            dm.initialize([exchange.symbols[5]], ["1h"], timeout=PATIENCE)
            assert dm.running

    def test_a_host_that_is_not_waited_for_does_not_count(self, exchange: SimulatedExchange) -> None:
        with DataManager(["BTCUSDT"], ["1h"], config=exchange.config()) as dm:
            exchange.fail_rest("403", SPOT_PRICES)
            try:
                for _ in range(ATTEMPTS):
                    with pytest.raises(DataError):
                        dm.get_spot_price("BTCUSDT", max_age=0)
                until(lambda: hopeless(dm, Host.SPOT))
                dm.initialize([exchange.symbols[5]], ["1h"], timeout=PATIENCE)
                assert dm.running
                assert dm.get_klines(exchange.symbols[5], "1h", 10)
            finally:
                exchange.clear_faults()

    def test_a_host_that_is_waited_for_counts(self, exchange: SimulatedExchange) -> None:
        exchange.fail_rest("403", SPOT_PRICES)
        dm = DataManager(["BTCUSDT"], ["1h"], config=exchange.config())
        try:
            dm.autostart()
            with pytest.raises(AccessDenied, match="firewall"):
                dm.initialize([exchange.symbols[5]], ["1h"], timeout=PATIENCE)
            assert dm.running, "this call did not launch it"
        finally:
            exchange.clear_faults()
            dm.close()

    def test_look_ups_that_failed_before_do_not_count(
        self, exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with DataManager(["BTCUSDT"], ["1h"], config=exchange.config()) as dm:

            def failed() -> bool:
                with pytest.raises(DataError):
                    dm.get_klines("BTCUSDT", "1h", 10, max_age=0)
                return hopeless(dm, Host.FUTURES)

            exchange.fail_rest("reset", host="fapi")  # each of its connections ends, and a new one needs a look-up
            try:
                with monkeypatch.context() as patch:
                    name_server(patch, socket.EAI_NONAME)
                    until(failed)
            finally:
                exchange.clear_faults()
            assert hopeless(dm, Host.FUTURES), "nothing has been answered since"
            dm.initialize([exchange.symbols[5]], ["1h"], timeout=PATIENCE)
            assert dm.running

    def test_a_delisted_symbol_costs_the_others_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        with SimulatedExchange(symbols=4, seed=7) as ex:
            gone, stays, new = ex.symbols[:3]
            dm = DataManager([gone, stays], ["1h"], config=ex.config()).start(timeout=PATIENCE)
            try:
                ex.delist(gone)
                with pytest.raises(AtsSyncError):
                    dm.get_klines(gone, "1h", 10, max_age=0)
                until(lambda: gone in {feed.symbol for feed in dm.status().feeds if feed.state is FeedState.GONE})
                dm.initialize([new], ["1h"], timeout=PATIENCE)
                assert len(dm.get_klines(new, "1h", 10)) == 10
                dm.close()
                caplog.clear()
                dm.start(timeout=PATIENCE)
                assert f"{gone}: no longer trading" in caplog.text
                assert len(dm.get_klines(stays, "1h", 10)) == 10
                with pytest.raises(InvalidSymbol):
                    dm.get_klines(gone, "1h", 10)
                dm.unwatch([gone])
                assert gone not in dm.symbols
            finally:
                dm.close()

    def test_unwatch_works_whether_the_manager_runs_or_not(self, exchange: SimulatedExchange) -> None:
        dm = DataManager(["BTCUSDT", "ETHUSDT"], ["1h"], config=exchange.config())
        dm.unwatch(["ETHUSDT"])
        assert dm.symbols == ("BTCUSDT",)
        dm.start(timeout=PATIENCE)
        dm.close()
        dm.unwatch(["BTCUSDT"])
        assert dm.symbols == ()

    def test_waiting_needs_a_start(self, exchange: SimulatedExchange) -> None:
        dm = DataManager(["BTCUSDT"], ["1h"], config=exchange.config())
        with pytest.raises(NotRunning):
            dm.wait_ready(timeout=1.0)
        with dm:
            assert dm.wait_ready(timeout=1.0) is dm
