"""The promises of the library under random schedules of faults, on virtual time.

Every failure prints its schedule, which ``run()`` repeats exactly.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from ..virtual.schedules import any_fault, connection_faults, event_faults, process_faults, rest_faults, schedules
from ..virtual.world import Schedule, run

_settings = settings(
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@settings(_settings, max_examples=100)
@given(schedules(connection_faults))
def test_connections_break(schedule: Schedule) -> None:
    run(schedule)


@settings(_settings, max_examples=100)
@given(schedules(event_faults))
def test_events_are_lost_and_streams_die(schedule: Schedule) -> None:
    run(schedule)


@settings(_settings, max_examples=100)
@given(schedules(rest_faults, tight=True))
def test_rest_fails(schedule: Schedule) -> None:
    run(schedule)


@settings(_settings, max_examples=100)
@given(schedules(process_faults))
def test_the_process_stops_and_clocks_are_wrong(schedule: Schedule) -> None:
    run(schedule)


@settings(_settings, max_examples=120)
@given(schedules(any_fault, most=6, tight=True))
def test_everything_at_once(schedule: Schedule) -> None:
    run(schedule)
