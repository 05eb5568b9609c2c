"""The simulated exchange as a program uses it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from .child import ChildHost
from .clock import Start, start_ms
from .control_client import ControlClient
from .controls import Control, Controls
from .controls.exchange import rest as answer_rest
from .controls.exchange import stop
from .errors import SimulatorError
from .settings import Settings

if TYPE_CHECKING:
    from ats_sync.config import Config

    from .serving import ThreadHost


_CALL_TIMEOUT = 60.0
_DEATH_PATIENCE = 1.0


class SimulatedExchange(Controls):
    """An exchange on this machine's loopback: REST and WebSocket of Binance USDⓈ-M futures and of its spot market.

    ::

        with SimulatedExchange(symbols=200, seed=7) as ex:
            dm = DataManager(symbols=ex.symbols, config=ex.config())

    It runs from construction to :meth:`close`, in a child process (or, with ``in_thread``, in a thread of this process:
    only for small tests, since it then competes for this interpreter). It has its own clock; its trades follow from
    ``seed``.

    ``symbols``: how many, or their names. ``start``: exchange time at the beginning: None is this machine's time, an
    int is ms since the epoch, a datetime without a zone is UTC; see :func:`before_midnight`. ``tls``:
    https and wss with a certificate of the authority in ``ca_file``. ``latency``: seconds added to each REST answer.
    ``activity`` scales the number of trades. ``limits``: any other field of :class:`Settings`.

    Raises :class:`SimulatorError` if it does not start; ValueError and TypeError for bad settings.
    """

    fapi_url: str
    spot_url: str
    fstream_url: str
    spot_stream_url: str
    control_url: str
    """The base URL of the controls: ``POST <control_url>/<name>`` runs one; ``GET <control_url>`` lists them."""
    control_token: str
    """The token that requests to it must carry: ``Authorization: Bearer <token>``."""
    ca_file: str | None
    """PEM file of the authority to trust, with ``tls``."""
    symbols: tuple[str, ...]
    """The symbols that traded at the beginning."""

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
            raise TypeError("symbols must be a number or a sequence of names, not a single string")
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
        addresses = self._host.addresses
        self.control_url = addresses["control"]
        self.control_token = self._host.token
        self._control = ControlClient(self.control_url, self.control_token)
        urls = addresses["urls"]
        self.fapi_url = urls["fapi"]
        self.spot_url = urls["spot"]
        self.fstream_url = urls["fstream"]
        self.spot_stream_url = urls["spot_stream"]
        self.ca_file = addresses["ca_file"]
        self.symbols = tuple(addresses["symbols"])

    # -- life

    def __enter__(self) -> SimulatedExchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the exchange; no process, thread, socket or file is left. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._host.stop(self._request_stop)
        self._control.close()

    def _request_stop(self) -> None:
        try:
            self._control.call(stop.name, {}, timeout=1.0)
        except SimulatorError:
            # The server is ending or stuck; the host deals with both.
            return

    @property
    def pid(self) -> int:
        """The id of the process it runs in."""
        return self._host.pid

    def wait(self) -> None:
        """Block until it ends by itself, which is an error: :class:`SimulatorError`."""
        self._host.wait()
        if not self._closed:
            raise SimulatorError(f"the simulated exchange has ended: {self._host.failure()}")

    def call(self, control: Control[Any, Any], arguments: dict[str, Any]) -> Any:
        """Carry out a control in the server; return its result as decoded from JSON."""
        timeout = _CALL_TIMEOUT + (float(arguments.get("seconds") or 0.0) if control.blocks else 0.0)
        try:
            return self._control.call(control.name, arguments, timeout)
        except SimulatorError as error:
            # A broken connection may be noticed before the end of the process behind it.
            broken = isinstance(error.__cause__, ConnectionError)
            failure = None if self._closed else self._host.failure(_DEATH_PATIENCE if broken else 0.0)
            if failure is not None:
                raise SimulatorError(f"the simulated exchange has ended: {failure}") from error
            raise

    # -- clients

    def config(self, **overrides: Any) -> Config:
        """Return an ``ats_sync.Config`` that points at this exchange, without the environment's proxies."""
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
        """Return the environment that points a child program at this exchange."""
        return {
            "BINANCE_FAPI_BASE": self.fapi_url,
            "BINANCE_SPOT_BASE": self.spot_url,
            "BINANCE_FSTREAM_BASE": self.fstream_url,
            "BINANCE_SPOT_STREAM_BASE": self.spot_stream_url,
        }

    def rest(self, path: str, **params: Any) -> Any:
        """Return what REST would answer at this moment: the truth, without weight, fault, latency or log.

        Raises :class:`ApiError` if the exchange would answer with an error body.
        """
        return answer_rest(self, path, params)


def _start(settings: Settings, in_thread: bool) -> ChildHost | ThreadHost:
    if not in_thread:
        return ChildHost(settings)
    # The server's packages are imported only in the process that serves.
    from .serving import ThreadHost

    return ThreadHost(settings)


def serve_forever(
    *, port: int = 0, out: TextIO | None = None, symbols: int | Sequence[str] = 200, **options: Any
) -> None:
    """Run an exchange until Ctrl-C; write its URLs and the environment to export to ``out`` (stdout).

    ``port`` is that of futures REST; the next four are spot REST, futures streams, spot streams and the controls.
    0: any free ports. ``options`` as for :class:`SimulatedExchange`. Returns after Ctrl-C; :class:`SimulatorError` if
    it ends by itself.
    """
    out = sys.stdout if out is None else out
    if not 0 <= port <= 65531:
        raise ValueError(f"port must be 0 to 65531, not {port}")
    if port:
        options["ports"] = (port, port + 1, port + 2, port + 3)
        options["control_port"] = port + 4
    try:
        with SimulatedExchange(symbols, **options) as exchange:
            out.write(
                f"futures REST     {exchange.fapi_url}\n"
                f"spot REST        {exchange.spot_url}\n"
                f"futures streams  {exchange.fstream_url}\n"
                f"spot streams     {exchange.spot_stream_url}\n"
                f"controls         {exchange.control_url}\n"
            )
            if exchange.ca_file is not None:
                out.write(f"authority        {exchange.ca_file}\n")
            out.write("\n")
            out.writelines(f"export {name}={value}\n" for name, value in exchange.environment().items())
            out.write(
                f"export SIMULATOR_CONTROL={exchange.control_url}\nexport SIMULATOR_TOKEN={exchange.control_token}\n"
            )
            out.write("\nCtrl-C ends it.\n")
            out.flush()
            exchange.wait()
    except KeyboardInterrupt:
        return
