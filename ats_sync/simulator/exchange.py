"""The embedded exchange as a program uses it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from .child import ChildHost
from .clock import Start, start_ms
from .control_client import ControlClient
from .controls import Controls
from .errors import ApiError, SimulatorError
from .settings import Settings
from .stats import RequestRecord, SimulatorStats

if TYPE_CHECKING:
    from ats_sync.config import Config

    from .serving import ThreadHost


_DEATH_PATIENCE = 1.0


class SimulatedExchange(Controls):
    """An exchange on this machine's loopback: REST and WebSocket of Binance USDⓈ-M futures and of its spot market.

    ::

        with SimulatedExchange(symbols=200, seed=7) as ex:
            dm = DataManager(symbols=ex.symbols, config=ex.config())

    It runs from construction to :meth:`close`, in a child process (or, ``in_thread``, in a thread of this one: only for
    small tests, since it then competes for this interpreter). Its clock is its own, its trades follow from ``seed``.

    ``symbols``: how many, or their names. ``start``: exchange time at the beginning: None is this machine's time, an
    int ms since the epoch, a datetime (without a zone: UTC); see :func:`before_midnight`. ``tls``:
    https and wss with a certificate of an authority in ``ca_file``. ``latency``: seconds added to each REST answer.
    ``activity`` scales the number of trades. ``limits``: any other field of :class:`Settings`.

    Raises :class:`SimulatorError` when it does not start; ValueError and TypeError for bad settings.
    """

    fapi_url: str
    spot_url: str
    fstream_url: str
    spot_stream_url: str
    ca_file: str | None
    """PEM file of the authority to trust, with ``tls``."""
    symbols: tuple[str, ...]
    """Those that traded at the beginning."""

    def __init__(
        self,
        symbols: int | Sequence[str] = 200,
        *,
        seed: int = 7,
        start: Start = None,
        tls: bool = False,
        latency: float = 0.0,
        activity: float = 1.0,
        in_thread: bool = False,
        **limits: Any,
    ) -> None:
        if isinstance(symbols, str):
            raise TypeError("symbols must be a number or a sequence of names, not one text")
        settings = Settings(
            symbols=symbols if isinstance(symbols, int) else tuple(symbols),
            seed=seed,
            tls=tls,
            latency=latency,
            activity=activity,
            **limits,
        )
        if start is not None:
            settings = replace(settings, start=start_ms(start))
        self.settings = settings
        self._closed = False
        self._host = _start(settings, in_thread)
        told = self._host.told
        self._control = ControlClient(told["control"], self._host.token)
        urls = told["urls"]
        self.fapi_url = urls["fapi"]
        self.spot_url = urls["spot"]
        self.fstream_url = urls["fstream"]
        self.spot_stream_url = urls["spot_stream"]
        self.ca_file = told["ca_file"]
        self.symbols = tuple(told["symbols"])

    # -- life

    def __enter__(self) -> SimulatedExchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; leaves no process, thread, socket or file. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._host.stop(self._ask_to_stop)
        self._control.close()

    def _ask_to_stop(self) -> None:
        try:
            self._control.call("stop", {}, timeout=1.0)
        except SimulatorError:
            # It is ending or stuck; the host sees to both.
            return

    @property
    def pid(self) -> int:
        """The process it runs in."""
        return self._host.pid

    def wait(self) -> None:
        """Block until it ends by itself, which is an error: :class:`SimulatorError`."""
        self._host.wait()
        if not self._closed:
            raise SimulatorError(f"the simulated exchange has ended: {self._host.failure()}")

    def _call(self, command: str, /, **arguments: Any) -> Any:
        timeout = 60.0 + float(arguments.get("seconds") or 0.0) * (command == "flood")
        try:
            return self._control.call(command, arguments, timeout)
        except SimulatorError as error:
            # A broken connection may be noticed before the end of the process behind it.
            broken = isinstance(error.__cause__, ConnectionError)
            failure = None if self._closed else self._host.failure(_DEATH_PATIENCE if broken else 0.0)
            if failure is not None:
                raise SimulatorError(f"the simulated exchange has ended: {failure}") from error
            raise

    # -- clients

    def config(self, **overrides: Any) -> Config:
        """An ``ats_sync.Config`` that points at this exchange, without the environment's proxies."""
        from ats_sync.config import Config

        options: dict[str, Any] = {
            "fapi_base": self.fapi_url,
            "spot_base": self.spot_url,
            "fstream_base": self.fstream_url,
            "spot_stream_base": self.spot_stream_url,
            "ca_file": self.ca_file,
            "proxies": {},
        }
        return Config(**(options | overrides))

    def environment(self) -> dict[str, str]:
        """The environment that points a child program at this exchange."""
        return {
            "BINANCE_FAPI_BASE": self.fapi_url,
            "BINANCE_SPOT_BASE": self.spot_url,
            "BINANCE_FSTREAM_BASE": self.fstream_url,
            "BINANCE_SPOT_STREAM_BASE": self.spot_stream_url,
        }

    # -- seeing

    def now(self) -> int:
        """Exchange time, ms."""
        return int(self._call("now"))

    def trading(self) -> tuple[str, ...]:
        """The symbols that trade at this moment."""
        return tuple(self._call("symbols"))

    def stats(self) -> SimulatorStats:
        """Everything counted since the start."""
        return SimulatorStats.from_json(self._call("stats"))

    def request_log(self, since: int = 0, most: int = 100_000) -> list[RequestRecord]:
        """REST requests that arrived at exchange time ``since`` or later, oldest first: the newest ``most``."""
        return [RequestRecord(*item) for item in self._call("request_log", since=since, most=most)]

    def subscriptions(self, connection: int) -> list[str] | None:
        """The streams of one open connection (its number is in :meth:`stats`); None when it is gone."""
        found: list[str] | None = self._call("subscriptions", number=connection)
        return found

    def rest(self, path: str, **params: Any) -> Any:
        """What REST would answer at this moment: the truth, with no weight, fault, latency or log.

        Raises :class:`ApiError` where the exchange would answer with an error body.
        """
        plain = {name: str(value) for name, value in params.items() if value is not None}
        told = self._call("rest", path=path, params=plain)
        if "error" in told:
            raise ApiError(*told["error"])
        return told["value"]


def _start(settings: Settings, in_thread: bool) -> ChildHost | ThreadHost:
    if not in_thread:
        return ChildHost(settings)
    # The server's packages are loaded only into the process that serves.
    from .serving import ThreadHost

    return ThreadHost(settings)


def serve_forever(
    *, port: int = 0, out: TextIO | None = None, symbols: int | Sequence[str] = 200, **options: Any
) -> None:
    """Run an exchange until Ctrl-C, telling its URLs and the environment to export on ``out`` (stdout).

    ``port`` is that of futures REST; the three after it are spot REST, futures streams and spot streams. 0: any free
    ones. ``options`` as for :class:`SimulatedExchange`. Returns after Ctrl-C; :class:`SimulatorError` if it ends by
    itself.
    """
    out = sys.stdout if out is None else out
    if not 0 <= port <= 65532:
        raise ValueError(f"port must be 0 to 65532, not {port}")
    if port:
        options["ports"] = (port, port + 1, port + 2, port + 3)
    try:
        with SimulatedExchange(symbols, **options) as exchange:
            out.write(
                f"futures REST     {exchange.fapi_url}\n"
                f"spot REST        {exchange.spot_url}\n"
                f"futures streams  {exchange.fstream_url}\n"
                f"spot streams     {exchange.spot_stream_url}\n"
            )
            if exchange.ca_file is not None:
                out.write(f"authority        {exchange.ca_file}\n")
            out.write("\n")
            out.writelines(f"export {name}={value}\n" for name, value in exchange.environment().items())
            out.write("\nCtrl-C ends it.\n")
            out.flush()
            exchange.wait()
    except KeyboardInterrupt:
        return
