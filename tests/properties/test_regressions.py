"""What random schedules have found, each shrunk and named: :func:`run` raises where a promise is broken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ats_sync.simulator.endpoints import FAPI

from ..virtual.consumers import Consume
from ..virtual.faults import (
    Ban,
    Cut,
    Dark,
    Deaf,
    Delist,
    Events,
    Fault,
    HalfOpen,
    Halt,
    Lag,
    Maintenance,
    Mute,
    Newcomer,
    NoRetryAfter,
    OldHalt,
    Others,
    Pause,
    Recompute,
    Recount,
    Refuse,
    RefuseName,
    Relist,
    Rest,
    Restart,
    Shutdown,
    Sluggish,
    Stall,
    WallClock,
)
from ..virtual.restart import Killed
from ..virtual.script import Setting
from ..virtual.world import Read, Schedule, run


def test_an_early_read_of_few_rows_does_not_cut_the_warm_up_short() -> None:
    """It began the history, so all later requests were only for what was new since then."""
    run(Schedule(setting=0, seed=232, reads=(Read(0, "klines", symbol=0, interval=0, limit=1),)))


def test_an_early_read_just_after_a_turn_does_not_begin_the_history_for_good() -> None:
    """The last closed candle was not final yet, so the warm-up's rows did not join the one row that was known."""
    run(Schedule(setting=3, seed=843, reads=(Read(0, "klines", symbol=1, interval=0, limit=1),)))


def test_a_candle_without_trades_is_no_missing_candle() -> None:
    """The first trade of the next one came before its confirmation, and the series was in doubt for seconds."""
    world = run(Schedule(setting=3, seed=3, reads=(Read(250_000, "klines", limit=3),)))
    assert [each for each in world.not_fresh if each[0] > 5_000] == []


def test_a_candle_without_trades_known_from_rest_has_no_final_event() -> None:
    run(Schedule(setting=3, seed=816, faults=(Refuse(65_950, 21_550),)))
    run(
        Schedule(
            setting=3, seed=199, faults=(HalfOpen(51_250, "market"), Cut(48_200, "public", True), Deaf(10_100, 16_650))
        )
    )


def test_a_hand_over_from_a_half_open_connection_has_a_gap() -> None:
    """The old connection was up in name only: what it lost before the new one was acknowledged was never repaired."""
    run(
        Schedule(
            setting=2,
            seed=528,
            faults=(HalfOpen(42_250, "market"),),
            reads=(Read(4_500, "book", limit=1),),
            connection_max_age=25.0,
            wall_error=-600.0,
        )
    )


@pytest.mark.parametrize("at", range(40_000, 48_000, 1_000))
def test_a_connection_dies_about_its_hand_over(at: int) -> None:
    run(Schedule(setting=0, seed=at, faults=(HalfOpen(at, "market"),), connection_max_age=25.0))


def test_a_clock_that_is_ahead_makes_no_open_candle_final() -> None:
    """This happens at the start, before the exchange's time is known, and when somebody sets the clock."""
    run(Schedule(setting=3, seed=229, reads=(Read(0, "klines", symbol=0, interval=1, limit=1),), wall_error=600.0))
    run(Schedule(setting=0, seed=250, faults=(WallClock(23_200, 600.0), Sluggish(33_150, 6_400, 300))))
    run(
        Schedule(
            setting=0,
            seed=353,
            faults=(Ban(0, 15_050),),
            reads=(Read(9_150, "klines", symbol=1, interval=0, limit=20),),
            wall_error=600.0,
        )
    )


@pytest.mark.parametrize("lag", [2_000, 6_000, 10_000])
def test_a_lagging_replica_makes_no_open_candle_final(lag: int) -> None:
    """Its last row was over by our clock when it was requested, and not by the replica's."""
    reads = tuple(Read(at, "klines", symbol=at // 500 % 3, limit=20) for at in range(24_000, 46_000, 500))
    run(Schedule(setting=0, seed=lag, faults=(Rest(20_000, 25_000, "lag", 1.0, lag),), reads=reads))


def test_a_hand_over_does_not_clear_a_suspicion() -> None:
    """A dead stream's series had no link, and neither had its state: they were equal, so the new connection made it
    live."""
    run(
        Schedule(
            setting=1,
            seed=270,
            faults=(Mute(19_450, 21_450, "btcusdt@aggTrade", "ever"),),
            reads=(
                Read(500, "open interest", symbol=1),
                Read(12_500, "klines", symbol=0, interval=0, limit=50),
                Read(18_000, "open interest", symbol=1, limit=3),
                Read(43_650, "klines", symbol=0, interval=1, limit=20),
            ),
            connection_max_age=25.0,
        )
    )


def test_a_clock_in_doubt_shows_no_candle_of_the_future() -> None:
    """The clock was set forward while there was no budget left to request the time."""
    run(
        Schedule(
            setting=3,
            seed=279,
            faults=(WallClock(6_000, 600.0), WallClock(22_150, 1.5), WallClock(17_850, 1.5)),
            reads=(Read(8_700, "book", limit=50), Read(20_250, "spot", symbol=1)),
            weight_limit=200,
        )
    )


def test_after_a_sleep_what_is_polled_is_asked_for_at_once() -> None:
    """The steady clock, by which the polls are timed, had stood still."""
    run(Schedule(setting=0, seed=372, faults=(Pause(14_800, 19_950, asleep=True),), wall_error=600.0))
    run(Schedule(setting=0, seed=202, faults=(Pause(37_600, 60_000, asleep=True),)))


def test_what_is_polled_before_the_exchange_told_its_time_is_asked_for_again() -> None:
    run(Schedule(setting=0, seed=284, faults=(Rest(0, 20_250, "502", 1.0),)))


def test_a_connection_that_only_answers_pings_is_dead() -> None:
    """Each of its streams is silent, even those that send every second whatever trades."""
    run(Schedule(setting=0, seed=980, faults=(Events(16_500, 30_000, "lose", "@", 1.0),)))


def test_a_short_page_of_trades_from_a_lagging_replica_is_not_the_beginning_of_trading() -> None:
    """The hole stayed, and the ring was taken for complete."""
    run(Schedule(setting=0, seed=6_000, faults=(Rest(20_000, 25_000, "lag", 1.0, 6_000), Cut(25_500))))


def test_an_empty_answer_is_not_the_beginning_of_trading() -> None:
    run(Schedule(setting=0, seed=6, faults=(Rest(0, 12_000, "[]", 0.5), Cut(9_000))))


@pytest.mark.parametrize("age", [23 * 3600.0, 25.0], ids=["one connection", "hand-overs"])
def test_the_final_event_of_a_thin_candle_is_no_evidence_of_a_recent_trade(age: float) -> None:
    """Where late changes stay unreported, it named a trade that the streams of longer candles rightly lacked."""
    world = run(Schedule(setting=2, seed=2, reads=(Read(250_000, "klines"),), connection_max_age=age))
    assert [state.key for state in world.process.engine.reconciler.states.values() if state.remedies] == []


def test_all_streams_of_a_symbol_lost_from_the_start() -> None:
    """The first trade came so soon after the warm-up that throttling could explain its absence from the candles."""
    run(Schedule(setting=0, seed=0, faults=(Events(0, 5_050, "lose", "btcusdt", 1.0),)))


def test_an_event_with_a_time_to_come_does_not_keep_a_book_young() -> None:
    run(Schedule(setting=2, seed=0, faults=(Dark(27_300, 6_800), Events(26_200, 1_250, "spoil", "btcusdt", 0.2))))


def test_empty_answers_before_anything_is_known_make_nothing_live() -> None:
    run(Schedule(setting=0, seed=0, faults=(Rest(0, 6_100, "[]"),)))


def test_candles_that_go_back_an_hour_do_not_tell_that_there_never_was_a_trade() -> None:
    faults = (Rest(0, 1_000, "[]", 0.2), Ban(11_800, 22_300), Others(3_700, 0.95))
    reads = (Read(14_800, "klines", symbol=1, limit=20), Read(12_050, "trades", symbol=2, limit=50))
    run(Schedule(setting=3, seed=73, faults=faults, reads=reads))


def test_a_quiet_symbol_that_is_in_no_array_of_tickers_was_not_traded() -> None:
    """The tickers showed a trade, and without a recent one before it, it could have happened long ago."""
    faults = (
        Events(4_850, 15_600, "spoil", "币安人生usdt", 1.0),
        Mute(6_250, 19_950, "btcdomusdt@kline_1m", "moved"),
        Events(8_500, 10_200, "late", "kline_1m", 1.0),
        Events(33_050, 12_650, "lose", "btcusdt@kline_1m", 0.2),
    )
    run(Schedule(setting=0, seed=132, faults=faults, connection_max_age=25.0))


def test_what_is_polled_while_the_time_is_in_doubt_is_asked_for_again() -> None:
    """Events with a time in the future made it doubtful again and again; an answer from then counts as older than it
    is."""
    faults = (
        Mute(20_400, 23_050, "币安人生usdt@aggTrade", "moved"),
        Events(20_150, 30_000, "spoil", "币安人生usdt@depth20@100ms", 0.5),
        Events(4_900, 16_350, "double", "btcusdt", 1.0),
        Mute(35_750, 2_750, "btcdomusdt@kline_1m", "moved"),
    )
    run(Schedule(setting=0, seed=414, faults=faults, connection_max_age=25.0))


def test_a_slow_answer_about_the_time_does_not_begin_a_candle_too_early() -> None:
    """The middle between sending and receiving it was a second off, though the time had been known better before."""
    run(
        Schedule(
            setting=0,
            seed=207,
            faults=(
                WallClock(8_600, -600.0),
                Dark(47_200, 3_050),
                Rest(3_000, 20_250, "slow up", 1.0),
                Mute(0, 7_150, "btcusdt@aggTrade", "resubscribed"),
            ),
            weight_limit=200,
        )
    )


def test_an_audit_just_after_a_turn_casts_no_doubt_on_the_candle_before() -> None:
    """Its answer showed the next candle before the stream could report that the one before was final."""
    faults = (Refuse(37_450, 12_750), Refuse(1_400, 1_150), Refuse(3_300, 1_750))
    run(Schedule(setting=1, seed=112, faults=faults, audit_every=12.0))


def test_the_truth_is_recorded_as_far_as_a_schedule_is_played() -> None:
    """Barred requests and little weight kept it going for longer than the recording was, and rows from after its end
    were called invented."""
    faults = (Others(60_000, 1.1), Rest(10_300, 19_850, "403", 1.0), Stall(1_850, 5_000, "market"))
    run(Schedule(setting=3, seed=405, faults=faults, weight_limit=130))


def test_after_a_pause_a_stream_that_died_in_it_is_not_trusted() -> None:
    """The backlog made its connection look alive at once; that the stream was silent was found two seconds later."""
    faults = (Mute(15_950, 27_450, "btcdomusdt@depth20@100ms", "resubscribed"), Pause(18_800, 19_100, True))
    run(Schedule(setting=0, seed=522, faults=faults))
    faults = (Pause(8_300, 12_550, False), Mute(1_000, 21_700, "btcdomusdt@kline_1m", "moved"))
    run(Schedule(setting=0, seed=434, faults=faults))


def test_a_new_subscription_that_says_nothing_is_confirmed_by_rest() -> None:
    """The tickers showed a trade that may have come before the subscription or after it, and nothing was requested."""
    run(
        Schedule(
            setting=1, seed=18, faults=(Events(1_700, 24_800, "lose", "币安人生usdt", 1.0, 3_000),), weight_limit=130
        )
    )


def test_an_answer_that_waited_out_a_pause_is_as_old_as_its_request() -> None:
    """It reached the process 45 s after it was sent, and the next poll was due a whole period later."""
    setting = Setting(869504, 1_794_959_960_000, ("BTCUSDT", "SOLUSDT"), ("1m", "1h"), 0.0015, book_ticks=(1500, 700))
    faults = (Pause(52_400, 41_400, False), Pause(48_200, 4_650, False))
    run(Schedule(setting=setting, seed=840895, faults=faults, wall_error=-600.0))


def test_connections_that_lag_for_good_are_replaced() -> None:
    world = run(Schedule(setting=2, seed=5, faults=(Lag(20_000, "market", 4_000), Lag(75_000, "public", 7_000))))
    assert world.exchange.counts["connects"] == 4
    assert all(session.lag == 0 for session in world.exchange.sessions())


@pytest.mark.parametrize("kind", ["slow up", "slow down"])
def test_a_request_path_that_is_slow_one_way_begins_no_candle_early(kind: str) -> None:
    """Once the path is quick again, the time is soon known as well as before."""
    run(Schedule(setting=0, seed=8, faults=(Rest(0, 240_000, kind, 1.0, 2_500),), wall_error=600.0))


@pytest.mark.parametrize("error", [600.0, -600.0])
def test_a_ban_without_its_header_is_waited_out_whatever_the_wall_clock_says(error: float) -> None:
    """The end of the ban is in its text, in the exchange's time."""
    faults = (NoRetryAfter(5_000, 60_000), Ban(9_000, 25_000), Cut(10_000))
    world = run(Schedule(setting=0, seed=9, faults=faults, wall_error=error))
    assert world.exchange.limits[FAPI].sent_while_banned < 10, "only what was under way when it began"


@pytest.mark.parametrize("status", ["SETTLING", "BREAK"])
def test_a_maintenance_buries_nothing(status: str) -> None:
    world = run(Schedule(setting=3, seed=3, faults=(Maintenance(0, 60_000, status), Cut(20_000))))
    assert not world.process.store.delisted


def test_a_halted_contract_stays_as_it_is() -> None:
    """Its book and its trades rest, its candles are flat, and it is not taken for one that has left."""
    script = ((12_000, "halt", "BTCUSDT"), (150_000, "resume", "BTCUSDT"))
    setting = Setting(11, 1_794_959_960_000, activity=0.02, script=script)
    reads = (Read(230_000, "klines"), Read(230_000, "book"))
    run(Schedule(setting=setting, seed=3, faults=(Cut(40_000), Pause(60_000, 20_000)), reads=reads))


@pytest.mark.parametrize("kind", ["kline_1m", "aggTrade", "depth20@100ms"])
def test_a_refused_name_costs_only_itself(kind: str) -> None:
    world = run(Schedule(setting=0, seed=4, faults=(RefuseName(15_000, 40_000, f"btcusdt@{kind}"),)))
    meanwhile = [why for at, why in world.not_fresh if 22_000 < at < 55_000]
    assert [why for why in meanwhile if "BTCUSDT" not in why] == []
    assert any("BTCUSDT" in why for why in meanwhile)


@pytest.mark.parametrize("more", [(), (Cut(31_000, "public", True),), (Pause(29_000, 15_000),)])
def test_update_ids_that_begin_anew_do_not_keep_the_old_book(more: tuple[Fault, ...]) -> None:
    world = run(Schedule(setting=0, seed=6, faults=(Restart(30_000, "BTCUSDT"), *more)))
    assert world.process.store.book("BTCUSDT").update_id() < 1_000_000


def test_the_time_is_as_old_as_a_sleep_that_came_before_its_answer() -> None:
    """The steady clock stood still, so the answer seemed to have taken no time, and old prices seemed fresh."""
    setting = Setting(
        560410, 1_794_268_784_000, ("BTCUSDT", "1000PEPEUSDT"), activity=0.0015, trailing_klines=False,
        book_ticks=(700, 700),
    )  # fmt: skip
    run(Schedule(setting=setting, seed=894503, faults=(Pause(150, 24_600, True), Dark(19_350, 50)), wall_error=-600.0))


def test_silence_while_the_streams_are_away_does_not_bear_out_a_maintenance() -> None:
    """exchangeInfo said twice that all had closed, and meanwhile no stream was connected that could say otherwise."""
    setting = Setting(778727, 1_795_485_542_000, ("BTCUSDT", "ETHUSDT"), activity=0.0015, book_ticks=(1500, 1500))
    faults = (Maintenance(32_800, 16_450, "CLOSE"), Refuse(37_900, 1_500), Pause(28_200, 8_950, True))
    run(Schedule(setting=setting, seed=23167, faults=faults, audit_every=12.0))


def test_an_answer_that_was_long_on_its_way_makes_nothing_live_that_its_siblings_refute() -> None:
    """It arrived five seconds after its request, and trades that others had reported meanwhile were not in it."""
    setting = Setting(
        seed=324963,
        start=1788220756000,
        symbols=("BTCUSDT", "1000PEPEUSDT", "DOGEUSDT"),
        intervals=("1m", "30m"),
        activity=0.006,
        book_ticks=(1500, 300, 300),
        script=((28_340, "trade", "DOGEUSDT"),),
    )
    faults = (
        Rest(40_000, 26_150, "slow down", 0.5),
        Events(49_450, 10_700, "lose", "kline", 1.0),
        Cut(38_750, "public", True),
    )
    run(Schedule(setting=setting, seed=803233, faults=faults, audit_every=12.0))


def test_a_clock_that_was_ahead_misses_no_turn() -> None:
    """By that clock the hour had ended long before; it was corrected between the turn and the moment of its check."""
    script = tuple((at, "trade", "SOLUSDT") for at in (53_060, 85_760))
    setting = Setting(
        874891, 1_794_977_974_000, ("BTCUSDT", "SOLUSDT"), ("1m", "1h"), book_ticks=(700, 1500), script=script
    )
    run(Schedule(setting=setting, seed=925976, faults=(Others(0, 1.1),), wall_error=600.0))
    # October has 31 days, November has 30.
    setting = Setting(
        103517, 1_793_491_189_000, ("BTCUSDT", "ETHUSDT", "BTCDOMUSDT"), ("1m", "1M"), 0.0015,
        script=((14_140, "halt", "BTCUSDT"), (22_800, "trade", "BTCDOMUSDT")),
    )  # fmt: skip
    faults = (Events(10_100, 5_650, "spoil", "final", 1.0),)
    run(Schedule(setting=setting, seed=725501, faults=faults, wall_error=600.0))


def test_a_repair_that_joined_one_under_way_outlives_its_refusal() -> None:
    """The one under way was for the earlier connection, and was given up when it had to be put back in line."""
    setting = Setting(
        267243, 1_788_220_753_000, ("BTCUSDT", "1000PEPEUSDT"), activity=0.0015, book_ticks=(1500, 300),
        script=tuple((at, "trade", "1000PEPEUSDT") for at in (24_240, 26_600, 44_120, 81_960)),
    )  # fmt: skip
    faults = (Others(57_650, 1.1), Pause(5_100, 50_400, False))
    run(Schedule(setting=setting, seed=741850, faults=faults, connection_max_age=25.0))


def test_a_wait_for_weight_is_counted_by_the_steady_clock() -> None:
    """Where that clock stands still while the machine sleeps, nothing is sent for that much longer, and recovery
    waits."""
    setting = Setting(
        282926, 1_795_564_745_000, ("BTCUSDT", "币安人生USDT", "XRPUSDT"), ("1m", "1M"), 0.006, trailing_klines=False,
        book_ticks=(1500, 1500, 1500), script=((11_780, "trade", "XRPUSDT"), (33_760, "trade", "XRPUSDT")),
    )  # fmt: skip
    faults = (Others(5_350, 0.95), Pause(29_700, 41_100, True), HalfOpen(48_300, "market"))
    reads = (Read(23_500, "klines", symbol=2, limit=90),)
    run(Schedule(setting=setting, seed=318118, faults=faults, reads=reads, connection_max_age=25.0))


def test_quotes_that_count_anew_tell_that_a_silent_book_is_old() -> None:
    """Their update ids were lower than the book's, so the book was taken for the newer one."""
    setting = Setting(
        747383, 1_795_046_374_000, ("BTCUSDT", "DOGEUSDT"), ("1m", "30m"), 0.0015, trailing_klines=False,
        book_ticks=(300, 700),
    )  # fmt: skip
    faults = (Restart(45_300, "DOGEUSDT"), Mute(42_900, 10_950, "dogeusdt@depth20@100ms", "ever"))
    run(Schedule(setting=setting, seed=689696, faults=faults))


def test_event_times_that_cannot_be_prove_no_connection_alive() -> None:
    """Spoiled frames of one symbol, from a far future, hid that the connection lagged: books of others were stale."""
    setting = Setting(
        750047, 1_790_812_751_000, ("BTCUSDT", "币安人生USDT", "SOLUSDT"), ("1m", "1d"), 0.006, trailing_klines=False,
        book_ticks=(700, 700, 1500),
    )  # fmt: skip
    faults = (Lag(15_250, "public", 5_000), Events(5_250, 17_550, "spoil", "币安人生usdt", 1.0))
    run(Schedule(setting=setting, seed=530098, faults=faults))


def test_a_book_at_rest_is_not_taken_from_a_replica_that_lags() -> None:
    """The answer had a time before its subscription, and what had changed in between was never reported."""
    setting = Setting(
        296766, 1_793_807_960_000, ("BTCUSDT", "DOGEUSDT"), ("1m", "15m"), book_ticks=(300, 700),
        script=((14_420, "halt", "BTCUSDT"),),
    )  # fmt: skip
    run(Schedule(setting=setting, seed=344939, faults=(Rest(1_300, 18_800, "lag", 0.5, 3_000), HalfOpen(8_350))))


def test_candles_at_rest_are_not_taken_from_a_replica_that_lags() -> None:
    """The trades showed one that the answer about the candles lacked, since it was requested after that."""
    setting = Setting(
        609067, 1_794_959_964_000, ("BTCUSDT", "BTCDOMUSDT"), ("1m", "1h"), 0.0015, book_ticks=(300, 1500),
        script=tuple((at, "trade", "BTCDOMUSDT") for at in (14_820, 16_760, 16_860)),
    )  # fmt: skip
    run(Schedule(setting=setting, seed=3, faults=(Rest(9_949, 14_000, "lag", 1.0, 4_000), Dark(14_803, 553))))


def test_trades_at_rest_are_not_taken_from_a_replica_that_lags() -> None:
    """They stayed so until the tickers of all symbols were due again, after two minutes."""
    setting = Setting(
        963896, 1_794_959_968_000, ("BTCUSDT", "BTCDOMUSDT"), ("1m", "1h"), 0.0015, book_ticks=(300, 1500),
        script=tuple((at, "trade", "BTCDOMUSDT") for at in (10_280, 11_660, 12_240)),
    )  # fmt: skip
    faults = (Rest(10_198, 14_000, "lag", 0.5, 6_000), Dark(10_644, 3_771))
    run(Schedule(setting=setting, seed=52, faults=faults, reads=(Read(79_198, "klines"),)))


def test_a_replica_that_lags_convicts_no_stream() -> None:
    """What had been traded before the subscription was missing from three answers, and the stream was given up."""
    setting = Setting(
        108352, 1_794_960_010_000, ("BTCUSDT", "BTCDOMUSDT"), ("1m", "1h"), 0.0015, book_ticks=(300, 1500),
        script=tuple((at, "trade", "BTCDOMUSDT") for at in (19_780, 20_600, 21_440)),
    )  # fmt: skip
    faults = (Rest(13_719, 14_000, "lag", 1.0, 9_000), Refuse(18_940, 1_669))
    run(Schedule(setting=setting, seed=219, faults=faults, reads=(Read(82_719, "klines"),)))


def test_a_book_whose_ids_contradict_those_of_rest_is_asked_for_until_that_is_settled() -> None:
    """It was halted, so no frame came to show which of them was true, and it was never requested again."""
    setting = Setting(
        564201, 1_793_491_143_000, ("BTCUSDT", "币安人生USDT", "DOGEUSDT"), ("1m", "2h"), book_ticks=(1500, 300, 300),
        script=(*((at, "trade", "DOGEUSDT") for at in (5_800, 18_160)), (19_760, "halt", "BTCUSDT")),
    )  # fmt: skip
    run(Schedule(setting=setting, seed=113327, faults=(Restart(21_600, "BTCUSDT"), Cut(19_150, "public", True))))


def test_a_recomputed_candle_of_which_one_frame_told_at_once_is_not_served_on() -> None:
    """The frame came within a second of the one before, when it might have been late, and for a long time it was the
    last."""
    setting = Setting(
        156828, 1_795_305_581_000, ("币安人生USDT", "SOLUSDT", "BTCUSDT"), ("1m", "15m"), 0.006,
        book_ticks=(1500, 1500, 1500),
    )  # fmt: skip
    run(Schedule(setting=setting, seed=32304, faults=(Recompute(54_100, "SOLUSDT", 5_000),)))


def test_a_trade_of_a_new_count_that_came_soon_and_stayed_alone_is_not_left_out() -> None:
    setting = Setting(804423, 1_794_923_970_000, ("BTCUSDT", "BTCDOMUSDT"), book_ticks=(1500, 300))
    script = ((7_420, "trade", "BTCDOMUSDT"), (24_600, "trade", "BTCDOMUSDT"), (55_020, "trade", "BTCDOMUSDT"))
    setting = replace(setting, script=script)
    faults = (
        Recount(11_200, "BTCUSDT"),
        Recount(29_700, "BTCUSDT"),
        Recount(16_300, "BTCDOMUSDT"),
        Recount(27_900, "BTCDOMUSDT"),
    )
    reads = (Read(26_450, "klines", 1, 0, 90), Read(31_900, "book", 1, 1, 3), Read(32_950, "book", 1, 0, 1))
    run(Schedule(setting=setting, seed=842410, faults=faults, reads=reads, connection_max_age=25.0, wall_error=-600.0))


def test_after_a_halt_without_candles_a_quiet_symbol_has_its_flat_candle_again() -> None:
    """REST had shown that there was none, and another request followed only where a trade came or the interval was
    over."""
    run(Schedule(setting=3, seed=270584, faults=(Halt(47_500, "BTCDOMUSDT", 113_350),), connection_max_age=25.0))


def test_an_answer_that_shows_fewer_trades_makes_no_candle_live() -> None:
    """The connection was lost just before the candle was recomputed; the answer of a few seconds later was taken for
    that of a lagging replica, and what was known before was still served as fresh."""
    setting = Setting(605043, 1_794_787_161_000, ("BTCUSDT", "ETHUSDT"), ("1m", "15m"), book_ticks=(700, 300))
    setting = replace(setting, script=((25_240, "trade", "ETHUSDT"), (50_600, "halt", "BTCUSDT")))
    faults = (Dark(19_150, 50), Recompute(22_900, "BTCUSDT", 5_000))
    run(Schedule(setting=setting, seed=997463, faults=faults, audit_every=12.0))


def test_candles_at_rest_convict_no_trades_by_an_old_count() -> None:
    """After the ids had begun again nothing was traded, so the newest frames went on naming an earlier id."""
    setting = Setting(657234, 1_794_787_196_000, ("BTCUSDT", "DOGEUSDT"), ("1m", "5m"), 0.0015, book_ticks=(1500, 1500))
    setting = replace(setting, script=tuple((at, "trade", "DOGEUSDT") for at in (86_240, 117_100, 178_720)))
    faults = (Deaf(34_750, 12_300), Recount(49_350, "BTCUSDT"), HalfOpen(14_950, "market"))
    run(Schedule(setting=setting, seed=435473, faults=faults))


def test_the_only_trades_there_are_under_new_ids_are_not_looked_for_under_the_old_ones() -> None:
    """A halted contract had traded three times, and no trade came to show that ids had begun again."""
    setting = Setting(597955, 1_794_182_366_000, ("BTCUSDT", "BTCDOMUSDT"), ("1m", "1M"), 0.006, book_ticks=(700, 700))
    setting = replace(setting, script=((2_200, "trade", "BTCDOMUSDT"), (24_540, "halt", "BTCUSDT")))
    faults = (Dark(51_300, 50), Newcomer(15_150, "BTCUSDT"), Recount(52_400, "BTCUSDT"))
    run(Schedule(setting=setting, seed=406860, faults=faults))


def test_a_contract_listed_again_while_the_clock_is_ahead_is_known_before_that_time_has_come() -> None:
    """Everything that was requested within ten minutes seemed to have been requested for the earlier contract, and was
    dropped."""
    setting = Setting(529338, 1_796_083_143_000, ("BTCUSDT", "ETHUSDT"), ("1m", "30m"), book_ticks=(1500, 1500))
    faults = (Relist(53_700, "ETHUSDT", 50, True), WallClock(50_700, 600.0), Others(18_050, 1.1))
    run(Schedule(setting=setting, seed=457131, faults=faults))


def test_a_trade_just_after_a_new_subscription_is_confirmed_though_rest_has_shown_it_among_the_trades() -> None:
    """It came 396 ms after the subscription of the candles, whose stream lost everything: that might have been
    throttling."""
    setting = Setting(888790, 1_794_787_164_000, ("BTCUSDT", "SOLUSDT"), ("1m", "30m"), book_ticks=(1500, 700))
    faults = (Pause(18_300, 300, True), Events(24_400, 7_200, "lose", "solusdt", 1.0))
    run(Schedule(setting=setting, seed=816614, faults=faults))


def test_a_book_whose_newest_frame_bore_a_time_to_come_is_suspected_once_it_is_silent() -> None:
    """By that time it was later than all quotes, which were not evidence against it."""
    setting = Setting(
        746116, 1_794_182_355_000, ("1000PEPEUSDT", "BTCUSDT"), ("1m", "3m"), trailing_klines=False,
        book_ticks=(700, 300), script=tuple((at, "trade", "BTCUSDT") for at in (2_220, 9_940, 44_080)),
    )  # fmt: skip
    faults = (Events(5_750, 29_600, "spoil", "1000pepeusdt", 1.0), Refuse(6_150, 1_200))
    run(Schedule(setting=setting, seed=526693, faults=faults))


def test_a_book_whose_newest_frame_bore_a_time_to_come_is_replaced_when_update_ids_begin_anew() -> None:
    """Everything that followed had lower ids and earlier times."""
    setting = Setting(
        649699, 1_794_959_952_000, ("BTCUSDT", "1000PEPEUSDT"), ("1m", "30m"), 0.0015, trailing_klines=False,
        book_ticks=(300, 300), script=tuple((at, "trade", "1000PEPEUSDT") for at in (14_920, 30_480)),
    )  # fmt: skip
    faults = (Events(8_800, 1_550, "spoil", "depth20", 0.2), Restart(9_850, "BTCUSDT"))
    run(Schedule(setting=setting, seed=1304, faults=faults))


def test_a_quiet_contract_that_was_said_to_be_gone_before_its_first_mark_is_not_buried() -> None:
    """Its mark moved from then on, but was not compared with any."""
    setting = Setting(593370, 1_794_095_950_000, ("BTCUSDT", "ETHUSDT"), ("1m", "3d"), 0.006, book_ticks=(700, 700))
    script = (*((at, "trade", "ETHUSDT") for at in (14_000, 98_500, 131_940)), (11_740, "halt", "BTCUSDT"))
    setting = replace(setting, script=script)
    run(Schedule(setting=setting, seed=787058, faults=(Maintenance(0, 7_750, "CLOSE"),)))


def test_a_candle_without_trades_after_a_hole_begins_where_the_hole_ended() -> None:
    """Its price is that of a trade which no candle shows: what REST showed of it is right."""
    setting = Setting(750391, 1_795_132_769_000, ("BTCUSDT", "BTCDOMUSDT"), ("1m", "2h"), 0.006, book_ticks=(300, 1500))
    run(Schedule(setting=setting, seed=86644, faults=(OldHalt(0, "BTCDOMUSDT", 3.76, 1.73),)))


def test_where_all_books_rest_the_connection_of_books_is_not_given_up_again_and_again() -> None:
    """One had been halted for good, the other had never traded, so no quotes came on any connection."""
    setting = Setting(593370, 1_794_095_950_000, ("BTCUSDT", "ETHUSDT"), ("1m", "3d"), 0.006, book_ticks=(700, 700))
    setting = replace(setting, script=((11_740, "halt", "BTCUSDT"),), alone=True)
    faults = (Newcomer(10_000_000, "ETHUSDT"), Cut(60_000, "public"))
    world = run(Schedule(setting=setting, seed=787058, faults=faults))
    assert world.exchange.counts["connects"] <= 6


def test_a_candle_without_trades_may_follow_a_halt_that_has_just_ended() -> None:
    setting = Setting(563855, 1_795_111_144_000, ("BTCUSDT", "BTCDOMUSDT", "1000PEPEUSDT"), ("1m", "15m"), 0.006)
    script = tuple((at, "trade", "1000PEPEUSDT") for at in (16_760, 88_180, 120_980, 170_580))
    setting = replace(setting, book_ticks=(1500, 700, 300), script=script)
    run(Schedule(setting=setting, seed=721011, faults=(Halt(49_800, "BTCUSDT", 69_750),)))


def test_that_a_name_belongs_to_another_contract_is_found_out_before_the_weight_is_gone() -> None:
    """Both events were missed, and the request that would show it waited for weight that the repairs might use."""
    setting = Setting(686493, 1_795_737_600_000, ("BTCUSDT", "SOLUSDT"), ("1m", "4h"), 0.0015, book_ticks=(700, 1500))
    moments = (19_660, 21_440, 67_740, 68_500, 75_960, 86_880, 87_080, 109_900, 110_160, 144_780, 187_060, 215_200)
    setting = replace(setting, script=tuple((at, "trade", "SOLUSDT") for at in moments))
    faults = (Cut(14_100, "market"), Refuse(31_200, 15_050), Relist(23_150, "SOLUSDT", 18_300))
    for seed in (2, 12):
        run(Schedule(setting=setting, seed=seed, faults=faults, weight_limit=200))


def test_a_read_of_a_candle_that_was_recomputed_while_nobody_listened_is_the_answer_of_rest() -> None:
    """Memory waits for a second answer of fewer trades before it accepts the first; a reader should not have to
    wait."""
    setting = Setting(524103, 1_796_083_150_000, ("BTCUSDT", "ETHUSDT"), ("1m", "3d"), 0.006, book_ticks=(1500, 300))
    setting = replace(setting, script=tuple((at, "trade", "ETHUSDT") for at in (50_380, 123_940, 193_360)))
    setting = replace(setting, trailing_klines=True)
    faults = (Deaf(18_300, 1_900), Recompute(18_250, "ETHUSDT", 200))
    run(Schedule(setting=setting, seed=568520, faults=faults, reads=(Read(24_750, "klines", 1, 0, 20),)))


def test_a_subscription_of_a_time_to_come_does_not_keep_a_quiet_book_from_going_live() -> None:
    """The wall clock was ten minutes ahead when it was acknowledged: every answer seemed older than that."""
    setting = Setting(917032, 1_794_182_354_000, ("XRPUSDT", "BTCUSDT"), ("1m", "3d"), 0.006, book_ticks=(300, 1500))
    setting = replace(setting, trailing_klines=True, script=((40_320, "trade", "BTCUSDT"),))
    faults = (Refuse(7_950, 9_300), WallClock(20_050, 600.0), Newcomer(216_000_000, "XRPUSDT", False))
    run(Schedule(setting=setting, seed=592045, faults=faults))


def test_an_answer_of_fewer_trades_just_after_the_connection_was_lost_makes_no_candle_live() -> None:
    """It was requested 992 ms after the newest frame, which might have been only a difference of clocks."""
    setting = Setting(525616, 1_788_220_755_000, ("BTCUSDT", "BTCDOMUSDT"), ("1m", "3d"), book_ticks=(1500, 700))
    moments = (75_580, 87_280, 107_020, 143_440, 157_220, 191_320, 199_660, 236_500)
    setting = replace(setting, script=tuple((at, "trade", "BTCDOMUSDT") for at in moments))
    faults = (Recompute(11_100, "BTCDOMUSDT", 5_000), Recompute(23_500, "BTCDOMUSDT", 5_000), Deaf(22_750, 50))
    run(Schedule(setting=setting, seed=205937, faults=faults, audit_every=12.0))


def test_two_trades_of_one_millisecond_may_have_the_same_id() -> None:
    """Ids began again, and once more just after a trade: what had been served before was true."""
    setting = Setting(942468, 1_794_787_176_000, ("BTCUSDT", "SOLUSDT"), ("1m", "1M"), 0.0015, trailing_klines=False)
    moments = (4_200, 60_840, 97_980, 120_380, 140_640, 184_260, 189_900, 219_140, 219_280)
    setting = replace(setting, book_ticks=(1500, 700), script=tuple((at, "trade", "SOLUSDT") for at in moments))
    faults = (Recount(59_600, "BTCUSDT"), Relist(40_800, "BTCUSDT", 50, below=True))
    run(Schedule(setting=setting, seed=30699, faults=faults))


def test_a_frame_of_fewer_trades_that_an_answer_may_have_overtaken_is_doubted_where_none_follows_it() -> None:
    """The answer had been requested 226 ms before the frame, of a candle that was recomputed between the two."""
    setting = Setting(
        279642, 1_788_220_762_000, ("BTCUSDT", "BTCDOMUSDT"), ("1m", "1w"), 0.0015, book_ticks=(1500, 300)
    )
    moments = (380, 13_600, 57_080, 96_060, 153_900, 178_560, 180_860)
    setting = replace(setting, script=tuple((at, "trade", "BTCDOMUSDT") for at in moments))
    recomputed = ((25_700, "BTCUSDT", 200), (2_600, "BTCDOMUSDT", 20_000), (37_300, "BTCUSDT", 0))
    recomputed = (*recomputed, (7_050, "BTCUSDT", 20_000), (39_250, "BTCUSDT", 5_000))
    faults = tuple(Recompute(*each) for each in recomputed)
    run(Schedule(setting=setting, seed=67507, faults=faults, weight_limit=200))


def test_a_mark_of_the_second_in_which_a_contract_was_listed_may_be_of_either() -> None:
    setting = Setting(552170, 1_793_491_178_000, ("BTCUSDT", "ETHUSDT"), ("1m", "1w"), 0.006, book_ticks=(300, 700))
    faults = (Relist(42_450, "ETHUSDT", 3_750, below=True),)
    run(Schedule(setting=setting, seed=704132, faults=faults, reads=(Read(46_600, "mark", 1, 1, 50),)))


def test_trades_that_go_live_under_new_ids_are_not_suspected_for_lack_of_the_old_ones() -> None:
    """The answer came before the next look at the evidence, which would have forgotten it."""
    setting = Setting(
        567272, 1_794_182_389_000, ("BTCUSDT", "BTCDOMUSDT"), ("1m", "1h"), 0.0015, book_ticks=(1500, 300)
    )
    moments = (42_460, 127_380, 201_960, 234_800)
    setting = replace(setting, script=tuple((at, "trade", "BTCDOMUSDT") for at in moments))
    faults = (Recount(43_850, "BTCDOMUSDT"),)
    run(Schedule(setting=setting, seed=971512, faults=faults, weight_limit=200))


def test_the_first_trade_under_new_ids_may_come_just_before_the_end() -> None:
    setting = Setting(101051, 1_793_699_988_000, ("BTCUSDT", "SOLUSDT"), ("1m", "5m"), 0.0015, trailing_klines=False)
    moments = (39_060, 53_360, 83_840, 89_700, 93_620, 128_740, 130_080, 140_940, 177_280, 183_480)
    setting = replace(setting, book_ticks=(1500, 1500), script=tuple((at, "trade", "SOLUSDT") for at in moments))
    run(Schedule(setting=setting, seed=612286, faults=(Recount(54_350, "BTCUSDT"), Others(30_450, 0.7))))


def test_a_full_book_at_rest_does_not_stay_on_a_connection_that_is_about_to_be_closed() -> None:
    """The next one was subscribed to a moment before the dead one was known to be down, and no change ever came on
    it."""
    setting = Setting(11183, 1_794_992_376_000, ("ETHUSDT", "BTCUSDT", "XRPUSDT"), ("1m", "5m"), 0.0015)
    moments = (7_340, 42_320, 57_200, 68_100, 72_980, 100_640, 135_560, 150_780, 173_640, 181_400, 225_360, 227_720)
    script = tuple((at, "trade", "XRPUSDT") for at in moments)
    setting = replace(setting, book_ticks=(1500, 1500, 700), script=script)
    faults = (Newcomer(216_000_000, "ETHUSDT", True), Dark(38_050, 50))
    run(Schedule(setting=setting, seed=302374, faults=faults, connection_max_age=25.0, full_book=True))


def test_a_full_book_that_counts_again_while_it_rests_is_not_convicted_by_frames_of_before() -> None:
    setting = Setting(261788, 1_794_441_598_000, ("BTCUSDT", "ETHUSDT"), ("1m", "3m"), 0.006, book_ticks=(300, 700))
    moments = (62_940, 83_100, 101_960, 144_700, 162_040, 231_260)
    script = ((20_740, "halt", "BTCUSDT"), *((at, "trade", "ETHUSDT") for at in moments))
    setting = replace(setting, script=script)
    faults = (Refuse(19_100, 5_800), Restart(26_500, "BTCUSDT"))
    run(Schedule(setting=setting, seed=857733, faults=faults, full_book=True))


def test_a_full_book_that_counts_again_while_it_rests_and_whose_connection_was_replaced_goes_live() -> None:
    names = ("BTCUSDT", "SOLUSDT", "BTCDOMUSDT")
    setting = Setting(723798, 1_794_585_590_000, names, ("1m", "2h"), 0.0015, book_ticks=(1500, 700, 1500))
    moments = (5_260, 12_700, 24_520, 31_140, 52_860, 75_160, 129_920, 149_100, 158_840, 190_120, 195_140, 227_680)
    script = ((38_620, "halt", "BTCUSDT"), *((at, "trade", "BTCDOMUSDT") for at in moments))
    setting = replace(setting, script=script)
    faults = (Lag(47_150, "public", 3_000), Restart(38_900, "BTCUSDT"))
    run(Schedule(setting=setting, seed=183838, faults=faults, full_book=True))


def test_one_page_of_trades_after_the_other_may_be_on_its_way_between_busy_threads() -> None:
    """Two looks in a row each found a request that nobody carried yet, but not the same one."""
    setting = Setting(69242, 1_795_071_564_000, ("BTCUSDT", "XRPUSDT"), ("1m", "3m"), 0.006, trailing_klines=False)
    script = tuple((at, "trade", "XRPUSDT") for at in (20_420, 150_760, 225_700))
    setting = replace(setting, book_ticks=(700, 700), script=script)
    faults = (
        Pause(4_050, 31_250), Relist(21_300, "BTCUSDT", 750, below=True), Sluggish(45_900, 2_700),
        Relist(32_050, "XRPUSDT", 900), Newcomer(26_950, "BTCUSDT", True), Dark(34_150, 50),
    )  # fmt: skip
    run(Schedule(setting=setting, seed=23446, faults=faults, wall_error=-600.0))


def test_a_recomputed_candle_is_as_the_newest_frame_says_where_an_answer_of_before_confirms_it() -> None:
    """Of two frames of fewer trades the second was dropped, and the answer showed the state of the first."""
    setting = Setting(390498, 1_793_491_198_000, ("ETHUSDT", "BTCUSDT"), ("1m", "3m"), 0.006, book_ticks=(300, 1500))
    moments = (19_620, 75_440, 83_240, 133_820, 135_080, 135_980, 146_180, 175_480, 176_220, 187_380)
    setting = replace(setting, script=tuple((at, "trade", "BTCUSDT") for at in moments))
    faults = (
        RefuseName(4_650, 2_300, "btcusdt@aggTrade"),
        Recompute(22_250, "BTCUSDT", 600),
        Halt(20_700, "ETHUSDT", 3_550),
    )
    run(Schedule(setting=setting, seed=313847, faults=faults, wall_error=-600.0, audit_every=12.0))


def test_what_was_planned_while_the_clock_was_in_doubt_does_not_wait_for_the_time_that_it_showed() -> None:
    """The check whether a resting book lacked what came before its subscription was planned for ten minutes later."""
    names = ("DOGEUSDT", "BTCUSDT", "BTCDOMUSDT")
    setting = Setting(437508, 1_795_391_994_000, names, ("1m", "1M"), 0.0015, book_ticks=(300, 1500, 300))
    trades = ((65_320, "trade", "BTCDOMUSDT"), (206_500, "trade", "BTCDOMUSDT"))
    setting = replace(setting, script=((37_940, "halt", "DOGEUSDT"), *trades))
    faults = (Others(24_000, 0.95), WallClock(43_550, 600.0), Refuse(59_350, 1_150))
    run(Schedule(setting=setting, seed=157794, faults=faults, audit_every=12.0))


def test_a_book_whose_ids_began_again_in_a_halt_is_taken_up_with_the_first_event_after_it() -> None:
    """For five seconds the events counted as old ones, and the book from before the halt was served."""
    setting = Setting(906152, 1_796_083_176_000, ("BTCUSDT", "ETHUSDT"), ("1m", "1M"), 0.0015, book_ticks=(700, 1500))
    script = ((6_320, "halt", "BTCUSDT"), (46_720, "resume", "BTCUSDT"), (122_220, "trade", "ETHUSDT"))
    faults = (
        Cut(650, "public"),
        Restart(9_400, "BTCUSDT"),
        Lag(27_350, "public", 6_000),
        Recompute(37_750, "ETHUSDT", 200),
    )
    run(Schedule(setting=replace(setting, script=script), seed=306968, faults=faults, full_book=True))


def test_a_book_whose_ids_begin_again_just_after_a_hand_over_is_fetched_again() -> None:
    """For five seconds the events of the new connection counted as those that the old one had delivered."""
    setting = Setting(836634, 1_793_491_176_000, ("BTCUSDT", "1000PEPEUSDT"), ("1m", "1w"), 0.02)
    moments = (14_860, 19_100, 20_720, 38_540, 40_700, 41_040, 119_500, 147_760, 169_160, 171_100, 198_540, 213_280)
    script = tuple((at, "trade", "1000PEPEUSDT") for at in moments)
    setting = replace(setting, book_ticks=(1500, 1500), script=script)
    faults = (Restart(23_350, "BTCUSDT"), Cut(16_000, "market", True))
    run(Schedule(setting=setting, seed=594989, faults=faults, connection_max_age=25.0, full_book=True))


def test_that_a_name_belongs_to_another_contract_is_found_out_after_the_pause_in_which_it_changed() -> None:
    """A process that has just resumed does not know of it yet."""
    names, ticks = ("BTCUSDT", "1000PEPEUSDT", "DOGEUSDT"), (300, 700, 300)
    setting = Setting(99829, 1_794_182_393_000, names, ("1m", "1d"), 0.006, book_ticks=ticks)
    faults = (Pause(18_600, 46_050, asleep=True), Relist(23_900, "BTCUSDT", 2_150, below=True), WallClock(16_850, -3.0))
    reads = tuple(
        Read(at, kind, symbol, interval, limit)
        for at, kind, symbol, interval, limit in (
            (50_200, "klines", 0, 0, 3), (34_300, "klines", 2, 1, 90), (44_100, "mark", 2, 1, 1),
            (32_900, "book", 1, 1, 20),
        )
    )  # fmt: skip
    run(Schedule(setting=setting, seed=85597, faults=faults, reads=reads))


def test_an_empty_book_is_stale_as_soon_as_something_is_quoted() -> None:
    """The stream of an announced contract died just before its first trade."""
    names, ticks = ("BTCUSDT", "ETHUSDT", "XRPUSDT"), (300, 700, 300)
    script = ((5_140, "trade", "XRPUSDT"), (15_580, "trade", "XRPUSDT"))
    setting = Setting(601552, 1_794_787_169_000, names, ("1m", "1M"), 0.02, book_ticks=ticks, script=script)
    faults = (Mute(5_450, 14_050, "xrpusdt@depth20@100ms", "resubscribed"), Newcomer(5_500, "XRPUSDT", pending=True))
    run(Schedule(setting=setting, seed=302475, faults=faults))


def test_trades_whose_stream_has_died_are_suspected_though_ids_have_begun_again() -> None:
    """What the other streams reported had lower ids than the last trade that had come, and was taken for old."""
    moments = (46_200, 47_020, 92_460, 111_880, 187_520)
    script = tuple((at, "trade", "DOGEUSDT") for at in moments)
    names, ticks = ("BTCUSDT", "DOGEUSDT"), (300, 700)
    setting = Setting(902851, 1_794_787_145_000, names, ("1m", "1w"), 0.0015, book_ticks=ticks, script=script)
    faults = (Recount(37_350, "DOGEUSDT"), Mute(28_200, 27_300, "dogeusdt@aggTrade", "ever"))
    run(Schedule(setting=setting, seed=852177, faults=faults))


def test_ids_that_begin_again_are_a_reason_to_look_whose_name_it_is() -> None:
    """The event of the listing was malformed, and the candles of the earlier contract were served for minutes."""
    moments = (198_260, 203_160, 230_500)
    script = tuple((at, "trade", "DOGEUSDT") for at in moments)
    names, ticks = ("BTCUSDT", "DOGEUSDT"), (700, 700)
    setting = Setting(880375, 1_794_787_184_000, names, ("1m", "5m"), 0.0015, book_ticks=ticks, script=script)
    faults = (Events(32_900, 1_900, "spoil", "!", 1.0, 3_000), Relist(34_350, "BTCUSDT", 50, below=True))
    run(Schedule(setting=setting, seed=456683, faults=faults))


def test_a_halted_contract_whose_ids_begin_again_stays_live() -> None:
    """No stream can deliver what has not happened, though the tickers show lower ids."""
    names, ticks = ("BTCUSDT", "币安人生USDT", "ETHUSDT"), (700, 300, 1_500)
    script = ((10_840, "halt", "BTCUSDT"),)
    setting = Setting(820441, 1_794_787_178_000, names, ("1m", "1h"), 0.02, book_ticks=ticks, script=script)
    run(Schedule(setting=setting, seed=161655, faults=(Refuse(27_800, 50), Recount(43_300, "BTCUSDT"))))


def test_what_a_ban_refused_is_no_evidence_that_the_count_began_anew() -> None:
    """The exchange had not counted it, and its lower count was taken for that of a new minute."""
    setting = Setting(630963, 1_794_787_163_000, ("SOLUSDT", "BTCUSDT"), ("1m", "1w"), 0.0015, book_ticks=(700, 1500))
    faults = (Dark(46_800, 50), Ban(400, 200))
    run(Schedule(setting=setting, seed=364236, faults=faults, weight_limit=200, counting="sliding"))


def test_nor_is_a_book_that_cost_less_than_was_paid_for_it() -> None:
    names = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    setting = Setting(939468, 1_794_596_383_000, names, ("1m", "1w"), 0.02, book_ticks=(700, 700, 700))
    schedule = Schedule(setting=setting, seed=236360, faults=(Dark(30_650, 50),), weight_limit=200, full_book=True)
    run(replace(schedule, counting="sliding", report_lag=300))


def test_a_read_does_not_complete_an_answer_from_what_was_forgotten_meanwhile() -> None:
    """The machine slept; the read waited while the new contract's first answers were forgotten as planned."""
    script = tuple((at, "trade", "SOLUSDT") for at in (4_420, 16_520, 21_520, 23_340, 162_380, 190_060))
    names, ticks = ("BTCUSDT", "SOLUSDT"), (700, 700)
    setting = Setting(94635, 1_794_182_352_000, names, ("1m", "4h"), 0.02, True, book_ticks=ticks, script=script)
    faults = (Relist(50, "SOLUSDT", 5_150, below=True), Pause(12_300, 44_950, asleep=True), Refuse(53_500, 50))
    reads = (Read(18_400, "mark", 0, 0, 1), Read(18_700, "klines", 1, 0, 3))
    run(Schedule(setting=setting, seed=743788, faults=faults, reads=reads, audit_every=12.0))


def test_the_last_trade_before_a_halt_may_be_lacking_as_long_as_one_that_was_traded_before_rest_lagged() -> None:
    """The harness was wrong: between two allowances for what rests there was a gap of two seconds."""
    names, ticks = ("BTCUSDT", "1000PEPEUSDT", "SOLUSDT"), (300, 700, 700)
    script = ((9_960, "halt", "BTCUSDT"), (29_480, "resume", "BTCUSDT"), (87_240, "trade", "SOLUSDT"))
    setting = Setting(39685, 1_794_981_597_000, names, ("1m", "15m"), 0.02, False, book_ticks=ticks, script=script)
    faults = (Rest(12_700, 3_950, "lag", 1.0, 7_000), HalfOpen(9_550))
    reads = (Read(1_700, "trades", 2, 0, 50),)
    run(Schedule(setting=setting, seed=483188, faults=faults, reads=reads, weight_limit=130))


def test_a_book_waits_a_minute_more_where_a_late_report_makes_our_own_weight_look_like_anothers() -> None:
    """The harness was wrong: it expected the book to be live before there was weight for it."""
    names, ticks = ("BTCUSDT", "1000PEPEUSDT", "SOLUSDT"), (700, 300, 300)
    script = tuple((at, "trade", "SOLUSDT") for at in (26_060, 36_400, 157_840, 233_540, 238_480))
    setting = Setting(139734, 1_794_182_366_000, names, ("1m", "1h"), 0.006, False, book_ticks=ticks, script=script)
    schedule = Schedule(setting=setting, seed=440808, faults=(Refuse(26_750, 950), HalfOpen(35_700)), weight_limit=130)
    run(replace(schedule, full_book=True, counting="sliding", report_lag=4_500))


def test_a_candle_that_was_recomputed_twice_is_in_doubt_until_an_answer_shows_which_state_is_newer() -> None:
    """The last frame of the first recomputation had more trades than an answer seconds later, and was taken for
    newer."""
    moments = (2_400, 3_060, 15_980, 43_100, 78_160, 85_660, 87_600, 88_120)
    script = tuple((at, "trade", "DOGEUSDT") for at in moments)
    names, ticks = ("BTCUSDT", "DOGEUSDT"), (1_500, 700)
    setting = Setting(310007, 1_796_083_184_000, names, ("1m", "3d"), 0.0015, book_ticks=ticks, script=script)
    faults = (Refuse(2_550, 2_450), Recompute(1_800, "BTCUSDT", 600), Recompute(3_000, "BTCUSDT", 20_000))
    run(Schedule(setting=setting, seed=704128, faults=faults))


def test_a_book_at_rest_in_a_new_count_is_what_rest_shows() -> None:
    """Events of the old count, whose ids are higher, were applied to the snapshot once more."""
    btc = (2_280, 8_020, 22_120, 53_160, 58_140, 61_120, 63_080, 64_000, 71_220, 73_640, 75_020, 97_760)
    script = (*((at, "trade", "BTCUSDT") for at in btc), (15_640, "halt", "币安人生USDT"))
    script = tuple(sorted((*script, (47_360, "resume", "币安人生USDT"))))
    names, ticks = ("币安人生USDT", "BTCUSDT"), (300, 300)
    setting = Setting(439668, 1_795_046_400_000, names, ("1m", "3d"), 0.0015, book_ticks=ticks, script=script)
    recounts = (Recount(10_750, "币安人生USDT"), Recount(17_800, "币安人生USDT"))
    faults = (*recounts, RefuseName(23_400, 50, "btcusdt@depth20@100ms"))
    run(Schedule(setting=setting, seed=987169, faults=faults, full_book=True))


def test_candles_that_stay_at_an_old_count_do_not_hide_that_others_are_silent() -> None:
    """An event from the future had made the frames after it old, so that one interval knew only old ids."""
    script = tuple((at, "trade", "XRPUSDT") for at in (45_100, 110_580, 119_420, 133_240, 137_060, 184_500))
    names, ticks = ("BTCUSDT", "币安人生USDT", "XRPUSDT"), (300, 300, 1_500)
    setting = Setting(267899, 1_795_478_348_000, names, ("1m", "5m"), 0.02, True, book_ticks=ticks, script=script)
    spoilt = (Events(6_900, 3_950, "spoil", "kline", 0.5, 3_000), Events(13_450, 8_800, "spoil", "kline", 1.0, 3_000))
    run(Schedule(setting=setting, seed=230012, faults=(Recount(10_150, "BTCUSDT"), *spoilt)))


def test_a_halt_that_ends_just_after_the_turn_leaves_no_flat_candle_of_which_rest_has_none() -> None:
    """The first trade after it continued the last one before, and nothing was requested."""
    sol = (19_480, 42_320, 46_340, 58_360, 82_240, 99_340, 106_220, 162_020, 184_960, 201_620, 210_700, 234_740)
    script = tuple((at, "trade", "SOLUSDT") for at in sol)
    setting = Setting(
        592481,
        1_785_542_348_000,
        ("BTCUSDT", "SOLUSDT"),
        ("1m", "2h"),
        0.02,
        False,
        book_ticks=(300, 700),
        script=script,
    )
    run(Schedule(setting=setting, seed=123155, faults=(Lag(10_400, "market", 5_000), Halt(16_700, "SOLUSDT", 95_950))))


def test_candles_of_a_halt_wait_for_weight_where_it_is_scarce() -> None:
    """The harness was wrong: it expected the answer that shows whether there are any at once."""
    eth = (22_240, 139_180, 143_680, 147_880, 151_020, 165_520, 174_020, 194_000, 206_840, 214_480, 217_380)
    trades = [(at, "trade", "ETHUSDT") for at in eth]
    script = tuple(sorted([*trades, (51_060, "halt", "BTCUSDT"), (146_460, "resume", "BTCUSDT")]))
    names, ticks = ("BTCUSDT", "ETHUSDT"), (700, 300)
    setting = Setting(278645, 1_793_858_379_000, names, ("1m", "1d"), 0.02, False, book_ticks=ticks, script=script)
    run(Schedule(setting=setting, seed=291258, weight_limit=200, counting="sliding", report_lag=300))


def test_where_the_exchange_counts_any_sixty_seconds_so_does_what_others_use() -> None:
    """The harness was wrong: it expected their weight to be free at the new minute, and trades to be whole before it
    was."""
    faults = (
        Mute(39_200, 4_500, "币安人生usdt@kline_1m", "resubscribed"), Maintenance(39_100, 650, "CLOSE"),
        Cut(40_450, "market", True), Others(18_400, 0.7), Dark(43_100, 350), NoRetryAfter(47_200, 800),
    )  # fmt: skip
    reads = (Read(9_700, "trades", 1, 1, 20), Read(39_700, "spot", 0, 0, 3))
    schedule = Schedule(setting=0, seed=628556, faults=faults, reads=reads, connection_max_age=25.0, wall_error=-600.0)
    run(replace(schedule, counting="sliding"))


def test_an_event_of_before_a_sleep_does_not_hide_that_the_wall_clock_was_set_back_in_it() -> None:
    """The steady clock had stood still, too: a book of 56 s ago was passed off as fresh."""
    script = ((12_760, "halt", "BTCUSDT"), (84_080, "resume", "BTCUSDT"), (173_220, "trade", "ETHUSDT"))
    setting = Setting(
        241388,
        1_794_787_164_000,
        ("BTCUSDT", "ETHUSDT"),
        ("1m", "30m"),
        0.006,
        True,
        book_ticks=(1500, 700),
        script=script,
    )
    faults = (
        Relist(7_450, "ETHUSDT", 50, below=False), Pause(12_850, 56_600, asleep=True), WallClock(58_000, -600.0),
        HalfOpen(13_150, ""),
    )  # fmt: skip
    run(Schedule(setting=setting, seed=387390, faults=faults, full_book=True))


def test_a_contract_that_has_not_begun_to_trade_has_no_best_prices() -> None:
    """The simulator was wrong: it quoted them after a new count of ids, while REST showed an empty book."""
    trades = tuple((at, "trade", "XRPUSDT") for at in (89_440, 102_600, 116_200, 159_540, 220_360))
    setting = Setting(
        66456,
        1_795_391_990_000,
        ("BTCUSDT", "XRPUSDT"),
        ("1m", "1w"),
        0.006,
        True,
        book_ticks=(1500, 1500),
        script=trades,
    )
    faults = (Newcomer(216_000_000, "XRPUSDT", pending=True), Recount(4_000, "XRPUSDT"))
    run(Schedule(setting=setting, seed=970259, faults=faults))


def test_the_evidence_that_a_book_is_silent_comes_late_on_a_connection_that_lags() -> None:
    """The harness was wrong: it expected that evidence as soon as on one that is on time."""
    trades = tuple((at, "trade", "XRPUSDT") for at in (31_220, 62_940, 76_960, 111_700, 139_820, 162_960, 180_340))
    names, ticks = ("BTCUSDT", "XRPUSDT"), (1500, 700)
    setting = Setting(175242, 1_793_491_189_000, names, ("1m", "15m"), 0.02, True, book_ticks=ticks, script=trades)
    faults = (
        Cut(14_800, "", reset=False), Mute(25_600, 6_450, "btcusdt@depth20@100ms", "resubscribed"),
        Lag(31_800, "", 5_000), Lag(27_050, "market", 7_000),
    )  # fmt: skip
    run(Schedule(setting=setting, seed=389244, faults=faults))


def test_that_a_name_belongs_to_another_contract_is_not_found_out_while_requests_must_wait() -> None:
    """The harness was wrong: its event came while the connection was down, and a 429 delayed the listings for a
    minute."""
    eth = (47_900, 81_200, 113_900, 128_540, 139_120, 149_880, 184_400, 190_560, 196_060, 209_760, 215_720, 215_980)
    trades, names, ticks = tuple((at, "trade", "ETHUSDT") for at in eth), ("BTCUSDT", "ETHUSDT"), (300, 1500)
    setting = Setting(773053, 1_785_542_374_000, names, ("1m", "2h"), 0.006, True, book_ticks=ticks, script=trades)
    faults = (
        RefuseName(12_900, 1_800, "ethusdt@depth20@100ms"), RefuseName(6_550, 50, "ethusdt@aggTrade"),
        Others(1_600, 0.95), Relist(12_800, "ETHUSDT", 50, below=False), Relist(23_900, "BTCUSDT", 3_000, below=False),
        Lag(8_500, "market", 4_000),
    )  # fmt: skip
    run(Schedule(setting=setting, seed=181299, faults=faults, counting="sliding"))


def test_an_answer_of_before_a_candle_was_recomputed_may_come_seconds_after_that() -> None:
    """Its greater number of trades counted, and the earlier candle was passed off as fresh."""
    trades = tuple((at, "trade", "XRPUSDT") for at in (66_080, 96_320, 117_960, 165_680, 176_220, 208_400))
    names, ticks = ("BTCUSDT", "XRPUSDT"), (700, 700)
    setting = Setting(555563, 1_793_951_967_000, names, ("1m", "4h"), 0.006, True, book_ticks=ticks, script=trades)
    faults = (
        Recompute(21_350, "BTCUSDT", quiet=1_500), Relist(7_300, "BTCUSDT", 150, below=True),
        Rest(8_900, 16_550, "slow down", 1.0, 2_400), Recompute(6_400, "BTCUSDT", quiet=600), Sluggish(3_600, 700, 300),
        Relist(16_900, "XRPUSDT", 4_950, below=True),
    )  # fmt: skip
    run(Schedule(setting=setting, seed=825986, faults=faults, connection_max_age=25.0, audit_every=12.0))


def test_a_flat_candle_of_an_answer_just_after_the_turn_follows_the_last_trades_that_come_later() -> None:
    trades = (7_720, 52_380, 53_080, 81_380, 111_780, 137_680, 146_260, 205_360, 213_880)
    script, names = tuple((at, "trade", "SOLUSDT") for at in trades), ("BTCUSDT", "SOLUSDT")
    setting = Setting(
        786135, 1_793_750_365_000, names, ("1m", "2h"), 0.006, True, book_ticks=(1500, 700), script=script
    )
    run(Schedule(setting=setting, seed=395547, reads=(Read(2_550, "book", 1, 0, 50),), audit_every=12.0))


def test_a_replica_that_lags_does_not_settle_which_state_of_a_recomputed_candle_is_true() -> None:
    """It had no fewer trades than the newest frame, as had been true some seconds before."""
    btc = (5_600, 8_620, 14_560, 15_720, 25_080, 25_860, 35_160, 35_540, 63_100, 82_160, 84_460)
    script, names = tuple((at, "trade", "BTCUSDT") for at in btc), ("BTCDOMUSDT", "BTCUSDT")
    setting = Setting(
        284835, 1_794_319_183_000, names, ("1m", "1M"), 0.0015, True, book_ticks=(300, 300), script=script
    )
    faults = (Recompute(5_700, "BTCDOMUSDT", quiet=200), Rest(4_550, 5_650, "lag", 1.0, 5_000))
    run(Schedule(setting=setting, seed=559085, faults=faults, full_book=True))


def test_that_a_halted_contract_rests_is_confirmed_when_weight_allows() -> None:
    """The harness was wrong: its candle had been over for a minute, and the weight of the minute was used up."""
    btc = (76_060, 103_860, 113_040, 143_520, 148_680, 175_860, 189_280, 205_920)
    script = ((42_040, "halt", "DOGEUSDT"), *((at, "trade", "BTCUSDT") for at in btc))
    names, ticks = ("DOGEUSDT", "ETHUSDT", "BTCUSDT"), (1500, 300, 300)
    setting = Setting(372662, 1_794_787_191_000, names, ("1m", "5m"), 0.0015, False, book_ticks=ticks, script=script)
    faults = (Maintenance(21_550, 15_500, "CLOSE"),)
    run(Schedule(setting, seed=201575, faults=faults, weight_limit=200, counting="sliding", report_lag=4_500))


def test_a_trade_of_a_new_count_that_every_stream_has_lost_is_found_though_the_market_then_rests() -> None:
    """A ticker showed its lower id, which alone does not show that it has traded."""
    script = ((45_200, "trade", "BTCUSDT"), (60_340, "trade", "BTCUSDT"))
    names = ("ETHUSDT", "BTCUSDT")
    setting = Setting(
        998483, 1_795_391_979_000, names, ("1m", "1w"), 0.006, True, book_ticks=(1500, 300), script=script
    )
    faults = (Recount(19_300, "ETHUSDT"), Events(18_850, 4_250, "lose", "ethusdt", 1.0))
    run(Schedule(setting=setting, seed=821796, faults=faults))


def test_candles_of_the_contract_that_had_the_name_are_not_served_while_exchange_info_waits_for_weight() -> None:
    """It was listed again during moments without any live connection; its candles continued the old ones."""
    moments = (34_420, 50_620, 93_120, 124_880, 138_140, 182_600, 192_380, 201_420)
    script = tuple((at, "trade", "BTCDOMUSDT") for at in moments)
    names, ticks = ("BTCUSDT", "DOGEUSDT", "BTCDOMUSDT"), (300, 700, 1500)
    setting = Setting(592331, 1_794_016_777_000, names, ("1m", "4h"), 0.02, True, book_ticks=ticks, script=script)
    faults = (
        RefuseName(7_600, 50, "btcusdt@aggTrade"),
        RefuseName(6_400, 50, "btcdomusdt@aggTrade"),
        Dark(18_300, 50),
        Relist(15_900, "DOGEUSDT", 50, below=True),
        Dark(9_300, 50),
    )
    reads = (
        Read(3_250, "klines", 0, 1, 90),
        Read(12_050, "book", 2, 1, 20),
        Read(8_750, "book", 1, 0, 50),
        Read(14_250, "book", 2, 1, 50),
        Read(6_600, "klines", 0, 0, 90),
        Read(12_800, "mark", 2, 0, 20),
        Read(3_700, "klines", 2, 0, 90),
    )
    run(
        Schedule(
            setting, 805686, faults, reads, weight_limit=200, wall_error=-600.0, audit_every=12.0, report_lag=2_000
        )
    )


def test_listings_that_were_under_way_when_a_contract_was_listed_again_are_requested_once_more() -> None:
    """It had not traded, and its empty answers were refused for as long as it counted as an old contract."""
    moments = (6_260, 35_380, 42_400, 55_160, 62_220, 64_140, 66_480, 75_120, 79_100, 80_680, 84_980, 87_500)
    script = tuple((at, "trade", "BTCUSDT") for at in moments)
    names, intervals = ("BTCDOMUSDT", "BTCUSDT"), ("1m", "1h", "1d")
    setting = Setting(853973, 1_794_787_178_000, names, intervals, 0.02, True, book_ticks=(1500, 1500), script=script)
    faults = (Relist(4_350, "BTCDOMUSDT", 50), Rest(0, 3_800, "slow down", 1.0, 2_700))
    run(Schedule(setting=setting, seed=503857, faults=faults))


def test_a_lower_ticker_of_a_moment_later_tells_of_a_new_count_where_all_events_of_the_symbol_are_lost() -> None:
    moments = (14_060, 28_020, 50_920, 52_620, 73_940, 89_140, 93_260, 99_020)
    script, names = tuple((at, "trade", "XRPUSDT") for at in moments), ("BTCUSDT", "XRPUSDT")
    setting = Setting(135563, 1_796_083_187_000, names, ("1m", "15m"), 0.02, True, book_ticks=(300, 300), script=script)
    faults = (Recount(20_900, "XRPUSDT"), Events(14_800, 12_600, "lose", "xrpusdt", 1.0))
    run(Schedule(setting=setting, seed=226220, faults=faults))


def test_trades_of_an_old_count_that_resting_candles_go_on_showing_are_not_lacked_again_and_again() -> None:
    moments = (27_160, 27_780, 30_780, 32_640, 43_820, 48_620, 54_260, 68_820, 76_300, 79_600, 88_380, 91_120)
    script = ((2_940, "halt", "BTCUSDT"), *((at, "trade", "XRPUSDT") for at in moments))
    names = ("BTCUSDT", "XRPUSDT")
    setting = Setting(
        496025, 1_793_887_197_000, names, ("1m", "3d"), 0.02, False, book_ticks=(1500, 300), script=script
    )
    faults = (Recount(3_150, "BTCUSDT"), Rest(0, 3_700, "slow up", 1.0, 1_500))
    run(Schedule(setting=setting, seed=263193, faults=faults))


def test_when_ids_began_again_is_dated_back_with_a_wall_clock_that_is_ahead() -> None:
    """The exchange's time was not known yet, and the confirmation of the candles was planned for ten minutes later."""
    script = tuple((at, "trade", "DOGEUSDT") for at in (40_900, 50_680, 60_620, 64_760, 79_760))
    names, ticks = ("币安人生USDT", "BTCUSDT", "DOGEUSDT"), (1500, 700, 300)
    setting = Setting(90723, 1_794_182_381_000, names, ("1m", "1w"), 0.02, True, book_ticks=ticks, script=script)
    faults = (Recount(9_800, "币安人生USDT"), Rest(0, 11_400, "reset", 1.0))
    run(Schedule(setting=setting, seed=490530, faults=faults, wall_error=600.0))


HALTED_EARLY = Setting(
    161218,
    1_794_473_977_000,
    ("BTCUSDT", "ETHUSDT"),
    ("1m", "1w"),
    0.0015,
    True,
    book_ticks=(1500, 300),
    script=((15_860, "halt", "BTCUSDT"),),
)


def test_a_replica_that_lags_does_not_bring_a_full_book_of_an_old_count_back() -> None:
    faults = (Recount(11_400, "BTCUSDT"), Rest(14_450, 8_500, "lag", 1.0, 10_000))
    run(Schedule(setting=HALTED_EARLY, seed=483439, faults=faults, audit_every=12.0, full_book=True))


def test_what_streams_lost_before_the_time_was_known_is_found_before_anything_is_trusted() -> None:
    faults = (Rest(0, 8_350, "502", 1.0), Events(4_350, 3_350, "lose", "aggTrade", 0.3))
    run(Schedule(setting=HALTED_EARLY, seed=608277, faults=faults, wall_error=600.0))


def test_a_snapshot_of_one_count_is_not_continued_by_events_of_the_next() -> None:
    """Ids began again twice within seconds, so that those of both counts fitted."""
    moments = (80, 8_120, 12_960, 20_480, 33_180, 39_140, 53_320, 58_840, 66_660, 70_460, 84_080, 98_520)
    script, names = tuple((at, "trade", "SOLUSDT") for at in moments), ("BTCUSDT", "SOLUSDT")
    setting = Setting(
        210671, 1_793_746_788_000, names, ("1m", "1d"), 0.02, True, book_ticks=(1500, 1500), script=script
    )
    faults = (
        Recount(9_200, "BTCUSDT"),
        Recount(6_100, "BTCUSDT"),
        Rest(3_800, 14_550, "lag", 0.5, 2_000),
        Events(9_150, 2_150, "lose", "kline", 1.0),
    )
    run(Schedule(setting=setting, seed=237939, faults=faults, audit_every=12.0, full_book=True))


def test_a_contract_listed_again_that_is_halted_before_its_first_trade_has_no_candles() -> None:
    """A trade of the contract that had the name was noted as one of its own, and its empty answers were refused."""
    moments = (41_200, 47_400, 95_220, 102_600, 117_240, 121_460, 134_260, 136_720, 143_700, 202_860, 219_040)
    script = tuple(sorted([(44_400, "halt", "BTCDOMUSDT"), *((at, "trade", "BTCUSDT") for at in moments)]))
    names = ("BTCDOMUSDT", "BTCUSDT")
    setting = Setting(
        701639, 1_796_083_156_000, names, ("1m", "3d"), 0.006, True, book_ticks=(1500, 300), script=script
    )
    run(Schedule(setting=setting, seed=168726, faults=(Relist(40_250, "BTCDOMUSDT", 50),)))


def test_weight_of_another_program_counts_from_its_report_where_any_sixty_seconds_count() -> None:
    """The harness was wrong: after a 429 the report showed it just before it was free, and a book waited another
    minute."""
    moments = (2_700, 13_000, 18_120, 48_660, 67_320, 81_000, 82_200, 99_580, 104_580, 135_440, 150_500)
    script = tuple(sorted([(10_440, "halt", "BTCUSDT"), *((at, "trade", "BTCDOMUSDT") for at in moments)]))
    names, ticks = ("BTCUSDT", "SOLUSDT", "BTCDOMUSDT"), (300, 1500, 300)
    setting = Setting(664002, 1_794_787_192_000, names, ("1m", "30m"), 0.006, False, book_ticks=ticks, script=script)
    faults = (Others(10_900, 0.95), Others(20_350, 0.95), WallClock(21_500, 600.0))
    run(Schedule(setting, 370166, faults, connection_max_age=25.0, audit_every=12.0, counting="sliding"))


@pytest.mark.parametrize("seed", [352732, 962759])
def test_a_contract_that_trades_for_the_first_time_as_the_world_ends_is_looked_at_later(seed: int) -> None:
    """The harness was wrong: two derived intervals wait for the one below them, one request after the other."""
    moments = (1_200, 44_460, 100_320, 169_420)
    halt = ((34_460, "halt", "BTCUSDT"), (146_160, "resume", "BTCUSDT"))
    script = tuple(sorted([*halt, *((at, "trade", "1000PEPEUSDT") for at in moments)]))
    names, intervals = ("BTCUSDT", "BTCDOMUSDT", "1000PEPEUSDT"), ("1m", "15m", "1h")
    ticks = (700, 700, 300)
    setting = Setting(559554, 1_794_787_198_000, names, intervals, 0.0015, False, book_ticks=ticks, script=script)
    run(Schedule(setting, seed, (Newcomer(216_000_000, "BTCUSDT"),), derive=True))


def test_the_first_candles_of_a_contract_listed_again_wait_for_scarce_weight() -> None:
    """The harness was wrong: it looked 39 s after the first trade, and a minute's weight had been used up."""
    moments = ((172_420, "trade", "BTCDOMUSDT"), (229_600, "trade", "BTCDOMUSDT"))
    script = ((30_320, "halt", "BTCUSDT"), (62_260, "resume", "BTCUSDT"), *moments)
    names, intervals = ("BTCUSDT", "BTCDOMUSDT"), ("15m", "1h", "4h", "1d")
    setting = Setting(516483, 1_790_812_753_000, names, intervals, 0.02, True, book_ticks=(300, 1500), script=script)
    run(Schedule(setting, 582497, (Relist(54_500, "BTCDOMUSDT", 50),), weight_limit=200, counting="sliding"))


def test_a_replica_that_lags_does_not_show_a_halt_for_longer_than_it_lasted() -> None:
    """It ended 63 ms before its candles were requested, and the answer still showed none."""
    moments = (340, 71_100, 145_800, 228_500)
    halt = ((54_080, "halt", "BTCUSDT"), (56_160, "resume", "BTCUSDT"))
    script = tuple(sorted([*halt, *((at, "trade", "XRPUSDT") for at in moments)]))
    names, ticks = ("BTCUSDT", "BTCDOMUSDT", "XRPUSDT"), (1500, 700, 300)
    setting = Setting(811216, 1_793_987_995_000, names, ("1m", "2h"), 0.006, True, book_ticks=ticks, script=script)
    recounts = (Recount(7_100, "BTCUSDT"), Recount(6_800, "BTCDOMUSDT"))
    faults = (Rest(7_850, 21_100, "lag", 0.2, 6_000), *recounts, Halt(0, "BTCDOMUSDT", 23_950))
    run(Schedule(setting, 720955, faults, wall_error=-600.0))


def test_a_late_answer_of_before_a_recomputation_does_not_bring_a_derived_candle_back() -> None:
    """It was requested a second before and came seconds later, and only the source of the candle knew better."""
    moments = (2_460, 53_860, 56_520, 71_280, 81_660, 139_600, 140_520, 177_360, 212_940, 218_100)
    script = tuple((at, "trade", "DOGEUSDT") for at in moments)
    names, intervals = ("BTCDOMUSDT", "BTCUSDT", "DOGEUSDT"), ("1m", "30m", "1d", "1w", "1M")
    ticks = (700, 300, 300)
    setting = Setting(323361, 1_794_423_550_000, names, intervals, 0.0015, True, book_ticks=ticks, script=script)
    faults = (Rest(17_000, 4_950, "slow down", 1.0), Recompute(21_400, "DOGEUSDT", 200))
    run(Schedule(setting, 470073, faults, audit_every=12.0, full_book=True, derive=True))


def test_an_answer_counts_as_of_now_though_the_wall_clock_was_set_back() -> None:
    """It seemed to be from the beginning, before the open candle was recomputed, and its candle was left out."""
    script = ((7_040, "halt", "BTCUSDT"), (66_880, "resume", "BTCUSDT"), (145_400, "trade", "XRPUSDT"))
    names, ticks = ("BTCUSDT", "XRPUSDT"), (1500, 1500)
    setting = Setting(98826, 1_794_441_558_000, names, ("1m", "3m"), 0.006, False, book_ticks=ticks, script=script)
    reads = (
        Read(9_650, "klines", 1, 0, 90),
        Read(15_900, "book", 1),
        Read(13_650, "klines", 1, 1, 90),
        Read(950, "book", 0, 1),
        Read(17_800, "klines", 1, 0, 90),
    )
    faults = (Dark(11_150, 17_200), WallClock(16_850, -600.0), Recompute(3_300, "XRPUSDT"))
    run(Schedule(setting, 775992, faults, reads))


def test_one_id_under_two_times_tells_of_two_counts() -> None:
    """The newest trade had the lowest id of the new count, in the ms of one that streams had shown."""
    script = ((190_120, "trade", "SOLUSDT"), (228_880, "trade", "SOLUSDT"))
    names, ticks = ("BTCUSDT", "SOLUSDT"), (1500, 700)
    setting = Setting(454286, 1_794_787_200_000, names, ("1m", "4h"), 0.02, True, book_ticks=ticks, script=script)
    recounts = (Recount(4_500, "BTCUSDT"), Recount(0, "BTCUSDT"))
    run(Schedule(setting, 963242, (Dark(4_200, 50), Halt(8_350, "BTCUSDT", 12_800), *recounts)))


def test_what_a_reader_was_given_before_the_listings_may_be_of_another_contract() -> None:
    """It was open interest of the contract that had the name; the new one has none."""
    halt = ((43_040, "halt", "BTCUSDT"), (63_400, "resume", "BTCUSDT"))
    script = tuple(sorted([*halt, *((at, "trade", "SOLUSDT") for at in (29_840, 53_040, 69_560, 153_600))]))
    names, ticks = ("BTCUSDT", "SOLUSDT"), (300, 1500)
    setting = Setting(900171, 1_785_542_396_000, names, ("1m", "1d"), 0.02, True, book_ticks=ticks, script=script)
    reads = (Read(1_450, "open interest", 0, 1, 90),)
    run(Schedule(setting, 971206, (Relist(4_500, "BTCUSDT", 50), Dark(50, 50)), reads))


def test_a_book_whose_frame_bears_a_time_to_come_is_no_newer_than_what_was_quoted_meanwhile() -> None:
    """That time put the clock in doubt, and when the clock was confirmed seconds later, the book counted as of then."""
    moments = (25_340, 42_340, 56_740, 62_600, 94_460)
    script = tuple((at, "trade", "币安人生USDT") for at in moments)
    names, ticks = ("BTCUSDT", "币安人生USDT"), (700, 1500)
    setting = Setting(609265, 1_794_787_176_000, names, ("1m", "30m"), 0.0015, False, book_ticks=ticks, script=script)
    run(Schedule(setting, 481736, (Events(18_150, 12_600, "spoil", "depth20", 1.0),)))


def test_a_contract_that_begins_while_rest_shows_nothing_is_known_by_what_is_sent_since() -> None:
    """The harness was wrong: its first trade was lost with a connection that lagged."""
    moments = (1_500, 5_200, 13_480, 32_480, 39_520, 55_720, 84_040)
    halt = ((6_800, "halt", "BTCUSDT"), (51_680, "resume", "BTCUSDT"))
    script = tuple(sorted([*halt, *((at, "trade", "BTCDOMUSDT") for at in moments)]))
    names, ticks = ("BTCUSDT", "BTCDOMUSDT"), (300, 300)
    setting = Setting(144362, 1_794_182_398_000, names, ("1m", "1M"), 0.02, True, book_ticks=ticks, script=script)
    spoilt = Events(6_650, 500, "spoil", "!", 0.2)
    faults = (Newcomer(8_200, "BTCUSDT"), Rest(12_250, 300, "[]"), Lag(7_050, "market", 8_000), spoilt)
    run(Schedule(setting, 603413, faults))


def test_the_history_is_requested_whole_where_an_early_read_brought_most_of_it() -> None:
    """The read came before the time was known, so its newest rows waited to become final and were counted twice."""
    moments = (21_640, 22_500, 32_260, 32_900, 79_180, 85_760, 98_180)
    script = tuple((at, "trade", "币安人生USDT") for at in moments)
    names, ticks = ("BTCUSDT", "币安人生USDT"), (300, 300)
    setting = Setting(408860, 1_788_220_800_000, names, ("1m", "2h"), 0.006, True, book_ticks=ticks, script=script)
    run(Schedule(setting, 511663, (Dark(0, 50),), (Read(8_500, "klines", 0, 0, 50),)))


def test_trades_that_began_while_nothing_was_subscribed_and_rest_showed_nothing_are_known_by_what_is_sent_since() -> (
    None
):
    moments = (3_100, 5_100, 9_560, 28_080, 82_260, 92_460, 99_620)
    script = tuple((at, "trade", "BTCUSDT") for at in moments)
    names, ticks = ("1000PEPEUSDT", "BTCUSDT"), (300, 300)
    setting = Setting(274229, 1_794_182_392_000, names, ("1m", "4h"), 0.006, False, book_ticks=ticks, script=script)
    lost = (Cut(6_000, "public", False), Deaf(8_650, 1_900))
    run(Schedule(setting, 950229, (Newcomer(14_050, "BTCUSDT", True), Rest(4_750, 23_200, "[]"), *lost)))


def test_after_a_sleep_a_read_is_given_what_rest_answers_not_what_streams_had_sent_before() -> None:
    """The candle was recomputed once more while the process slept, and streams went on with the earlier trades."""
    moments = (2_260, 16_000, 22_080, 40_900, 86_440, 97_360, 105_060, 110_240, 143_020, 158_700, 167_280, 200_680)
    script = tuple((at, "trade", "XRPUSDT") for at in (*moments, 213_580))
    names, ticks = ("BTCUSDT", "XRPUSDT"), (1500, 1500)
    setting = Setting(752615, 1_794_635_963_000, names, ("1m", "1w"), 0.0015, False, book_ticks=ticks, script=script)
    recomputed = (Recompute(8_500, "BTCUSDT", 200), Recompute(10_050, "BTCUSDT", 5_000))
    lost = (Pause(8_800, 10_000, asleep=True), Cut(11_900, "market", True))
    reads = (Read(13_150, "klines", 0, 0, 3), Read(1_550, "book", 1, 0, 50))
    run(Schedule(setting, 804991, (*recomputed, *lost), reads, full_book=True))


def test_a_contract_that_was_listed_before_the_time_was_known_is_not_refused_its_answers_until_a_time_to_come() -> None:
    """That time was one by this machine's clock, which was ten minutes ahead."""
    trades = ((31_160, "trade", "ETHUSDT"), (79_500, "trade", "ETHUSDT"), (199_040, "trade", "ETHUSDT"))
    script = tuple(sorted([*trades, (28_480, "halt", "BTCUSDT"), (126_200, "resume", "BTCUSDT")]))
    names, ticks = ("BTCUSDT", "ETHUSDT"), (300, 1500)
    setting = Setting(419176, 1_793_923_145_000, names, ("1m", "1w"), 0.0015, False, book_ticks=ticks, script=script)
    faults = (Newcomer(3_500, "ETHUSDT", pending=False), Rest(0, 4_700, "-1000", 1.0, 0))
    run(Schedule(setting, 895602, faults, wall_error=600.0))


def test_a_full_book_at_rest_is_live_again_after_a_halt_of_a_moment() -> None:
    """The simulator was wrong: after the halt the book's transaction time had gone back, though nothing in it had
    changed."""
    moments = (9_940, 46_480, 51_500, 52_400, 65_120, 78_380, 91_860, 98_200)
    script = ((9_800, "halt", "BTCUSDT"), *((at, "trade", "DOGEUSDT") for at in moments))
    names, ticks = ("BTCUSDT", "DOGEUSDT"), (1500, 300)
    setting = Setting(656198, 1_795_413_584_000, names, ("1m", "1d"), 0.0015, False, book_ticks=ticks, script=script)
    run(Schedule(setting, 200595, (Halt(8_850, "BTCUSDT", 50), Refuse(15_550, 50)), full_book=True))


def test_a_contract_listed_again_while_requests_failed_is_known_as_soon_as_rest_answers() -> None:
    """The event that announced it was lost with a connection that lagged."""
    moments = (7_400, 14_780, 40_060, 42_800, 44_300, 70_060, 75_040, 77_060)
    trades = tuple((at, "trade", "DOGEUSDT") for at in moments)
    script = tuple(sorted([*trades, (3_340, "halt", "BTCUSDT"), (17_580, "resume", "BTCUSDT")]))
    names, ticks = ("BTCUSDT", "ETHUSDT", "DOGEUSDT"), (300, 300, 700)
    setting = Setting(768720, 1_794_333_587_000, names, ("1m", "1h"), 0.02, False, book_ticks=ticks, script=script)
    faults = (Relist(7_900, "BTCUSDT", 50), Rest(7_350, 12_350, "shape"), Lag(7_150, "market", 5_000))
    run(Schedule(setting, 784173, faults))


def test_an_open_candle_that_was_recomputed_while_its_first_answer_was_under_way_is_confirmed() -> None:
    """Its next trade came five seconds later."""
    script = ((26_580, "trade", "BTCDOMUSDT"), (32_440, "trade", "BTCDOMUSDT"))
    names, ticks = ("BTCUSDT", "SOLUSDT", "BTCDOMUSDT"), (1500, 300, 1500)
    setting = Setting(620767, 1_794_787_185_000, names, ("1m", "1h"), 0.006, False, book_ticks=ticks, script=script)
    run(Schedule(setting, 46692, (Recompute(450, "SOLUSDT", 5_000), Rest(0, 600, "503"))))


def test_two_answers_of_a_maintenance_window_bury_nothing_where_the_time_became_known_between_them() -> None:
    """The first one counted as of a quarter of an hour ago, so the second looked much later."""
    script = ((24_760, "trade", "BTCUSDT"), (56_460, "trade", "BTCUSDT"))
    names, ticks = ("币安人生USDT", "1000PEPEUSDT", "BTCUSDT"), (300, 700, 300)
    setting = Setting(390883, 1_795_103_996_000, names, ("1m", "1h"), 0.02, True, book_ticks=ticks, script=script)
    run(Schedule(setting, 917639, (Maintenance(5_850, 400), Rest(0, 5_750, "-1000")), wall_error=-600.0))


def test_connections_do_not_seem_alive_by_as_much_longer_as_the_clock_was_ahead() -> None:
    """A pong had shown them alive at a time in the future, three seconds ahead."""
    script, ticks = ((77_600, "trade", "XRPUSDT"),), (700, 1500)
    setting = Setting(
        210107, 1_795_305_587_000, ("BTCUSDT", "XRPUSDT"), ("1m", "1d"), 0.0015, True, book_ticks=ticks, script=script
    )
    run(Schedule(setting, 93939, (Dark(12_250, 50), Rest(0, 11_000, "-1000")), wall_error=3.0))


def test_candles_of_a_halt_are_not_requested_at_every_look_after_a_restart() -> None:
    """What their answers showed counted only up to the last candle, and never up to the evidence of the last trade."""
    trades = ((85_020, "trade", "ETHUSDT"), (152_740, "trade", "ETHUSDT"), (175_040, "trade", "ETHUSDT"))
    names, ticks = ("BTCUSDT", "ETHUSDT"), (300, 300)
    setting = Setting(774453, 1_794_891_570_000, names, ("1m", "4h"), 0.006, True, book_ticks=ticks, script=trades)
    run(Schedule(setting, 93440, (Halt(21_300, "BTCUSDT", 49_000), Killed(56_892, 50))))


def test_a_doubt_that_a_reader_s_answer_raises_in_derived_candles_is_repaired() -> None:
    moments = ((1_060, "trade", "XRPUSDT"), (40_200, "trade", "XRPUSDT"), (96_380, "trade", "XRPUSDT"))
    script = tuple(sorted([*moments, (23_920, "halt", "BTCUSDT")]))
    names, ticks = ("BTCUSDT", "XRPUSDT"), (700, 700)
    setting = Setting(77254, 1_796_083_184_000, names, ("1m", "3m"), 0.02, True, book_ticks=ticks, script=script)
    reads = (Read(6_500, "klines", 1, 1, 3),)
    run(Schedule(setting, 437075, (Recompute(5_350, "XRPUSDT", 5_000),), reads, derive=True))


def test_a_full_book_that_a_reader_s_answer_has_contradicted_is_repaired() -> None:
    """Its ids had begun again while the process stood still and trading was halted."""
    trades = ((178_080, "trade", "SOLUSDT"), (224_480, "trade", "SOLUSDT"))
    script = ((22_100, "halt", "BTCUSDT"), (130_020, "resume", "BTCUSDT"), *trades)
    names, ticks = ("BTCUSDT", "SOLUSDT"), (700, 1500)
    setting = Setting(589669, 1_794_787_186_000, names, ("1m", "3m"), 0.006, True, book_ticks=ticks, script=script)
    stopped = (Pause(57_100, 250, asleep=True), Pause(13_050, 48_650, asleep=False))
    restarted = (Restart(50_600, "SOLUSDT"), Restart(55_900, "BTCUSDT"))
    reads = (Read(41_400, "klines", 1, 0, 3), Read(34_200, "book", 0, 1, 90))
    faults = (*stopped, Rest(26_600, 4_400, "reset", 0.2), *restarted)
    options = {"connection_max_age": 25.0, "wall_error": 600.0, "full_book": True, "counting": "sliding"}
    run(Schedule(setting, 318758, faults, reads, derive=True, **options))


def test_derived_candles_that_have_begun_again_are_requested_though_their_source_lacks_nothing() -> None:
    trades = (1_420, 33_860, 58_360, 129_500, 161_820, 163_020, 189_660, 233_760)
    script = tuple((at, "trade", "ETHUSDT") for at in trades)
    names, ticks = ("BTCUSDT", "ETHUSDT"), (1500, 1500)
    setting = Setting(818029, 1_794_679_189_000, names, ("1m", "3m"), 0.02, False, book_ticks=ticks, script=script)
    run(Schedule(setting, 122383, (Recount(15_550, "ETHUSDT"), Killed(61_536, 50))))


def test_a_candle_that_is_recomputed_again_while_an_answer_shows_more_is_settled_though_the_market_rests() -> None:
    moments = (27_940, 39_660, 67_680, 78_280, 114_520, 135_760, 146_220, 185_800, 211_240, 221_100, 222_660, 223_860)
    script = tuple((at, "trade", "1000PEPEUSDT") for at in moments)
    names, ticks = ("BTCUSDT", "BTCDOMUSDT", "1000PEPEUSDT"), (700, 700, 300)
    setting = Setting(27070, 1_795_517_988_000, names, ("1m", "1w"), 0.0015, True, book_ticks=ticks, script=script)
    recomputed = tuple(
        Recompute(at, "BTCDOMUSDT", quiet) for at, quiet in ((6_250, 5_000), (2_300, 600), (6_500, 1_500))
    )
    lost = (Mute(5_700, 2_700, "btcusdt@depth20@100ms", "ever"), Ban(4_750, 800))
    reads = (Read(6_000, "klines", 1, 1, 1), Read(5_050, "klines", 1, 1, 90))
    run(Schedule(setting, 295856, (Halt(6_550, "BTCDOMUSDT", 8_550), *recomputed, *lost), reads))


def test_a_candle_that_is_recomputed_twice_before_a_connection_is_lost_is_settled_though_the_market_rests() -> None:
    """Answers show fewer trades than the frames that had contradicted what was known."""
    moments = (1_380, 6_280, 12_800, 21_100, 31_780, 63_920, 77_960)
    script = tuple((at, "trade", "ETHUSDT") for at in moments)
    names, ticks = ("BTCUSDT", "ETHUSDT"), (1500, 1500)
    setting = Setting(770431, 1_794_481_183_000, names, ("1m", "1w"), 0.0015, True, book_ticks=ticks, script=script)
    recomputed = (Recompute(16_300, "BTCUSDT", 200), Recompute(15_350, "BTCUSDT", 600))
    run(Schedule(setting, 283583, (*recomputed, Refuse(16_500, 50))))


def test_a_doubt_about_the_candle_before_does_not_hide_that_the_open_one_was_recomputed() -> None:
    moments = (1_540, 3_640, 10_720, 21_420, 66_520, 72_280, 78_380, 132_960, 147_000, 202_460, 204_920, 236_020)
    script = tuple((at, "trade", "XRPUSDT") for at in moments)
    names, ticks = ("BTCUSDT", "XRPUSDT"), (700, 300)
    setting = Setting(993686, 1_794_787_188_000, names, ("1m", "15m"), 0.0015, True, book_ticks=ticks, script=script)
    recomputed = tuple(Recompute(at, "BTCUSDT", 600) for at in (16_350, 700, 7_750))
    faults = (*recomputed[:2], Deaf(1_750, 11_450), Deaf(10_350, 50), recomputed[2])
    run(Schedule(setting, 517502, faults, (Read(600, "book", 0, 1, 50),), wall_error=-600.0))


def test_a_repair_that_is_due_is_not_forgotten_for_an_audit_that_failed() -> None:
    moments = (37_840, 40_400, 55_800, 77_600, 85_560, 119_720, 157_760, 165_280, 224_160, 230_180)
    script = tuple((at, "trade", "BTCDOMUSDT") for at in moments)
    names, ticks = ("BTCUSDT", "SOLUSDT", "BTCDOMUSDT"), (700, 1500, 700)
    setting = Setting(240070, 1_795_600_778_000, names, ("1m", "30m"), 0.0015, True, book_ticks=ticks, script=script)
    faults = (
        RefuseName(8_500, 11_500, "btcusdt@depth20@100ms"),
        Rest(12_250, 14_350, "502"),
        Recompute(19_200, "BTCDOMUSDT", 600),
    )
    reads = (Read(300, "book", 1, 0, 20), Read(18_100, "spot", 1, 1, 1), Read(18_500, "trades", 1, 0, 20))
    run(Schedule(setting, 34977, faults, reads, audit_every=12.0))


def test_trades_whose_answers_do_not_count_yet_are_requested_with_growing_pauses() -> None:
    """They are requested at earlier times than the contract may have been listed, since the clock is uncertain."""
    btc = (35_940, 75_340, 92_300, 92_820, 203_680, 221_460, 236_400)
    other = "币安人生USDT"
    script = (*((at, "trade", "BTCUSDT") for at in btc), (49_720, "halt", other), (136_600, "resume", other))
    names, ticks = (other, "BTCUSDT"), (700, 300)
    setting = Setting(
        749697, 1_794_250_773_000, names, ("1m", "1M"), 0.0015, True, book_ticks=ticks, script=tuple(sorted(script))
    )
    run(Schedule(setting, 443235, (Relist(8_150, "BTCUSDT", 50), WallClock(17_350, -3.0), WallClock(16_950, 600.0))))


def test_what_may_lack_a_trade_is_requested_with_growing_pauses_where_rest_fails() -> None:
    other = "币安人生USDT"
    moments = (10_120, 14_380, 30_800, 34_800, 38_640, 106_780, 137_680, 157_120, 191_420, 210_040, 226_700, 227_980)
    script, names = tuple((at, "trade", other) for at in moments), ("BTCUSDT", other)
    setting = Setting(
        285589, 1_795_046_363_000, names, ("1m", "30m"), 0.006, True, book_ticks=(300, 700), script=script
    )
    run(Schedule(setting, 758373, (Rest(3_700, 7_200, "502"),)))


def test_a_connection_that_died_while_the_clock_was_ahead_seems_no_younger_once_that_is_put_right() -> None:
    script = ((29_220, "trade", "DOGEUSDT"), (63_180, "trade", "DOGEUSDT"))
    names, ticks = ("BTCUSDT", "DOGEUSDT"), (1500, 300)
    setting = Setting(644658, 1_794_751_190_000, names, ("1m", "1w"), 0.006, True, book_ticks=ticks, script=script)
    faults = (HalfOpen(7_500, "public"), Sluggish(11_000, 1_250, 300), Rest(0, 10_450, "-1000"))
    run(Schedule(setting, 984432, faults, wall_error=600.0))


def test_a_stream_that_is_accepted_after_a_refusal_while_its_connection_is_replaced_goes_on_on_the_new_one() -> None:
    moments = (11_840, 39_420, 59_040, 85_100, 90_600, 97_560, 195_920, 214_140)
    script = ((940, "halt", "BTCUSDT"), *((at, "trade", "SOLUSDT") for at in moments))
    names, ticks = ("BTCUSDT", "XRPUSDT", "SOLUSDT"), (700, 300, 1500)
    setting = Setting(39035, 1_795_543_192_000, names, ("1m", "1d"), 0.02, False, book_ticks=ticks, script=script)
    faults = (Recount(7_650, "XRPUSDT"), RefuseName(9_600, 3_700, "solusdt@kline_1d"), Shutdown(22_300, 50, "market"))
    run(Schedule(setting, 620855, faults, wall_error=-600.0, audit_every=12.0))


def test_a_repair_does_not_wait_for_the_audit_where_a_reader_s_request_has_failed() -> None:
    moments = (
        *(30_600, 50_360, 80_140, 99_940, 106_420, 106_680, 112_000),
        *(155_980, 161_020, 161_800, 189_100, 192_980, 233_580),
    )
    script = tuple((at, "trade", "SOLUSDT") for at in moments)
    names, ticks = ("BTCUSDT", "币安人生USDT", "SOLUSDT"), (700, 300, 700)
    setting = Setting(889521, 1_794_182_343_000, names, ("1m", "1M"), 0.0015, True, book_ticks=ticks, script=script)
    faults = (Newcomer(12_850, "SOLUSDT", False), Ban(9_100, 11_600), Pause(9_400, 1_050, True))
    run(Schedule(setting, 579436, faults, (Read(10_150, "klines", 2, 0, 1),)))


def test_no_candle_becomes_final_before_its_close_while_both_clocks_lag_behind() -> None:
    """A steady clock that stood still, and a wall clock that was set back."""
    traded = (25_260, 29_940, 31_580, 55_800, 125_240, 222_600)
    script = (*((at, "trade", "BTCUSDT") for at in traded), (43_140, "halt", "ETHUSDT"), (148_520, "resume", "ETHUSDT"))
    names, ticks = ("ETHUSDT", "BTCUSDT"), (1500, 1500)
    setting = Setting(
        181421, 1_794_329_964_000, names, ("1m", "3m"), 0.02, True, book_ticks=ticks, script=tuple(sorted(script))
    )
    faults = (
        Consume(1, 560224316),
        WallClock(25_000, 600.0),
        Pause(50_250, 3_600, True),
        Others(26_250, 1.1),
        WallClock(48_200, -3.0),
    )
    run(Schedule(setting, 741404, faults, report_lag=2000))


def test_what_a_book_lacks_of_the_time_after_the_last_quotes_before_a_delisting_is_shown_by_nothing() -> None:
    script = (
        *((56_260, "halt", "BTCUSDT"), (59_640, "trade", "XRPUSDT"), (110_400, "trade", "XRPUSDT")),
        *((148_760, "resume", "BTCUSDT"), (152_980, "trade", "XRPUSDT")),
    )
    names, ticks = ("BTCUSDT", "BTCDOMUSDT", "XRPUSDT"), (700, 300, 1500)
    setting = Setting(196825, 1_794_182_365_000, names, ("1m", "4h"), 0.02, True, book_ticks=ticks, script=script)
    faults = (Mute(11_400, 2_350, "btcdomusdt@depth20@100ms", "ever"), Delist(13_250, "BTCDOMUSDT"))
    run(Schedule(setting, 895337, faults))


def test_a_book_with_a_time_to_come_is_not_one_of_a_later_contract() -> None:
    doge = (25_960, 54_640, 60_940, 70_580, 75_880, 99_840, 191_840, 192_980, 198_820, 235_560)
    script = (*((at, "trade", "DOGEUSDT") for at in doge), (38_860, "halt", "BTCUSDT"), (102_660, "resume", "BTCUSDT"))
    setting = Setting(
        *(889807, 1_795_413_569_000, ("BTCUSDT", "DOGEUSDT"), ("1m", "1d"), 0.006, False),
        book_ticks=(300, 1500),
        script=tuple(sorted(script)),
    )
    faults = (Events(6_200, 1_500, "spoil", "depth20", 1.0, 3_000), Relist(11_150, "BTCUSDT", 50))
    run(Schedule(setting, 724511, faults))


def test_a_contract_that_first_trades_just_before_the_end_is_awaited() -> None:
    moments = (3_220, 122_320, 130_020, 142_720, 218_540, 218_980)
    script, names = tuple((at, "trade", "BTCDOMUSDT") for at in moments), ("BTCUSDT", "ETHUSDT", "BTCDOMUSDT")
    setting = Setting(
        497345, 1_795_597_147_000, names, ("1m", "3m"), 0.02, False, book_ticks=(700, 1500, 700), script=script
    )
    run(Schedule(setting, 692552, (Relist(18_000, "BTCDOMUSDT", 5_050, below=True),)))


def test_first_trades_that_every_stream_of_a_new_contract_has_lost_are_shown_by_the_tickers() -> None:
    """Its second subscription, once all replicas know it, forgets no ticker that came since it was listed."""
    btc = (20_940, 21_800, 32_620, 33_540, 48_260, 63_480, 170_380, 180_160, 180_600)
    script = tuple(sorted((*((at, "trade", "BTCUSDT") for at in btc), (57_900, "halt", "SOLUSDT"))))
    names, ticks = ("SOLUSDT", "BTCUSDT"), (1500, 700)
    setting = Setting(382292, 1_796_083_174_000, names, ("1m", "3m"), 0.0015, True, book_ticks=ticks, script=script)
    faults = (Relist(2_450, "SOLUSDT", 50, below=True), Events(15_950, 6_950, "lose", "solusdt", 1.0, 3_000))
    run(Schedule(setting, 755915, faults))


def test_a_whole_book_stays_with_the_connection_that_lags_where_the_one_ahead_of_it_has_died() -> None:
    other = "币安人生USDT"
    moments = (38_380, 59_460, 78_640, 141_800, 195_460, 204_380, 204_900, 227_980)
    script, names = tuple((at, "trade", other) for at in moments), ("BTCUSDT", other)
    setting = Setting(620972, 1_794_268_796_000, names, ("1m", "3m"), 0.02, True, book_ticks=(1500, 700), script=script)
    faults = (Lag(12_350, "public", 4_000), Shutdown(21_250, 2_500))
    run(Schedule(setting, 661847, faults, connection_max_age=25.0, full_book=True))


def test_a_count_that_slides_does_not_seem_to_restart_after_a_sleep_where_the_clock_was_ahead_at_first() -> None:
    moments = (15_080, 33_700, 55_760, 61_080, 83_480, 97_580, 104_380, 142_280, 156_860, 178_920, 196_140, 228_120)
    script, names = tuple((at, "trade", "DOGEUSDT") for at in moments), ("BTCUSDT", "DOGEUSDT")
    setting = Setting(640949, 1_795_391_961_000, names, ("1m", "2h"), 0.02, True, book_ticks=(700, 700), script=script)
    reads = (Read(28_050, "book", 0, 0, 3), Read(59_850, "mark", 0, 0, 50), Read(26_350, "book", 1, 1, 50))
    faults = (Dark(25_350, 50), Pause(24_850, 48_150, True))
    limits = {"weight_limit": 130, "counting": "sliding", "report_lag": 300}
    run(Schedule(setting, 344749, faults, reads, wall_error=600.0, **limits))


def test_a_moment_of_trading_between_two_halts_begins_a_candle() -> None:
    """Both events come before the engine looks at the first one."""
    moments = (6_460, 8_420, 30_320, 74_340, 83_800, 93_280, 93_700, 131_740, 154_820)
    script, names = tuple((at, "trade", "BTCUSDT") for at in moments), ("币安人生USDT", "BTCUSDT")
    ticks = (300, 300)
    setting = Setting(385514, 1_794_787_189_000, names, ("1m", "15m"), 0.0015, book_ticks=ticks, script=script)
    halts = (Halt(23_950, "BTCUSDT", 600), Halt(24_750, "BTCUSDT", 4_300), Halt(7_300, "BTCUSDT", 26_400))
    run(Schedule(setting, 503374, (Recount(10_500, "BTCUSDT"), *halts)))


def test_a_stream_that_had_died_before_its_connection_fell_silent_does_not_count_as_alive_as_long_as_that() -> None:
    ticks, script = (700, 700), ((162_760, "trade", "XRPUSDT"),)
    setting = Setting(
        319274, 1_794_182_347_000, ("BTCUSDT", "XRPUSDT"), ("1m", "1w"), 0.02, True, book_ticks=ticks, script=script
    )
    faults = (Mute(8_850, 9_600, "xrpusdt@kline_1m", "resubscribed"), Dark(18_350, 50), Shutdown(1_250, 50, "market"))
    run(Schedule(setting, 849038, faults))
