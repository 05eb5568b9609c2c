"""I/O without market meaning: guarded sockets, REST requests, WebSocket streams."""
