"""Cuts a received byte stream into messages.

Whole, unfragmented, unmasked text frames, which are what the exchange sends, are cut here. Everything else (control
frames, binary, fragments, reserved bits, masks, frames too large to wait for) is read by websocket-client: its frame
buffer is fed from here, keeps the part of a frame that has arrived, and continues at the next call. While it is
inside a frame or a fragmented message, it gets every byte.
"""

from __future__ import annotations

from collections.abc import Callable

from websocket import ABNF, WebSocket, WebSocketException

MAX_MESSAGE = 64 * 1024 * 1024
MAX_FAST_FRAME = 256 * 1024
"""Larger frames are read by websocket-client, which keeps their parts without joining them each time."""

_NO_STATUS = 1005


class StreamClosed(Exception):
    """A stream has ended. ``code`` is the one in the peer's close frame (1005 if the frame had none), or None without a
    close frame: the connection ended or broke, or the bytes were not WebSocket."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(reason if code is None else f"closed with {code}: {reason}")
        self.code = code
        self.reason = reason


class _NeedMore(Exception):
    """The frame buffer needs bytes that have not arrived."""


class FrameReader:
    """Reads the frames that follow the handshake of ``socket``, and answers pings and closes through it."""

    def __init__(self, socket: WebSocket, on_pong: Callable[[], None]) -> None:
        self._socket = socket
        self._on_pong = on_pong
        self._frames = socket.frame_buffer
        self._fragments = socket.cont_frame
        self._frames.recv = self._take
        # Its UTF-8 check loops over the bytes in Python and accepts a truncated last character; ours does
        # neither. Close reasons are still checked by it.
        self._fragments.skip_utf8_validation = True
        self._data = b""
        self._position = 0
        self.ignored = 0
        """Binary messages received; they are dropped."""

    def feed(self, data: bytes, messages: list[bytes]) -> None:
        """Append the payload of each text message that ``data`` completes to ``messages``.

        Raises StreamClosed; messages appended before that remain.
        """
        if self._position < len(self._data):
            data = self._data[self._position :] + data
        self._data = data
        self._position = 0
        while self._position < len(data):
            if self._between_messages():
                self._cut(messages)
                if self._waiting_for_rest():
                    break
            if not self._read_slowly(messages):
                break

    @property
    def inside_frame(self) -> bool:
        """Whether a frame or a fragmented message has begun and not ended."""
        return self._position < len(self._data) or not self._between_messages()

    def _between_messages(self) -> bool:
        frames = self._frames
        return frames.header is None and not frames.recv_buffer and not self._fragments.recving_frames

    def _cut(self, messages: list[bytes]) -> None:
        """Cut plain text frames, up to the first frame that is incomplete or of another kind."""
        data = self._data
        position = self._position
        end = len(data)
        append = messages.append
        try:
            while data[position] == 0x81:
                length = data[position + 1]
                if length < 126:
                    start = position + 2
                elif length == 126:
                    start = position + 4
                    length = data[position + 2] << 8 | data[position + 3]
                elif length == 127:
                    start = position + 10
                    if start > end:
                        break
                    length = int.from_bytes(data[position + 2 : start], "big")
                else:
                    break
                stop = start + length
                if stop > end:
                    break
                payload = data[start:stop]
                if not payload.isascii():
                    _check_utf8(payload)
                append(payload)
                position = stop
        except IndexError:
            # The data ends at a frame boundary or inside a header.
            pass
        self._position = position

    def _waiting_for_rest(self) -> bool:
        """Return whether the remaining bytes are the beginning of a frame that _cut() can read."""
        data, position = self._data, self._position
        left = len(data) - position
        if left == 0:
            return True
        if data[position] != 0x81:
            return False
        if left == 1:
            return True
        length = data[position + 1]
        if length == 127 and left >= 10:
            return int.from_bytes(data[position + 2 : position + 10], "big") <= MAX_FAST_FRAME
        return length <= 127

    def _read_slowly(self, messages: list[bytes]) -> bool:
        """Let websocket-client read one message or control frame; return False if it needs more bytes."""
        try:
            opcode, frame = self._socket.recv_data_frame(True)
        except _NeedMore:
            self._check_size()
            return False
        except WebSocketException as error:
            raise StreamClosed(None, f"protocol error: {error}") from error
        if opcode == ABNF.OPCODE_TEXT:
            _check_utf8(frame.data)
            messages.append(frame.data)
        elif opcode == ABNF.OPCODE_BINARY:
            self.ignored += 1
        elif opcode == ABNF.OPCODE_PONG:
            self._on_pong()
        elif opcode == ABNF.OPCODE_CLOSE:
            if len(frame.data) < 2:
                raise StreamClosed(_NO_STATUS, "")
            raise StreamClosed(int.from_bytes(frame.data[:2], "big"), frame.data[2:].decode("utf-8", "replace"))
        return True

    def _check_size(self) -> None:
        size = self._frames.length or 0
        if self._fragments.cont_data:
            size += len(self._fragments.cont_data[1])
        if size > MAX_MESSAGE:
            raise StreamClosed(None, f"a message of more than {MAX_MESSAGE} bytes")

    def _take(self, size: int) -> bytes:
        piece = self._data[self._position : self._position + size]
        if not piece:
            raise _NeedMore
        self._position += len(piece)
        return piece


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StreamClosed(None, f"a text message is not UTF-8: {error.reason}") from error
