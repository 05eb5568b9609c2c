from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.errors import MalformedAnswer
from ats_sync.venue.books import scan_book
from ats_sync.venue.klines import float_rows, kline_texts, scan_kline, string_rows, text_open_time, text_trades
from ats_sync.venue.payload import DecodeError, as_of_now, decimal, field, whole
from ats_sync.venue.trades import scan_trade

from .everything import ANSWERS, BOOK, FRAMES, KLINE, SCANS, TRADE
from .mutations import mutated, replaced


@pytest.mark.parametrize("scan", [scan_kline, scan_trade, scan_book])
@pytest.mark.parametrize("frame", [KLINE, TRADE, BOOK])
def test_a_frame_cut_short_is_refused_wherever_it_was_cut(scan: Callable[[bytes], Any], frame: bytes) -> None:
    for end in range(len(frame)):
        if frame[end - 1 : end] != b"}":
            with pytest.raises(DecodeError):
                scan(frame[:end])


NO_ANSWERS = [
    b"", b" ", b"<html><body>502</body></html>", b"null", b"true", b"5", b'"x"', b"{", b"[[", b"[1,2", b"\xff\xfe\xfd",
    b"[null]", b"[[]]", b"[[[]]]", b'{"code":-1121,"msg":"Invalid symbol."}', b"[" * 100_000,
    b"[" + b"9" * 5_000 + b"]",
    b'[{"a":1}', b"nan", b"[NaN]",
]  # fmt: skip


@pytest.mark.parametrize("read", ANSWERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("body", NO_ANSWERS, ids=range(len(NO_ANSWERS)))
def test_what_is_not_an_answer_is_malformed(read: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        read(body)
    assert caught.value.status == 200
    assert caught.value.retryable
    assert len(str(caught.value)) < 1_000


REASONS = {
    "bad JSON", "bad boolean", "bad decimal", "bad frame", "bad level", "bad text", "bad whole number",
    "candle with an impossible open time", "crossed book", "kline frame without a candle",
    "kline frame without a final flag", "missing array", "missing field", "negative level", "truncated aggTrade frame",
    "truncated depth frame", "update ids out of order",
}  # fmt: skip


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        (lambda: decimal("1,5"), "bad decimal", "'1,5' is not a decimal"),
        (lambda: whole(1.5), "bad whole number", "1.5 is not a whole number"),
        (lambda: field({}, "p"), "missing field", "the field 'p' is missing"),
        (lambda: scan_book(b"{"), "truncated depth frame", "truncated depth frame"),
    ],
)
def test_an_error_has_a_reason_to_count_and_a_text_to_read(error: Callable[[], Any], reason: str, text: str) -> None:
    with pytest.raises(DecodeError) as caught:
        error()
    assert (caught.value.reason, str(caught.value)) == (reason, text)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(FRAMES).flatmap(lambda whole: mutated(whole) | replaced(whole)))
def test_no_frame_raises_anything_but_a_decode_error(message: bytes) -> None:
    reasons = set()
    for scan in SCANS:
        try:
            scan(message)
        except DecodeError as error:
            reasons.add(error.reason)
    assert reasons <= REASONS, "failures are counted by reason, so it may contain nothing of the frame"


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(list(ANSWERS.items())).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), mutated(pair[1]) | replaced(pair[1]))
    )
)
def test_no_answer_raises_anything_but_malformed(case: tuple[Callable[[bytes], Any], bytes]) -> None:
    read, body = case
    try:
        value = read(body)
    except MalformedAnswer:
        return
    if read is kline_texts:
        for text in value:
            text_open_time(text)
            text_trades(text)
        assert len(float_rows(value)) == len(string_rows(value)) == len(value)


def test_a_kept_answer_states_the_current_time() -> None:
    body = b'{"timezone":"UTC","serverTime":1700000000999,"symbols":[{"serverTime":1700000000999}]}'
    assert as_of_now(body, 5) == body.replace(b"1700000000999", b"1700000001004", 1)
    assert as_of_now(body, 0) == body
    for other in (b"[]", b'{"symbol":"BTCUSDT"}', b'{"serverTime":"soon"}', b'{"a":"' + b"x" * 5000 + body[1:]):
        assert as_of_now(other, 5) == other
