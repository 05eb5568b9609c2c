from __future__ import annotations

import json

from ats_sync.simulator.settings import Settings

from .rivals import messages


def test_the_exchange_answers_every_subscription_of_the_other_clients() -> None:
    """It ignores a message that is too long, and then a comparison would lack its floor."""
    names = [f"1000000mogusdt{number:03d}@kline_15m" for number in range(1_000)]
    settings = Settings()
    sent = messages(names)
    assert [name for text in sent for name in json.loads(text)["params"]] == names
    assert max(len(text.encode()) for text in sent) <= settings.max_message
    assert max(len(json.loads(text)["params"]) for text in sent) <= settings.max_names
