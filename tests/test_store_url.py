from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ats_sync.config import Config
from ats_sync.errors import ConfigError
from ats_sync.store_url import StoreUrl

PASSWORD = "hunter2-secret"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", StoreUrl((("localhost", 6379),))),
        ("redis://localhost:7000/3", StoreUrl((("localhost", 7000),), database=3)),
        ("valkey://localhost/3", StoreUrl((("localhost", 6379),), database=3)),
        ("redis://localhost?db=4", StoreUrl((("localhost", 6379),), database=4)),
        ("rediss://cache.example:7000", StoreUrl((("cache.example", 7000),), tls=True)),
        ("valkeys://cache.example", StoreUrl((("cache.example", 6379),), tls=True)),
        ("redis://[::1]:7000", StoreUrl((("::1", 7000),))),
        ("redis://:p%40%2F@h", StoreUrl((("h", 6379),), password="p@/")),
        ("redis://reader:pw@h/1", StoreUrl((("h", 6379),), username="reader", password="pw", database=1)),
        ("unix:///run/valkey.sock", StoreUrl(path="/run/valkey.sock")),
        ("unix://:pw@/run/a%20b.sock?db=2", StoreUrl(path="/run/a b.sock", password="pw", database=2)),
        (
            "redis+sentinel://:pw@h1:1,h2,[::1]:3/feed/5",
            StoreUrl((("h1", 1), ("h2", 26379), ("::1", 3)), service="feed", password="pw", database=5),
        ),
        (
            "rediss+sentinel://h1/feed?sentinel_username=u&sentinel_password=s",
            StoreUrl((("h1", 26379),), service="feed", tls=True, sentinel_username="u", sentinel_password="s"),
        ),
        (
            "rediss://h?ssl_ca_certs=ca.pem",
            StoreUrl((("h", 6379),), tls=True, files={"ssl_ca_certs": "ca.pem"}),
        ),
    ],
)
def test_what_a_url_says(url: str, expected: StoreUrl) -> None:
    assert StoreUrl.parse(url) == expected
    assert Config(shared=url).shared == url


@pytest.mark.parametrize(
    "url",
    [
        "", "localhost", "localhost:6379", "http://h", "redis://", "redis:///0", "redis://h:port", "redis://h:99999",
        "redis://h/name", "redis://h/1/2", "redis://h/-1", "redis://h/1?db=2", "redis://h?timeout=5", "redis://h#x",
        "redis://h h", "redis://h\n", "redis://[::1", "redis://a@b@h", "redis://a:b:c@h", "unix://", "unix://h/socket",
        "unix:///", "unix:///s?ssl_ca_certs=x", "redis+sentinel://h:1", "redis+sentinel://h:1,/s",
        "redis+sentinel:///s", "redis://h?sentinel_password=x", "redis://h?ssl_ca_certs=x", "redis://h?db",
        f"redis://u:{PASSWORD}#@h", f"redis://u:{PASSWORD}?@h", f"redis://u:x@{PASSWORD}@h", f"redis://:{PASSWORD}/@h",
        f"{PASSWORD}@h", f"redis://u:{PASSWORD}@h:port", f"redis://:{PASSWORD}@h/name", f"redis://h:{PASSWORD}",
        f"redis://u:{PASSWORD}\u2100@h", f"{PASSWORD}://h", f"redis://h?{PASSWORD}=1",
    ],
)  # fmt: skip
def test_a_wrong_url_is_refused_in_one_sentence_that_does_not_contain_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StoreUrl.parse(url)
    error: BaseException | None = caught.value
    assert "\n" not in str(error)
    assert "redis+sentinel://" in str(error)
    assert PASSWORD not in f"{error!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    with pytest.raises(ConfigError, match="shared"):
        Config(shared=url)


@pytest.mark.parametrize("wrong", [5, b"redis://h", ["redis://h"], True])
def test_only_text_is_a_url(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="shared must be a URL"):
        Config(shared=wrong)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{PASSWORD}@h:1/2",
        f"unix://user:{PASSWORD}@/run/s?db=2",
        f"rediss+sentinel://user:{PASSWORD}@h1:1,[::1]:2/feed/2?sentinel_password={PASSWORD}",
    ],
)
def test_no_password_is_shown(url: str) -> None:
    parsed = StoreUrl.parse(url)
    assert parsed.password == PASSWORD
    for shown in (str(parsed), repr(parsed), f"{parsed}", repr(Config(shared=url)), str(Config(shared=url))):
        assert PASSWORD not in shown
    assert "user" in str(parsed)
    # The URL that is shown names the same place.
    assert StoreUrl.parse(str(parsed)).addresses == parsed.addresses
    assert StoreUrl.parse(str(parsed)).path == parsed.path
    assert StoreUrl.parse(str(parsed)).database == 2
    assert pickle.loads(pickle.dumps(Config(shared=url))).shared == url


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_a_config_error(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis+sentinel://{text}", f"unix://{text}"):
        try:
            parsed = StoreUrl.parse(url)
        except ConfigError:
            continue
        assert parsed.addresses or parsed.path


def test_the_environment_names_the_store() -> None:
    config = Config.from_env({"ATS_SYNC_SHARED": "redis://h", "ATS_SYNC_EGRESS": "second"})
    assert (config.shared, config.egress) == ("redis://h", "second")
    assert (Config().shared, Config().egress) == (None, "default")
    with pytest.raises(ConfigError, match="shared"):
        Config.from_env({"ATS_SYNC_SHARED": "nonsense"})


@pytest.mark.parametrize("wrong", ["", "a b", "x" * 65, "a/b", "{a}", None, 5])
def test_an_egress_is_a_plain_name(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="egress"):
        Config(egress=wrong)


@pytest.mark.parametrize("wrong", [0, -0.1, 1.1, None, "half"])
def test_the_fraction_is_a_part(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="shared_fraction"):
        Config(shared_fraction=wrong)
