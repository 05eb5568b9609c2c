"""Guards of speed that count instead of measuring time, so that they hold on any machine, however busy."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import pytest

import ats_sync
from ats_sync import Config, DataManager
from ats_sync.engine import connections, silence
from ats_sync.engine.liveness import SilentStreamDetector
from ats_sync.engine.moment import Moment
from ats_sync.feeds import Key
from ats_sync.simulator import SimulatedExchange
from ats_sync.store.book import BookSeries
from ats_sync.store.klines import KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.series import Origin
from ats_sync.venue.klines import kline_texts, string_rows

from .engine.bench import TURN, Bench
from .support import reads, until
from .venue import samples
from .venue.samples import HOUR, MIDNIGHT, MINUTE

OURS = Path(ats_sync.__file__).parent
SYMBOLS = ("BTCUSDT", "ETHUSDT")
LINK = Link(1, "market", 0.0)


class CountingLock:
    """A lock that counts how often it is taken."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.taken = 0

    def __enter__(self) -> None:
        self.taken += 1
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def locked(self) -> bool:
        held: bool = self._lock.locked()
        return held


class Decodes:
    """Counts how often JSON is parsed."""

    def __init__(self) -> None:
        self.count = 0
        self._honest = orjson.loads

    def loads(self, text: Any) -> Any:
        self.count += 1
        return self._honest(text)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Decodes:
    counter = Decodes()
    monkeypatch.setattr(orjson, "loads", counter.loads)
    return counter


@pytest.fixture
def store() -> MarketStore:
    made = MarketStore(Config(max_trades=100), now=lambda: 0.0)
    made.follow(keys_of(SYMBOLS, ("1m",), ("1h",)))
    for symbol in SYMBOLS:
        warm(made.klines(symbol, "1m"))
    return made


def warm(series: KlineSeries, rows: int = 400) -> None:
    texts = [samples.row_text(samples.row(MIDNIGHT + (i - rows) * MINUTE)) for i in range(rows + 1)]
    series.replace(texts, Origin(MIDNIGHT + 1_000, rows + 1))


def traffic(rounds: int, first: int = 0) -> Iterator[list[bytes]]:
    """Yield what a market sends while a candle is open: frames of the same few streams again and again."""
    for number in range(first, first + rounds):
        frames = []
        for symbol in SYMBOLS:
            row = samples.row(MIDNIGHT, trades=number + 1)
            frames.append(samples.kline_frame(row, symbol=symbol, event=MIDNIGHT + number))
            frames.append(samples.book_frame(10 * number, symbol=symbol, event=MIDNIGHT + number))
            frames.append(samples.trade_frame(number, symbol=symbol, at=MIDNIGHT + number))
        yield frames


def test_frames_that_are_superseded_are_never_decoded(store: MarketStore, decodes: Decodes) -> None:
    count = 0
    for frames in list(traffic(50)):
        store.ingest(frames, LINK)
        count += len(frames)
    assert store.dropped() == {}
    assert LINK.frames >= count
    assert decodes.count == 0
    store.book("BTCUSDT").read()
    assert decodes.count == 1, "one book was read, so one was decoded"
    store.book("BTCUSDT").read()
    assert decodes.count == 1, "and only once"


def test_what_is_read_again_is_not_decoded_again(store: MarketStore, decodes: Decodes) -> None:
    for frames in list(traffic(50)):
        store.ingest(frames, LINK)
    series, ring = store.klines("BTCUSDT", "1m"), store.trades("BTCUSDT")

    def read_all() -> None:
        series.rows(300, MIDNIGHT + 1_000, exact=False)
        ring.columns(40)

    read_all()
    read_all()
    decodes.count = 0
    for _ in range(10):
        read_all()
    assert decodes.count == 0
    before = decodes.count
    store.ingest(next(traffic(1, first=50)), LINK)
    read_all()
    assert decodes.count - before <= 3, "the open candle, and the one new trade"
    decodes.count = 0
    series.rows(300, MIDNIGHT + 1_000, exact=True)
    assert decodes.count == 1, "exact strings are decoded at each read, all at once"


def test_a_first_read_decodes_once_and_remembers_nothing(store: MarketStore, decodes: Decodes) -> None:
    for frames in list(traffic(50)):
        store.ingest(frames, LINK)
    series, ring = store.klines("BTCUSDT", "1m"), store.trades("BTCUSDT")
    series.rows(2, MIDNIGHT + 1_000, exact=False)  # what is not closed yet
    before, decodes.count = series.size(), 0
    assert len(series.rows(300, MIDNIGHT + 1_000, exact=False)) == 300
    assert decodes.count == 1, "all closed rows at once"
    assert series.size() == before
    decodes.count = 0
    assert len(ring.text(40)) > 40 * 60
    assert decodes.count == 0, "trades are passed on as they are kept"
    assert len(ring.columns(40)) == 40
    assert decodes.count == 1, "and become numbers at once"


def test_what_was_decoded_ahead_is_not_decoded_by_the_first_read(store: MarketStore, decodes: Decodes) -> None:
    for frames in list(traffic(50)):
        store.ingest(frames, LINK)
    series, ring = store.klines("BTCUSDT", "1m"), store.trades("BTCUSDT")
    rows = store.klines("ETHUSDT", "1m").rows(300, MIDNIGHT + 1_000, exact=False)
    series.rows(2, MIDNIGHT + 1_000, exact=False)  # what is not closed yet
    for each in (series, ring):
        each.decode_ahead()
    decodes.count = 0
    assert series.rows(300, MIDNIGHT + 1_000, exact=False)[:-1] == rows[:-1]
    assert len(ring.columns(40)) == 40
    for each in (series, ring):
        each.decode_ahead()
    assert decodes.count == 0


def test_a_frame_takes_one_lock(store: MarketStore) -> None:
    series: list[Any] = [store.klines("BTCUSDT", "1m"), store.book("BTCUSDT"), store.trades("BTCUSDT")]
    for frames in traffic(2):
        store.ingest(frames, LINK)
    locks = []
    for each in (*series, store):
        each._lock = CountingLock(each._lock)
        locks.append(each._lock)
    for frames in traffic(100, first=2):
        store.ingest(frames, LINK)
    assert [lock.taken for lock in locks] == [100, 100, 100, 0]


@pytest.mark.parametrize("exact", [False, True])
def test_a_read_of_candles_takes_one_lock(exact: bool) -> None:
    series: Any = KlineSeries("BTCUSDT", "1m", 500)
    warm(series)
    series.apply(samples.kline_frame(samples.row(MIDNIGHT), event=MIDNIGHT + 500), LINK)
    for _ in range(2):
        series.rows(300, MIDNIGHT + 1_000, exact=exact)
    series._lock = CountingLock(series._lock)
    standing, cut = series.look(300, MIDNIGHT + 1_000, MIDNIGHT + 1_000, exact)
    assert len(cut.rows()) == 300
    assert standing.rows >= 300
    assert series._lock.taken == 1


def test_a_read_of_a_book_takes_one_lock() -> None:
    series: Any = BookSeries("BTCUSDT")
    series.apply(samples.book_frame(1), LINK)
    series.read()
    series._lock = CountingLock(series._lock)
    _, newest = series.look()
    book = series.decoded(newest)
    assert book is not None
    series.floats(book)
    assert series._lock.taken == 1


class Calls:
    """What a read calls on its own thread: ``(module, module of the caller)`` of each function in Python."""

    def __init__(self, read: Callable[[], object]) -> None:
        self.made: list[tuple[str, str]] = []
        sys.setprofile(self._note)
        try:
            read()
        finally:
            sys.setprofile(None)
        del self.made[0]  # of ``read`` itself

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_back is not None:
            self.made.append((frame.f_code.co_filename, frame.f_back.f_code.co_filename))

    def modules(self) -> set[str]:
        """Return the modules of the library that are called."""
        return {module for module, _ in self.made if OURS in Path(module).parents}

    def moves(self) -> int:
        """Return how many calls lead from one module to another."""
        return sum(module != caller for module, caller in self.made)


@pytest.fixture(scope="module")
def manager() -> Iterator[DataManager]:
    with (
        SimulatedExchange(["BTCUSDT"], seed=7) as exchange,
        DataManager(["BTCUSDT"], ["1h"], config=exchange.config()) as dm,
    ):
        yield dm


@pytest.mark.shared_threads
def test_a_warm_read_of_candles_makes_few_calls_in_few_modules(manager: DataManager) -> None:
    found: list[Calls] = []

    def from_memory() -> bool:
        before = reads(manager)
        calls = Calls(lambda: manager.get_klines("BTCUSDT", "1h", 300))
        if reads(manager) == before:
            found.append(calls)
        return len(found) == 10

    until(from_memory, what="reads that cause no request")
    calls = min(found, key=lambda each: len(each.made))  # the first ones remember, and decode the open candle
    assert len(calls.made) <= 26
    assert len(calls.modules()) <= 11, sorted(calls.modules())
    assert any(module.endswith("manager.py") for module in calls.modules())


@pytest.mark.shared_threads
def test_a_read_from_rest_makes_few_calls_between_modules(manager: DataManager) -> None:
    found = [Calls(lambda: manager.get_klines("BTCUSDT", "1h", 300, max_age=0)) for _ in range(5)]
    assert all("requests.py" in {Path(module).name for module in calls.modules()} for calls in found)
    assert min(calls.moves() for calls in found) <= 685 // 2  # of the read in an earlier version


@pytest.mark.parametrize("quiet", [5, 50])
def test_a_look_for_dead_streams_scans_what_has_changed(quiet: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of quiet symbols makes no difference."""
    symbols = [f"Q{number}USDT" for number in range(quiet)]
    store = MarketStore(Config(max_trades=100), now=lambda: 0.0)
    store.follow(keys_of([*SYMBOLS, *symbols], ("1m", "1h"), ("1h",)))
    detector = SilentStreamDetector(store, {})
    scanned: list[Key] = []
    honest = KlineSeries.last_heard

    def last_heard(self: KlineSeries, until: int | None = None) -> tuple[int, int, int]:
        scanned.append(self.key)
        return honest(self, until)

    monkeypatch.setattr(KlineSeries, "last_heard", last_heard)
    for number, frames in enumerate(traffic(3)):
        store.ingest(frames[:3], LINK)  # of the first symbol
        scanned.clear()
        assert list(detector.look(Moment(1.0 + number, MIDNIGHT + number))) == []
    assert {key.symbol for key in scanned} == {SYMBOLS[0]}
    assert len(scanned) == 2


def calls_while_nothing_happens(symbols: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each function is called in the engine's ticks of a second and between them, including a sample
    of the quality and a count of the candles."""
    monkeypatch.setattr(connections, "SPREAD_FROM", 0)  # the same connections, however many symbols
    monkeypatch.setattr(
        silence.Silence, "judge", lambda *_: ""
    )  # nothing is quoted here, so the connection of books seems silent
    bench = Bench({f"Q{number}USDT": 1 for number in range(symbols)}, minutes=1)
    bench.warm()
    assert bench.run(TURN + 50 - bench.seconds) is False
    engine, at = bench.engine, bench.at()
    engine.reconciler._queue._heap.clear()  # polls and audits, which cost the same each
    engine.reconciler.candles()
    engine.quality._due = at.steady + 0.5
    calls: Counter[str] = Counter()

    def count(frame: Any, event: str, function: Any) -> None:
        if event == "call":
            calls[f"{frame.f_code.co_filename}:{frame.f_code.co_name}"] += 1
        elif event == "c_call":
            calls[function.__qualname__] += 1

    sys.setprofile(count)
    try:
        for tenths in range(10):
            later = at._replace(steady=at.steady + tenths / 10.0, exchange=at.exchange + tenths * 100)
            for link in bench.links.values():
                link.frames += 1  # of what comes regardless of what is followed
            engine.tick(later)
            engine.next_due(later)
            engine.reconciler.candles()
    finally:
        sys.setprofile(None)
    assert engine.take() == []
    assert len(engine.quality.rounds()) > 0
    return calls


def test_an_idle_engine_does_as_much_for_forty_symbols_as_for_three_hundred(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = calls_while_nothing_happens(40, monkeypatch)
    many = calls_while_nothing_happens(300, monkeypatch)
    assert few.total() > 100
    assert many - few == Counter()
    assert few - many == Counter()


def test_a_hundred_thousand_frames_leave_no_more_behind_than_a_few(store: MarketStore) -> None:
    per_round = len(next(traffic(1)))
    batches = 100_000 // per_round
    template = next(traffic(1, first=1_000_000))
    # Only the numbers that must advance are filled in; building each frame again would take most of the time.
    holes = [frame.replace(b"1000000", b"%d").replace(b"1000001", b"%d") for frame in template]
    counts = [hole.count(b"%d") for hole in holes]
    assert min(counts) >= 1

    def send(first: int, rounds: int) -> None:
        for number in range(first, first + rounds):
            store.ingest([hole % ((number,) * count) for hole, count in zip(holes, counts, strict=True)], LINK)

    send(1_000_000, 500)
    gc.collect()
    before, objects = sys.getallocatedblocks(), len(gc.get_objects())
    send(1_000_500, batches)
    gc.collect()
    assert store.dropped() == {}
    assert store.trades("BTCUSDT").last_id() == 1_000_500 + batches - 1
    assert sys.getallocatedblocks() - before < 500
    assert len(gc.get_objects()) - objects < 100


def test_candles_in_memory_are_invisible_to_the_garbage_collector() -> None:
    gc.collect()
    before = len(gc.get_objects())
    held = []
    for _ in range(20):
        series = KlineSeries("BTCUSDT", "1m", 500)
        warm(series)
        for _ in range(2):
            series.rows(300, MIDNIGHT + 1_000, exact=False)
        held.append(series)
    gc.collect()
    assert len(gc.get_objects()) - before < 20 * 40, "a series of 400 rows is a few dozen objects, not thousands"
    assert sum(series.size() for series in held) < 20 * 400 * 250


def test_a_full_answer_is_cut_without_parsing_it(decodes: Decodes) -> None:
    rows = [samples.row(MIDNIGHT + i * HOUR, length=HOUR) for i in range(499)]
    body = samples.compact(rows)
    decodes.count = 0
    texts = kline_texts(body)
    assert decodes.count == 0
    assert string_rows(texts) == rows
