"""I/O without market meaning: cancellable sockets, REST requests, WebSocket streams.

What a response of the exchange means is for ``venue.responses`` to say.
"""
