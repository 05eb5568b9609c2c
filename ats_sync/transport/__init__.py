"""I/O without market meaning: cancellable sockets, REST requests, WebSocket streams."""
