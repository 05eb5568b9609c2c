"""Frames cut by FrameReader against the same bytes read by websocket-client alone."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import pytest
import websocket
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ats_sync.transport import frames
from ats_sync.transport.frames import MAX_FAST_FRAME, FrameReader, StreamClosed

KNOWN_MINORS = ("1.8", "1.9")
"""The versions of websocket-client whose internals these tests have passed with."""


def test_websocket_client_is_a_version_whose_internals_are_known() -> None:
    minor = ".".join(websocket.__version__.split(".")[:2])
    assert minor in KNOWN_MINORS, (
        f"websocket-client {websocket.__version__} is installed, and frames.py replaces internals of it "
        f"(frame_buffer.recv, cont_frame.skip_utf8_validation, cont_frame.recving_frames): compare them with "
        f"{KNOWN_MINORS[-1]}, run tests/transport, then add {minor} here and raise the bound in setup.py"
    )


def test_the_package_admits_the_known_versions_of_websocket_client_only() -> None:
    first, last = KNOWN_MINORS[0], int(KNOWN_MINORS[-1].partition(".")[2])
    setup = Path(__file__).parents[2].joinpath("setup.py").read_text("utf-8")
    assert f'"websocket-client>={first},<1.{last + 1}"' in setup


TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def frame(
    opcode: int, payload: bytes, *, fin: int = 1, rsv: int = 0, mask: bytes = b"", form: int | None = None
) -> bytes:
    """Return a frame as a server would send it; ``form`` sets how the length is written (7, 16 or 64 bits)."""
    form = form or (7 if len(payload) < 126 else 16 if len(payload) < 65536 else 64)
    masked = 0x80 if mask else 0
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if form == 7:
        head += bytes([masked | len(payload)])
    elif form == 16:
        head += struct.pack(">BH", masked | 126, len(payload))
    else:
        head += struct.pack(">BQ", masked | 127, len(payload))
    body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)) if mask else payload
    return head + mask + body


class Socket:
    """What websocket-client sees: received bytes come from memory, and sent ones are kept."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.sent = b""

    def recv(self, size: int) -> bytes:
        piece, self.data = self.data[:size], self.data[size:]
        return piece

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def gettimeout(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


def connected(sock: Socket) -> websocket.WebSocket:
    client = websocket.WebSocket()
    client.sock = sock  # type: ignore[assignment]
    client.connected = True
    client.set_mask_key(lambda size: bytes(size))
    return client


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def by_library(data: bytes) -> dict[str, Any]:
    """Return what websocket-client makes of ``data`` followed by the end of the connection."""
    sock = Socket(data)
    client = connected(sock)
    texts, ignored, pongs, end = [], 0, 0, None
    while end is None:
        try:
            opcode, received = client.recv_data_frame(True)
        except websocket.WebSocketConnectionClosedException:
            end = "open"
        except websocket.WebSocketException:
            end = "protocol error"
        else:
            if opcode == TEXT and not is_utf8(received.data):
                end = "protocol error"  # Without wsaccel the library overlooks a character that is cut off at the end.
            elif opcode == TEXT:
                texts.append(received.data)
            elif opcode == CLOSE:
                end = struct.unpack(">H", received.data[:2])[0] if received.data else 1005
            ignored += opcode == BINARY
            pongs += opcode == PONG
    return {"texts": texts, "ignored": ignored, "pongs": pongs, "end": end, "sent": sock.sent}


def by_reader(pieces: list[bytes]) -> dict[str, Any]:
    sock = Socket()
    pongs = []
    reader = FrameReader(connected(sock), lambda: pongs.append(1))
    texts: list[bytes] = []
    end: object = "open"
    try:
        for piece in pieces:
            reader.feed(piece, texts)
    except StreamClosed as closed:
        end = "protocol error" if closed.code is None else closed.code
    return {"texts": texts, "ignored": reader.ignored, "pongs": len(pongs), "end": end, "sent": sock.sent}


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks)]


MASK = b"\x01\x02\x03\x04"
CHINESE = "币安人生USDT".encode()
KINDS = {
    "text": frame(TEXT, b'{"a":1}'),
    "empty text": frame(TEXT, b""),
    "text of 125": frame(TEXT, b"x" * 125),
    "text of 126": frame(TEXT, b"x" * 126),
    "text in 16 bits without need": frame(TEXT, b"short", form=16),
    "text in 64 bits without need": frame(TEXT, b"short", form=64),
    "Chinese text": frame(TEXT, CHINESE),
    "not UTF-8": frame(TEXT, b"\xff\xfe"),
    "UTF-8 cut short": frame(TEXT, CHINESE[:-5]),
    "surrogate": frame(TEXT, b"\xed\xa0\x80"),
    "overlong": frame(TEXT, b"\xc0\x80"),
    "beyond Unicode": frame(TEXT, b"\xf4\x90\x80\x80"),
    "masked text": frame(TEXT, b"masked", mask=MASK),
    "masked long text": frame(TEXT, b"masked" * 40, mask=MASK),
    "rsv1": frame(TEXT, b"deflated?", rsv=4),
    "rsv3": frame(TEXT, b"x", rsv=1),
    "binary": frame(BINARY, b"\x00\xff" * 9),
    "fragments": frame(TEXT, b"one ", fin=0) + frame(CONT, b"two ", fin=0) + frame(CONT, b"three"),
    "fragments cut in a character": frame(TEXT, CHINESE[:4], fin=0) + frame(CONT, CHINESE[4:]),
    "fragments not UTF-8": frame(TEXT, b"ok", fin=0) + frame(CONT, b"\xff"),
    "binary fragments": frame(BINARY, b"\xff", fin=0) + frame(CONT, b"\xfe"),
    "ping in fragments": frame(TEXT, b"one ", fin=0) + frame(PING, b"hello") + frame(CONT, b"two"),
    "text in fragments": frame(TEXT, b"one ", fin=0) + frame(TEXT, b"another"),
    "empty first fragment": frame(TEXT, b"", fin=0) + frame(CONT, b"rest"),
    "continuation of nothing": frame(CONT, b"lost"),
    "ping": frame(PING, b"are you there"),
    "empty ping": frame(PING, b""),
    "ping of 126": frame(PING, b"x" * 126),
    "fragmented ping": frame(PING, b"x", fin=0),
    "pong": frame(PONG, b"here"),
    "close": frame(CLOSE, struct.pack(">H", 1001) + b"going away"),
    "close without code": frame(CLOSE, b""),
    "close of one byte": frame(CLOSE, b"\x03"),
    "close with a code that is none": frame(CLOSE, struct.pack(">H", 1006)),
    "close with a reason not UTF-8": frame(CLOSE, struct.pack(">H", 1000) + b"\xff"),
    "close with a private code": frame(CLOSE, struct.pack(">H", 4321)),
    "opcode 3": frame(3, b"x"),
    "opcode 11": frame(11, b"x"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_cut_at_every_byte_is_read_as_by_the_library(kind: str) -> None:
    data = frame(TEXT, b"before") + KINDS[kind] + frame(TEXT, b"after")
    expected = by_library(data)
    assert by_reader([data]) == expected
    assert by_reader([data[index : index + 1] for index in range(len(data))]) == expected
    for place in range(len(data)):
        assert by_reader([data[:place], data[place:]]) == expected


@settings(max_examples=300, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=8),
    missing=st.integers(0, 12),
    places=st.lists(st.integers(0, 2000), max_size=6),
)
@example(kinds=["fragments", "text", "ping in fragments"], missing=1, places=[3, 4, 5])
def test_any_sequence_cut_anywhere_is_read_as_by_the_library(kinds: list[str], missing: int, places: list[int]) -> None:
    data = b"".join(KINDS[kind] for kind in kinds)
    data = data[: len(data) - missing] if missing else data
    assert by_reader(cut(data, places)) == by_library(data)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60), places=st.lists(st.integers(0, 60), max_size=4))
@example(data=b"\x81\x7f" + b"\x00" * 8, places=[5])
def test_any_bytes_are_read_as_by_the_library(data: bytes, places: list[int]) -> None:
    expected = by_library(data)
    got = by_reader(cut(data, places))
    if got["end"] != expected["end"]:
        # The one difference is that what can only become an oversized message is refused before it has come.
        assert (got["end"], expected["end"]) == ("protocol error", "open")
        got["end"] = "open"
    assert got == expected


@settings(max_examples=300, deadline=None)
@given(payload=st.one_of(st.binary(max_size=8), st.text(max_size=8).map(lambda text: text.encode())))
@example(payload=b"\xf0\x9f\x98")
def test_whatever_is_not_utf8_is_refused_and_nothing_else(payload: bytes) -> None:
    got = by_reader([frame(TEXT, payload)])
    assert got["texts"] == ([payload] if is_utf8(payload) else [])
    assert got["end"] == ("open" if is_utf8(payload) else "protocol error")


def test_a_close_reason_cut_in_a_character_is_still_a_close() -> None:
    assert by_reader([frame(CLOSE, struct.pack(">H", 1000) + CHINESE[:2])])["end"] == 1000


@pytest.mark.parametrize("size", [65535, 65536, MAX_FAST_FRAME, MAX_FAST_FRAME + 1, 1_000_000])
def test_large_frames_arrive_whole(size: int) -> None:
    payload = b"0123456789abcdef" * (size // 16 + 1)
    payload = payload[:size]
    data = frame(TEXT, b"a") + frame(TEXT, payload) + frame(TEXT, b"z")
    pieces = [data[start : start + 50_000] for start in range(0, len(data), 50_000)]
    assert by_reader(pieces)["texts"] == [b"a", payload, b"z"]


def test_a_large_frame_that_is_not_utf8_is_refused() -> None:
    data = frame(TEXT, b"x" * MAX_FAST_FRAME + b"\xff")
    assert by_reader(cut(data, [100_000, 200_000]))["end"] == "protocol error"


def test_messages_before_a_fault_are_kept_and_nothing_after_it_is_read() -> None:
    data = KINDS["text"] + KINDS["Chinese text"] + KINDS["rsv1"] + KINDS["text"]
    got = by_reader([data])
    assert got["texts"] == [b'{"a":1}', CHINESE]
    assert got["end"] == "protocol error"


@pytest.mark.parametrize(
    "head",
    [
        b"\x81\x7f" + struct.pack(">Q", frames.MAX_MESSAGE + 1),
        b"\x82\x7f" + struct.pack(">Q", 2**63),
        b"\x01\x03abc" + b"\x80\x7f" + struct.pack(">Q", frames.MAX_MESSAGE - 2),
    ],
    ids=["text", "binary", "fragments together"],
)
def test_a_message_that_is_announced_as_too_large_is_refused_before_it_comes(head: bytes) -> None:
    reader = FrameReader(connected(Socket()), lambda: None)
    with pytest.raises(StreamClosed, match="more than") as caught:
        reader.feed(head + b"x" * 100, [])
    assert caught.value.code is None


def test_endless_fragments_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_MESSAGE", 10_000)
    reader = FrameReader(connected(Socket()), lambda: None)
    reader.feed(frame(TEXT, b"x" * 1000, fin=0), [])
    for _ in range(9):
        reader.feed(frame(CONT, b"x" * 1000, fin=0), [])
    with pytest.raises(StreamClosed, match="more than"):
        reader.feed(frame(CONT, b"x" * 1000, fin=0), [])


def test_inside_frame_shows_whether_something_has_begun() -> None:
    reader = FrameReader(connected(Socket()), lambda: None)
    states = [reader.inside_frame]
    for piece in (b"\x81", b"\x01", b"x", b"\x01\x01a", b"\x80", b"\x01b", b"\x89\x00"):
        reader.feed(piece, [])
        states.append(reader.inside_frame)
    assert states == [False, True, True, False, True, True, False, False]


def test_close_carries_code_and_reason() -> None:
    reader = FrameReader(connected(Socket()), lambda: None)
    with pytest.raises(StreamClosed) as caught:
        reader.feed(KINDS["close"], [])
    assert (caught.value.code, caught.value.reason) == (1001, "going away")
    assert "1001" in str(caught.value)


def test_the_library_keeps_its_state_where_the_reader_expects_it() -> None:
    client = websocket.WebSocket()
    assert client.frame_buffer.header is None
    assert client.frame_buffer.recv_buffer == []
    assert client.frame_buffer.length is None
    assert client.cont_frame.recving_frames is None
    assert client.cont_frame.cont_data is None
    assert client.cont_frame.skip_utf8_validation is False
    assert client.frame_buffer.skip_utf8_validation is False


def test_plain_text_frames_do_not_pass_through_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    client = connected(Socket())
    reader = FrameReader(client, lambda: None)
    calls = []
    monkeypatch.setattr(client, "recv_data_frame", lambda control: calls.append(control))
    texts: list[bytes] = []
    stream = b"".join(frame(TEXT, b"x" * size) for size in (0, 1, 125, 126, 300, 65535, 65536, 100_000))
    for piece in cut(stream, [1, 2, 130, 131, 70_000, 140_000]):
        reader.feed(piece, texts)
    assert [len(text) for text in texts] == [0, 1, 125, 126, 300, 65535, 65536, 100_000]
    assert calls == []
