"""A throw-away certificate and server-side TLS over a byte transport."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

_CHUNK = 256 * 1024


def make_context(folder: Path) -> tuple[ssl.SSLContext, str]:
    """Return a server context for localhost and 127.0.0.1, and the PEM file (in ``folder``) of the authority to trust.

    Raises ImportError without the package trustme.
    """
    try:
        import trustme
    except ImportError as error:
        raise ImportError("tls=True needs the package trustme (the extra 'tls')") from error
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return context, str(ca_file)


class TlsSession:
    """One TLS connection in memory: bytes in, bytes out, no socket."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False

    def receive(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Take raw bytes; return (plain bytes, raw bytes to send, whether the peer has closed).

        After an ssl.SSLError the connection is lost.
        """
        self._incoming.write(data)
        plain: list[bytes] = []
        closed = False
        try:
            if not self.established:
                self._object.do_handshake()
                self.established = True
            while True:
                chunk = self._object.read(_CHUNK)
                if not chunk:
                    closed = True
                    break
                plain.append(chunk)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            closed = True
        return b"".join(plain), self._outgoing.read(), closed

    def send(self, parts: Iterable[bytes]) -> bytes:
        """Return the raw bytes of ``parts``, each in its own records, as the real exchange sends frames."""
        write = self._object.write
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[write(view) :]
        return self._outgoing.read()

    def close(self) -> bytes:
        """Return the raw bytes of the closing alert."""
        if self.established:
            try:
                self._object.unwrap()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return b""
        return self._outgoing.read()
