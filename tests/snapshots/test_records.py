"""What a file contains, and what of it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ats_sync import Config
from ats_sync.feeds import FEEDS, Key, Kind
from ats_sync.snapshots import records
from ats_sync.snapshots.records import (
    Record,
    contract_refusal,
    file_name,
    folder_of,
    is_demanded,
    is_kept,
    key_of,
    refusal,
)
from ats_sync.store.klines import KlineSeries
from ats_sync.venue.intervals import INTERVALS
from ats_sync.venue.payload import DecodeError

from ..store.candles import Truth, warmed
from ..venue.samples import DAY, MIDNIGHT

EXCHANGE = Config().exchange
ROWS = tuple(warmed(Truth("1m", MIDNIGHT, [3, 1, 0, 2, 4, 2, 1, 3]), 5).dump())
RECORD = Record(EXCHANGE, MIDNIGHT - 100 * DAY, MIDNIGHT, ROWS)
FILE = records.pack(RECORD)
NAMES = st.text("AB1_.币安 /", min_size=1, max_size=6)


def read(text: bytes) -> KlineSeries:
    """Return a series that begins with a file, as the thread lets it begin."""
    series = KlineSeries("BTCUSDT", "1m", 500)
    series.load(records.unpack(text).parts)
    return series


def test_what_is_read_is_what_was_written() -> None:
    assert records.unpack(FILE) == RECORD
    assert len(read(FILE).closed_rows()) == 5


@pytest.mark.parametrize("cut", range(0, len(FILE), 7))
def test_a_file_that_ends_at_any_byte_is_refused(cut: int) -> None:
    with pytest.raises(DecodeError):
        read(FILE[:cut])


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_a_file_with_any_byte_changed_is_refused(at: int, change: int) -> None:
    with pytest.raises(DecodeError):
        read(FILE[:at] + bytes([FILE[at] ^ change]) + FILE[at + 1 :])


@example(0, 0, b"\r")
@given(st.integers(0, len(FILE)), st.integers(0, len(FILE)), st.binary(max_size=40))
def test_a_file_that_another_write_has_torn_is_refused(begin: int, end: int, between: bytes) -> None:
    torn = FILE[:begin] + between + FILE[end:]
    if torn != FILE:
        with pytest.raises(DecodeError):
            read(torn)


@given(st.binary(max_size=300))
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        records.unpack(text)


def test_a_newer_format_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FORMAT", records.FORMAT + 1)
    newer = records.pack(RECORD)
    monkeypatch.undo()
    with pytest.raises(DecodeError, match="newer version"):
        records.unpack(newer)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (RECORD, ""),
        (RECORD._replace(exchange=("https://testnet.example", *EXCHANGE[1:])), "testnet.example"),
        (RECORD._replace(exchange=()), "another exchange"),
        (RECORD._replace(written=MIDNIGHT + 1001), ""),
        (RECORD._replace(written=MIDNIGHT + 60_000), "clock was set back"),
        (RECORD._replace(written=MIDNIGHT - 7 * DAY), "older than 7 days"),
    ],
)
def test_which_records_are_of_use(record: Record, why: str) -> None:
    found = refusal(record, EXCHANGE, MIDNIGHT + 1000)
    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("until", "listed", "announced", "why"),
    [
        (MIDNIGHT, RECORD.onboarded, 0, ""),
        (MIDNIGHT, RECORD.onboarded, RECORD.onboarded, ""),
        (MIDNIGHT + 1, RECORD.onboarded, 0, "newer than the time it was written"),
        (MIDNIGHT, 0, 0, "not known"),
        (MIDNIGHT, RECORD.onboarded + DAY, 0, "another contract"),
        (MIDNIGHT, RECORD.onboarded - DAY, 0, "another contract"),
        (MIDNIGHT, RECORD.onboarded, RECORD.onboarded + DAY, "another contract"),
    ],
)
def test_rows_of_another_contract_or_time_are_refused(until: int, listed: int, announced: int, why: str) -> None:
    found = contract_refusal(RECORD, until, listed, announced)
    assert why in found
    assert bool(found) == bool(why)


def test_a_record_without_a_contract_shows_nothing_about_one() -> None:
    assert contract_refusal(RECORD._replace(onboarded=0), MIDNIGHT, RECORD.onboarded, 0)


@settings(max_examples=30)
@given(st.lists(st.builds(Key, st.sampled_from(sorted(Kind)), NAMES, st.sampled_from(["", *INTERVALS])), max_size=6))
def test_every_series_has_a_file_of_its_own_wherever_case_does_not_count(keys: list[Key]) -> None:
    names = {file_name(key).casefold() for key in keys}
    assert len(names) == len({(key.kind, key.symbol.casefold(), key.interval) for key in keys})
    assert not any(set(name) & set('/\\:*?"<>|') or name.startswith(".") for name in names)


def test_each_exchange_has_a_folder_of_its_own() -> None:
    live = Config()
    others = [replace(live, fapi_base="https://testnet.example"), replace(live, spot_base="https://testnet.example")]
    assert len({folder_of(each) for each in [live, *others]}) == 3
    assert folder_of(live) == folder_of(Config(state_dir="elsewhere"))
    assert folder_of(live).startswith("fapi.binance.com-")


def test_what_is_kept() -> None:
    assert is_kept(Key(Kind.LISTINGS))
    assert is_kept(Key(Kind.KLINES, "BTCUSDT", "1h"))
    assert not is_kept(Key(Kind.SPOT_KLINES, "BTCUSDT", "1h"))
    by_contract = [kind for kind, feed in FEEDS.items() if not feed.shared and not feed.spot]
    assert [kind for kind in by_contract if not is_kept(Key(kind, "BTCUSDT"))] == []
    assert not is_kept(Key(Kind.KLINES, "", "1h"))
    assert not is_kept(Key(Kind.ANSWER, "BTCUSDT")), "a file may name what is never followed"
    assert not [
        kind for kind, feed in FEEDS.items() if feed.shared and kind is not Kind.LISTINGS and is_kept(Key(kind))
    ]


def test_a_record_names_its_series() -> None:
    assert key_of(RECORD) == Key(Kind.KLINES, "BTCUSDT", "1m")
    for parts in ((), (b"",), (b"{}",), (b'{"key":["nothing","BTCUSDT","1m"]}',), (b'{"key":[1,2]}',), (b"[]",)):
        assert key_of(RECORD._replace(parts=parts)) is None


@pytest.mark.parametrize(
    ("record", "demanded"),
    [
        (RECORD, False),
        (RECORD._replace(demanded=10), True),
        (RECORD._replace(demanded=10, written=MIDNIGHT - 3_600_000), False),
        (RECORD._replace(demanded=10, exchange=()), False),
    ],
)
def test_what_was_read_shortly_before_is_followed_again(record: Record, demanded: bool) -> None:
    assert is_demanded(records.unpack(records.pack(record)), EXCHANGE, MIDNIGHT + 1000) == demanded
