"""How the feed is written into the shared store: the names of keys and fields, and what stands in them.

One *life* of the feed begins when a collector becomes the leader, or finds that the store has lost something. Its keys
bear the life's name, so that nothing of two lives is ever mixed; they get it when the life is whole, and ``feed`` names
it in the same step::

    ats:1:feed                      hash: ``life``, the ``epoch`` of its lease
    ats:1:feed:<life>:meta          hash: ``feed`` (a :class:`Feed` as JSON), ``exchange`` (the base URLs that the rows
                                    come from, as JSON), and ``quality|<symbol>`` of each symbol
    ats:1:feed:<life>:heads         hash: of each series, and of each symbol of a board, its *head*
    ats:1:feed:<life>:parts         hash: ``<field>#<number>``: what heads refer to, written once and never changed
    ats:1:feed:unread-…             a life that is not whole, or whose collector does not lead yet; it expires soon
    ats:1:feed:2of3…                the same of the second of three shards, each of which has a life of its own
    ats:1:feed:shards               how many shards there are, absent where there is one
    ats:1:feed:notices              stream: in which series candles have closed; a hint for those who wait for them
    ats:1:feed:wishes               sorted set: series that readers want, by when they last did (the server's time, s)

A head is one line of text and then raw texts. What is large and changes rarely (closed candles, full pages of trades)
stands in numbered parts, and the head begins with the numbers it needs: whoever knows them reads the head alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, NamedTuple

import orjson

from ..engine.quality import Quality
from ..feeds import FEEDS, Key, Kind
from ..store.link import Link
from ..store.series import Copied
from .protocol import END, begin

FIELD_SEPARATOR = "|"


class MalformedFeed(ValueError):
    """The shared store holds something else than this version writes."""


# --- names -----------------------------------------------------------------------------------------------


def field_of(key: Key) -> bytes:
    """Return the field of a series, or of a symbol of a board."""
    return FIELD_SEPARATOR.join((key.kind.value, key.symbol, key.interval)).encode()


def key_of(field: bytes) -> Key:
    """Return the key that a field stands for. Raises :class:`MalformedFeed`."""
    try:
        kind, symbol, interval = field.decode().split(FIELD_SEPARATOR)
        return Key(Kind(kind), symbol, interval)
    except ValueError:
        raise MalformedFeed(f"no series is called {field!r}") from None


def part_of(field: bytes, number: int) -> bytes:
    """Return the field of a part."""
    return b"%b#%d" % (field, number)


def wish_of(key: Key, rows: int) -> bytes:
    """Return what a reader writes who wants ``rows`` rows of a series (0 where there are none to count)."""
    return b"%b|%d" % (field_of(key), rows)


def wish_in(member: bytes) -> tuple[Key, int]:
    """Return what :func:`wish_of` was made of. Raises :class:`MalformedFeed`."""
    field, _, rows = member.rpartition(b"|")
    if not rows.isdigit() or len(rows) > 6:
        raise MalformedFeed(f"{member!r} is no wish")
    return key_of(field), int(rows)


def board_of(key: Key) -> Key | None:
    """Return the board that a symbol's head belongs to, None for what has a series to itself."""
    return Key(key.kind) if key.symbol and FEEDS[key.kind].shared else None


# --- numbers of parts ------------------------------------------------------------------------------------


def ranges(numbers: Sequence[int]) -> bytes:
    """Return ascending numbers as text, such as ``3-7,9-9``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return b",".join(b"%d-%d" % (first, last) for first, last in found)


def numbers_in(text: bytes) -> list[int]:
    """Return the numbers that :func:`ranges` wrote. Raises :class:`MalformedFeed`."""
    numbers: list[int] = []
    try:
        for each in text.split(b",") if text else ():
            first, last = each.split(b"-")
            numbers += range(int(first), int(last) + 1)
    except ValueError:
        raise MalformedFeed(f"{text[:40]!r} are no numbers of parts") from None
    return numbers


# --- heads -----------------------------------------------------------------------------------------------


class Head(NamedTuple):
    """What a head holds."""

    parts: bytes
    """The numbers of its parts, as :func:`ranges` writes them."""
    link: int | None
    """The number of the connection that keeps it up to date."""
    suspected: str
    facts: list[Any]
    texts: list[bytes]


def lead_text(link: Link | None, suspected: str, parts: bytes) -> bytes:
    """Return how a series' head begins: as long as that stays the same, only what follows has to be written."""
    return b"%b|[%b,%b," % (parts, orjson.dumps(link and link.number), orjson.dumps(suspected))


def facts_text(copied: Copied) -> bytes:
    """Return the facts of a copy as JSON."""
    facts = copied.facts
    return facts if type(facts) is bytes else orjson.dumps(facts)


def head_begin(name: bytes, stem: bytes, size: int) -> bytes:
    """Return a head up to its one text of so many bytes, after the name of its field, both packed; ``stem``: what
    :func:`lead_text` and :func:`facts_text` have returned."""
    ends = b",[%d]]\n" % size
    return b"%b$%d\r\n%b%b" % (name, len(stem) + len(ends) + size, stem, ends)


def head_pieces(name: bytes, stem: bytes, texts: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return a head with any number of texts, packed as by :func:`head_begin`."""
    if len(texts) == 1:
        return head_begin(name, stem, len(texts[0])), texts[0], END
    ends = b",%b]\n" % orjson.dumps(list(map(len, texts)))
    return name, begin(len(stem) + len(ends) + sum(map(len, texts))), stem, ends, *texts, END


def head_in(text: bytes) -> Head:
    """Return what stands in a head. Raises :class:`MalformedFeed`."""
    end, begins = text.find(b"\n"), text.find(b"|") + 1
    try:
        link, suspected, facts, lengths = orjson.loads(text[begins:end])
        at = end + 1
        texts = []
        for length in lengths:
            texts.append(text[at : at + length])
            at += length
    except (ValueError, TypeError):
        raise MalformedFeed(f"a head is malformed: {text[:80]!r}") from None
    if at != len(text) or end < 0 or not begins:
        raise MalformedFeed(f"a head is cut: {text[:80]!r}")
    return Head(text[: begins - 1], link, suspected, facts, texts)


# --- the feed as a whole -----------------------------------------------------------------------------------


class Feed(NamedTuple):
    """What counts for all series: the collector's clock, its connections and its state. Times are seconds."""

    earliest: float
    """The exchange's time minus the store's, at the least."""
    latest: float
    """The same at the most."""
    proven: bool
    """Whether the collector trusts its idea of the exchange's time."""
    watched_until: float
    """Exchange time up to which it has looked out for streams that died in silence."""
    links: dict[int, tuple[str, bool, float]]
    """By number of each connection its route, whether it is up, and its watermark."""
    streams: bool
    """Whether it uses streams at all."""
    delisted: dict[str, str]
    """Symbols that were followed and have left the exchange, and what to say about it."""
    traded: list[str]
    """Symbols that trade though the listings do not say so."""
    listed_as_of: int
    """When (exchange ms) the listings were requested, 0 before."""
    leader: str
    """The name of the collector."""
    state: str
    """``starting``, ``live`` or ``degraded``."""
    reason: str
    """Why, in words."""
    followed: int
    """How many series it follows."""
    renewed: dict[str, int]
    """Since when (exchange ms) a name belongs to a new contract, where the collector has seen that."""

    @property
    def proved_until(self) -> float:
        """Return the exchange time up to which some connection has proved that it delivers; 0 where none has."""
        return max((watermark for _, _, watermark in self.links.values()), default=0.0)


def feed_text(feed: Feed) -> bytes:
    """Return a feed as JSON."""
    links = [[number, *link] for number, link in feed.links.items()]
    return orjson.dumps(tuple(feed._replace(links=links)))  # type: ignore[arg-type]


def feed_in(text: bytes) -> Feed:
    """Return what :func:`feed_text` wrote. Raises :class:`MalformedFeed`."""
    try:
        values = orjson.loads(text)
        feed = Feed(*values)
        links = {number: (route, up, watermark) for number, route, up, watermark in values[4]}
    except (ValueError, TypeError):
        raise MalformedFeed(f"the feed's state is malformed: {text[:80]!r}") from None
    return feed._replace(links=links)


EXCHANGE = b"exchange"
"""The field that says of which exchange a life is."""


def exchange_text(bases: Sequence[str]) -> bytes:
    """Return the base URLs of an exchange as JSON."""
    return orjson.dumps(list(bases))


def exchange_in(text: bytes) -> Sequence[str]:
    """Return what :func:`exchange_text` wrote. Raises :class:`MalformedFeed`."""
    try:
        return [str(each) for each in orjson.loads(text)]
    except (ValueError, TypeError):
        raise MalformedFeed(f"the feed's exchange is malformed: {text[:80]!r}") from None


# --- quality ---------------------------------------------------------------------------------------------


def quality_field(symbol: str) -> bytes:
    """Return the field of a symbol's quality."""
    return f"quality{FIELD_SEPARATOR}{symbol}".encode()


def quality_text(quality: Quality, at: int) -> bytes:
    """Return a quality, and the exchange's time (ms) up to which it was measured, as JSON."""
    return orjson.dumps((at, *astuple(quality)))


def quality_in(text: bytes) -> tuple[Quality, int]:
    """Return what :func:`quality_text` wrote. Raises :class:`MalformedFeed`."""
    try:
        at, *values = orjson.loads(text)
        return Quality(*values), int(at)
    except (ValueError, TypeError):
        raise MalformedFeed(f"a quality is malformed: {text[:80]!r}") from None
