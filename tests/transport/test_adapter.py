"""REST through a proxy, and a check that requests keeps the scoped connections."""

from __future__ import annotations

import base64
import re
import socket
from typing import Any

import pytest

from ats_sync.errors import ConfigError, ConnectionFailed, RequestTimeout
from ats_sync.transport.adapter import ScopedHTTPConnection, ScopedHTTPSConnection, as_proxies, proxy_for
from ats_sync.transport.rest import RestClient


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


class TestProxyFor:
    @pytest.mark.parametrize(
        ("url", "proxy"),
        [
            ("http://h/x", "http://plain:1"),
            ("ws://h/x", "http://plain:1"),
            ("https://h/x", "http://secure:2"),
            ("wss://h:9443/x", "http://secure:2"),
        ],
    )
    @pytest.mark.parametrize("source", ["config", "environment"])
    def test_by_scheme(self, kit: Any, no_environment: pytest.MonkeyPatch, url: str, proxy: str, source: str) -> None:
        proxies = {"http": "http://plain:1", "https": "secure:2"}
        if source == "environment":
            no_environment.setenv("HTTP_PROXY", proxies["http"])
            no_environment.setenv("HTTPS_PROXY", proxies["https"])
        assert proxy_for(url, kit.config(proxies=proxies if source == "config" else None)) == proxy

    def test_no_proxy(self, kit: Any, no_environment: pytest.MonkeyPatch) -> None:
        no_environment.setenv("HTTPS_PROXY", "http://secure:2")
        no_environment.setenv("NO_PROXY", "binance.com")
        assert proxy_for("wss://fstream.binance.com", kit.config(proxies=None)) is None
        assert proxy_for("wss://elsewhere.example", kit.config(proxies=None)) == "http://secure:2"

    def test_an_empty_mapping_means_none(self, kit: Any, no_environment: pytest.MonkeyPatch) -> None:
        no_environment.setenv("ALL_PROXY", "http://all:3")
        assert proxy_for("https://h", kit.config(proxies={})) is None
        assert proxy_for("https://h", kit.config(proxies=None)) == "http://all:3"

    @pytest.mark.parametrize("proxy", ["socks5://h:1", "ftp://h", "http://"])
    def test_a_proxy_that_is_not_http_is_a_config_error(self, kit: Any, proxy: str) -> None:
        with pytest.raises(ConfigError, match="proxy"):
            proxy_for("https://h", kit.config(proxies={"https": proxy}))

    def test_a_password_is_not_shown(self, kit: Any) -> None:
        with pytest.raises(ConfigError) as caught:
            proxy_for("https://h", kit.config(proxies={"https": "socks5://user:secret@h:1"}))
        assert "secret" not in str(caught.value)


def origin(kit: Any, secure: bool) -> Any:
    def script(sock: Any, server: Any) -> None:
        while True:
            server.received.append(kit.read_head(sock))
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    return kit.serve(script, kit.server_context() if secure else None)


def proxy(kit: Any, *, secure: bool) -> Any:
    """Forward a request, or make a tunnel."""

    def script(sock: Any, server: Any) -> None:
        head = kit.read_head(sock)
        server.received.append(head)
        if head.startswith(b"GET http://"):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
            return
        port = int(re.match(rb"CONNECT [^:]+:(\d+) ", head)[1])  # type: ignore[index]
        with socket.create_connection(("127.0.0.1", port), kit.patience) as upstream:
            sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            sock.settimeout(0.05)
            upstream.settimeout(0.05)
            while not server.finish.is_set():
                for source, sink in ((sock, upstream), (upstream, sock)):
                    try:
                        data = source.recv(65536)
                    except TimeoutError:
                        continue
                    if not data:
                        return
                    sink.sendall(data)

    return kit.serve(script, kit.server_context() if secure else None)


@pytest.mark.parametrize("secure_proxy", [False, True], ids=["http proxy", "https proxy"])
class TestRestByProxy:
    def client(self, kit: Any, server: Any, secure_proxy: bool) -> RestClient:
        url = f"{'https' if secure_proxy else 'http'}://user:p%40ss@localhost:{server.port}"
        return RestClient(kit.config(proxies={"http": url, "https": url}), kit.clock)

    def test_http_is_forwarded(self, kit: Any, secure_proxy: bool) -> None:
        server = proxy(kit, secure=secure_proxy)
        client = self.client(kit, server, secure_proxy)
        assert client.get("http://origin.invalid/fapi/v1/time", timeout=kit.patience).body == b"[]"
        client.close()
        assert server.received[0].startswith(b"GET http://origin.invalid/fapi/v1/time HTTP/1.1")
        assert base64.b64encode(b"user:p@ss") in server.received[0]

    def test_https_goes_through_a_tunnel_and_is_verified_at_its_end(self, kit: Any, secure_proxy: bool) -> None:
        server, target = proxy(kit, secure=secure_proxy), origin(kit, True)
        client = self.client(kit, server, secure_proxy)
        for _ in range(2):
            answer = client.get(f"https://localhost:{target.port}/fapi/v1/time", timeout=kit.patience)
            assert answer.body == b"{}"
        client.close()
        assert server.connections == 1
        assert server.received[0].startswith(b"CONNECT localhost:%d HTTP/1." % target.port)
        assert base64.b64encode(b"user:p@ss") in server.received[0]
        assert b"Authorization" not in target.received[0]

    def test_a_wrong_certificate_behind_the_tunnel(self, kit: Any, secure_proxy: bool) -> None:
        server = proxy(kit, secure=secure_proxy)
        target = kit.serve(lambda sock, server: None, kit.server_context("other.example"))
        client = self.client(kit, server, secure_proxy)
        with pytest.raises(ConnectionFailed, match=r"(?i)certificate"):
            client.get(f"https://localhost:{target.port}/", timeout=kit.patience)
        client.close()

    def test_a_tunnel_that_hangs_is_ended_by_the_timeout_and_by_shutdown(self, kit: Any, secure_proxy: bool) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.read_head(sock)
            server.reached.set()
            server.finish.wait(kit.patience)

        server = kit.serve(script, kit.server_context() if secure_proxy else None)
        client = self.client(kit, server, secure_proxy)
        with pytest.raises(RequestTimeout):
            client.get("https://origin.invalid/", timeout=0.3)
        server.reached.clear()
        call = kit.Background(lambda: client.get("https://origin.invalid/", timeout=600))
        assert server.reached.wait(kit.patience)
        client.scope.shutdown()
        with pytest.raises(ConnectionFailed, match="shut down"):
            call.result()
        client.close()


def test_a_proxy_that_refuses(kit: Any) -> None:
    server = kit.serve(lambda sock, server: (kit.read_head(sock), sock.sendall(b"HTTP/1.1 407 Pay first\r\n\r\n")))
    client = RestClient(kit.config(proxies={"https": f"http://localhost:{server.port}"}), kit.clock)
    with pytest.raises(ConnectionFailed, match="407"):
        client.get("https://origin.invalid/", timeout=kit.patience)
    client.close()


def test_requests_opens_scoped_connections_and_keeps_their_class(kit: Any) -> None:
    client = RestClient(kit.config(), kit.clock)
    for scheme, kind in (("http", ScopedHTTPConnection), ("https", ScopedHTTPSConnection)):
        pools = client._session.get_adapter(f"{scheme}://h").poolmanager  # type: ignore[attr-defined]
        connection = pools.connection_from_host("h", 1, scheme=scheme)._new_conn()
        assert isinstance(connection, kind)
        assert connection.scope is client.scope
    client.close()


def test_as_proxies() -> None:
    assert as_proxies(None) == {}
    assert as_proxies("http://p:1") == {"all": "http://p:1"}
