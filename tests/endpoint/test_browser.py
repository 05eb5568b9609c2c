"""The page in a real browser: Debian's Chromium (or Chrome) with its own driver, headless."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from ats_sync import DataManager
from ats_sync.endpoint import Endpoint
from ats_sync.simulator import SimulatedExchange

from ..shared.conftest import started
from ..support import until
from .test_reasons import shown_reasons

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.shared_threads,
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="neither chromium nor chromedriver is installed"),
]

SYMBOLS = 80
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--window-size=1400,1000",
)
NO_LIMIT = 10**6
BANNER = """
    const banner = document.getElementById("banner"), words = document.getElementById("words");
    const text = (id) => document.getElementById(id).textContent;
    return {name: banner.dataset.state, state: text("state"), verdict: text("verdict"), reason: text("reason"),
            title: document.title, live: words.getAttribute("aria-live"),
            colour: getComputedStyle(banner).backgroundColor};
"""
ENGLISH = re.compile(r"(?<!python -m ats_sync )\b(?!klines\b|fapi\b|redis\b|ats_sync\b|python -m)[a-z]{3,}\b")
"""A word of a sentence, apart from what a reason is filled with and from a command."""
GREEN, RED = "rgb(11, 122, 67)", "rgb(179, 32, 31)"


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    limits = {"weight_limit": NO_LIMIT, "spot_weight_limit": NO_LIMIT, "oi_limit": NO_LIMIT}
    with SimulatedExchange(SYMBOLS, seed=5, activity=0.02, **limits) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def manager(exchange: SimulatedExchange) -> Iterator[DataManager]:
    config = exchange.config(
        futures_weight_limit=NO_LIMIT, spot_weight_limit=NO_LIMIT, warmup_klines=40, max_klines=40, max_trades=20
    )
    with DataManager(exchange.symbols, ["1h"], config=config) as manager:
        yield manager


@pytest.fixture(scope="module")
def endpoint(manager: DataManager) -> Iterator[Endpoint]:
    with Endpoint(manager, port=0) as endpoint:
        yield endpoint


class Browser:
    """One tab, which is reloaded only where a test says so."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._requests: list[str] = []

    def open(self, url: str) -> None:
        self._driver.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        return self._driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        return self._driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def texts(self, selector: str) -> list[str]:
        script = "return Array.from(document.querySelectorAll(arguments[0]), (each) => each.textContent)"
        return list(self.run(script, selector))

    def symbols(self) -> list[str]:
        """Return the names of the rows in their order."""
        script = "return Array.from(document.querySelectorAll('#rows tr th'), (each) => each.childNodes[1].data)"
        return list(self.run(script))

    def until_state(self, state: str) -> dict[str, str]:
        """Wait until the page shows a state; return what the banner then says, all at one moment."""

        def banner() -> dict[str, str] | None:
            shown: dict[str, str] = self.run(BANNER)
            return shown if shown["name"] == state else None

        return until(banner, what=f"the page shows {state}")  # type: ignore[no-any-return]

    def emulate(self, command: str, **arguments: Any) -> None:
        self._driver.execute_cdp_cmd(f"Emulation.{command}", arguments)

    def language(self, language: str) -> None:
        agent = self.run("return navigator.userAgent")
        self.emulate("setUserAgentOverride", userAgent=agent, acceptLanguage=language)

    def errors(self) -> list[str]:
        """Return what the console has shown since the last call."""
        return [each["message"] for each in self._driver.get_log("browser") if each["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Return the addresses of all requests so far."""
        for each in self._driver.get_log("performance"):
            message = json.loads(each["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                params = message["params"]
                self._requests.append(params["request"]["url"] if "request" in params else params["url"])
        return self._requests


@pytest.fixture(scope="module")
def webdriver() -> Any:
    """Load the package where it is used: each process of the suite collects this file."""
    return pytest.importorskip("selenium.webdriver", reason="selenium is not installed")


@pytest.fixture(scope="module")
def keys(webdriver: Any) -> Any:
    """The names of keys."""
    return webdriver.Keys


@pytest.fixture(scope="module")
def browser(webdriver: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # What the browser briefly leaves behind is not this test's fault.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        patch.setenv("no_proxy", "*")
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER, env=environment))
        try:
            yield Browser(driver)
        finally:
            driver.quit()


@pytest.fixture
def page(browser: Browser, endpoint: Endpoint) -> Browser:
    """The page, in English, live."""
    if not browser.run("return location.href").startswith(endpoint.url):
        browser.language("en-US")
        browser.open(endpoint.url + "/")
    browser.until_state("live")
    return browser


def test_it_says_in_large_letters_that_the_data_may_be_traded_on(page: Browser, manager: DataManager) -> None:
    banner = page.until_state("live")
    assert banner["state"] == "LIVE"
    assert "You may trade" in banner["verdict"]
    assert banner["title"].startswith("LIVE")
    assert banner["live"] == "polite"
    assert float(page.run("return getComputedStyle(document.getElementById('state')).fontSize").strip("px")) > 30
    assert len(page.texts("#connections .connection")) == len(manager.status().connections)
    assert "Candles" in page.texts("#kinds .kind span")
    assert len(page.texts("#causes dt")) == 6
    assert len(page.texts("#weights .bar")) == 2
    assert page.symbols() == list(manager.symbols)
    until(lambda: page.run("return document.querySelector('#rows polyline').getAttribute('points')"), what="closes")
    assert page.errors() == []


def test_prices_change_without_new_rows(page: Browser) -> None:
    page.run("window.kept = document.querySelector('#rows tr')")
    before = page.texts("#rows td:nth-child(2)")
    until(lambda: page.texts("#rows td:nth-child(2)") != before, what="prices that change")
    assert page.run("return window.kept === document.querySelector('#rows tr')")
    assert page.run("return document.querySelectorAll('*').length") < 20 * SYMBOLS


def test_symbols_are_sorted_searched_and_scrolled_by_keyboard(page: Browser, manager: DataManager, keys: Any) -> None:
    button = page.find("[data-sort=symbol]")
    button.send_keys(keys.ENTER)
    assert page.symbols() == sorted(manager.symbols)
    assert page.find("th:has([data-sort=symbol])").get_attribute("aria-sort") == "ascending"
    button.send_keys(keys.SPACE)
    assert page.symbols() == sorted(manager.symbols, reverse=True)
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.find("[data-sort=change]").send_keys(keys.ENTER)
    assert page.run("return document.querySelectorAll('[aria-sort]').length") == 1

    def falls() -> bool:
        changes = page.run("return order.map((row) => row.change)")
        return len(changes) == SYMBOLS and changes == sorted(changes, reverse=True)

    until(falls, what="the largest change first")

    page.find("#search").send_keys("btcu")
    until(lambda: page.symbols() == ["BTCUSDT"], what="what was searched")
    assert page.text("#shown") == f"1 of {SYMBOLS}"
    page.find("#search").send_keys("x")
    until(lambda: page.find("#none").is_displayed(), what="that nothing was found")
    page.find("#search").send_keys(keys.ESCAPE)
    until(lambda: len(page.symbols()) == SYMBOLS, what="all symbols")

    page.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    page.find("body").send_keys(keys.END)
    until(lambda: page.run("return scrollY + innerHeight >= document.documentElement.scrollHeight - 2"), what="the end")
    place = "return document.querySelector(arguments[0]).getBoundingClientRect().top"
    assert page.run(place, "#banner") == 0, "the state stays in sight"
    assert abs(page.run(place, "thead th") - page.run("return document.getElementById('banner').offsetHeight")) < 2
    page.run("window.scrollTo(0, 0)")


def test_a_cut_turns_it_red_and_the_recovery_green(page: Browser, exchange: SimulatedExchange) -> None:
    exchange.refuse(1.5, "streams")
    exchange.cut(how="reset")
    red = page.until_state("degraded")
    assert red["state"] == "DEGRADED"
    assert "Do not trade" in red["verdict"]
    assert red["reason"]
    assert red["live"] == "assertive"
    until(lambda: page.until_state("degraded")["colour"] == RED or page.until_state("live"), what="red")
    page.until_state("live")
    until(lambda: page.until_state("live")["colour"] == GREEN, what="green")
    events = page.texts("#events li b")
    assert events.index("Live") < events.index("Degraded")
    assert [each for each in events if each.endswith(" lost")]
    assert page.errors() == []


def test_it_suits_a_phone_and_dark_mode(page: Browser) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    assert min(page.run(paper)) > 200
    page.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.emulate("setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    try:
        assert max(page.run(paper)) < 60
        assert page.run("return document.documentElement.scrollWidth") == 360
        assert page.run("return document.getElementById('banner').offsetHeight") < 250
    finally:
        page.emulate("clearDeviceMetricsOverride")
        page.emulate("setEmulatedMedia", features=[])


def test_it_speaks_chinese_where_the_browser_does(page: Browser, endpoint: Endpoint) -> None:
    page.language("zh-CN")
    try:
        page.open(endpoint.url + "/")
        banner = page.until_state("live")
        assert page.run("return document.documentElement.lang") == "zh-CN"
        assert banner["state"] == "实时"
        assert "可以据此交易" in banner["verdict"]
        assert "K 线" in page.texts("#kinds .kind span")
        assert "恢复实时" in page.texts("#events li b")
        assert not [each for each in page.texts("h2 span, thead th, #causes dt") if each.isascii() and len(each) > 4]
        given = shown_reasons()
        shown = page.run("return arguments[0].map(reason)", given)
        english = {reason: words for reason, words in zip(given, shown, strict=True) if ENGLISH.search(words)}
        assert english == {}
    finally:
        page.language("en-US")
        page.open(endpoint.url + "/")
    assert page.errors() == []


def test_the_data_of_a_stopped_endpoint_is_shown_as_old_until_it_comes_back(
    page: Browser, endpoint: Endpoint, manager: DataManager
) -> None:
    first = Endpoint(manager, port=0).start()
    port = int(first.url.rpartition(":")[2])
    try:
        page.open(first.url + "/")
        page.until_state("live")
        first.close()
        old = page.until_state("old")
        assert old["state"] == "OLD DATA"
        assert "do not trade" in old["verdict"]
        assert old["reason"] == "The endpoint cannot be reached."
        assert old["live"] == "assertive"
        assert page.run("return document.getElementById('main').classList.contains('old')")
        with Endpoint(manager, port=port):
            page.until_state("live")
            assert len(page.texts("#rows tr")) == SYMBOLS
            page.open(endpoint.url + "/")
    finally:
        first.close()
    assert [each for each in page.errors() if "ERR_" not in each] == []


def test_the_token_is_prompted_for_and_stays_out_of_addresses(page: Browser, manager: DataManager, keys: Any) -> None:
    with Endpoint(manager, port=0, token="a long secret") as guarded:
        page.open(guarded.url + "/")
        until(lambda: page.find("#ask").is_displayed(), what="the question")
        assert not page.find("#main").is_displayed()
        for written in ("a wrong secret", "a long secret"):
            page.find("#token").send_keys(written, keys.ENTER)
            if written != "a long secret":
                until(lambda: page.text("#refused"), what="the refusal")
        page.until_state("live")
        assert not page.find("#ask").is_displayed()
        page.open(guarded.url + "/")  # it is kept for this tab
        page.until_state("live")
        assert not [each for each in page.requests() if "secret" in each]
        page.open("about:blank")
    assert [each for each in page.errors() if "401" not in each] == []


def test_a_reader_shows_who_writes_and_stands_by_and_how_many_read(page: Browser, exchange: SimulatedExchange) -> None:
    with started("valkey") as store:
        config, symbols = exchange.config(shared=store.url), exchange.symbols[:2]
        collects = replace(config, role="collector")
        with (
            DataManager(symbols, ["1h"], config=collects),
            DataManager(symbols, ["1h"], config=collects),
            DataManager(symbols, ["1h"], config=config) as reader,
            Endpoint(reader, port=0) as endpoint,
        ):
            standby = f"{socket.gethostname()}:{os.getpid()}"
            for language, users in (
                ("en-US", f"Standbys: {standby} · readers: 1 · memory: "),
                ("zh-CN", f"备用：{standby} · 读取进程：1 · 内存："),
            ):
                page.language(language)
                page.open(endpoint.url + "/")
                until(lambda users=users: page.text("#users").startswith(users), what=f"{users} in the page")  # type: ignore[misc]
                assert standby in page.text("#shared")
            store.kill()
            until(lambda: "REST" in page.text("#shared"), what="the store has gone")
            reader.get_klines(symbols[0], "1h", 5)
            until(lambda: "单独计算" in page.text("#users"), what="alone with its requests")
    page.language("en-US")
    page.errors()  # of the connection that was lost


def test_nothing_was_requested_from_another_host(page: Browser) -> None:
    asked = [urlsplit(each) for each in page.requests()]
    hosts = {each.hostname for each in asked if each.scheme in ("http", "https", "ws", "wss")}
    assert hosts == {"127.0.0.1"}
