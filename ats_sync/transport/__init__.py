"""I/O without market meaning: cancellable sockets, REST requests, WebSocket streams.

``venue.responses`` decides what a response of the exchange means.
"""
