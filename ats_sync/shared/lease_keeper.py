"""The thread ``ats-lease``, which keeps the lease of one process: asks for it, renews it, hands it over."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable

from .. import forks
from ..clock import Clock
from ..errors import AtsSyncError, ConfigError, SharedStoreUnavailable, ThreadUnavailable
from ..logs import RateLimitedLogger
from .client import SharedStore, process_label
from .lease import RESERVED, Lease
from .lease_state import RENEW_EVERY, LeaseState, Role
from .protocol import Command

LATE = 2 * RENEW_EVERY
"""Seconds without a renewal after which a process that stands by begins to prepare, since the leader may be gone."""


class LeaseKeeper:
    """Keeps one lease from :meth:`start` to :meth:`close`.

    ``changed(role, epoch)`` is called on the thread ``ats-lease`` when this process begins to lead, with its new epoch,
    when it has lost the lease, and when it stands by again; it must return soon, since the lease is not renewed
    meanwhile. ``before_release()`` is called there before a planned hand-over, for what is still to be written.
    A child process of a fork leads nothing.

    ``prepares``: somebody has work to do before this process should lead. Where :meth:`should_prepare`, it does that
    work (:meth:`prepare`), and says so (:meth:`note_prepared`); until then this process does not ask for the lease of
    another one, and takes only one that nobody has.
    """

    def __init__(
        self,
        store: SharedStore,
        clock: Clock,
        *,
        name: str = "collector",
        label: str = "",
        changed: Callable[[Role, int], None] = lambda role, epoch: None,
        before_release: Callable[[], None] = lambda: None,
        prepares: bool = False,
        state: LeaseState | None = None,
    ) -> None:
        self.lease = Lease(store, uuid.uuid4().hex, name=name, label=label or process_label())
        self._log = RateLimitedLogger(logging.getLogger(__name__))
        self._clock = clock
        self._changed = changed
        self._before_release = before_release
        self._lock = threading.Lock()  # guards everything up to _leaving
        self._state = state if state is not None else LeaseState()
        self._shown = (Role.STANDBY, 0)
        self._take_over = False
        self._able = self._prepared = not prepares
        self._called = self._late = False  # the leader wants to leave, or has not renewed the lease for a while
        self._leaving = False
        self._left = threading.Event()  # this process does not lead, or nobody prepares to
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        forks.register(self)

    # --- for the process -------------------------------------------------------------------------------

    def start(self, *, take_over: bool = False) -> None:
        """Begin to ask for the lease; ``take_over``: whoever has it is to hand it over.

        Raises :class:`~ats_sync.errors.ThreadUnavailable`.
        """
        with self._lock:
            self._take_over = take_over
        thread = threading.Thread(target=self._run, name="ats-lease", daemon=True)
        try:
            thread.start()
        except RuntimeError as failure:
            raise ThreadUnavailable(f"the thread of the lease could not be started: {failure}") from failure
        self._thread = thread

    def take_over(self) -> None:
        """Ask whoever has the lease to hand it over to this process, from now on."""
        with self._lock:
            self._take_over = True

    def should_prepare(self) -> bool:
        """Return whether this process should prepare to lead, or keep what it has prepared."""
        with self._lock:
            return self._take_over or self._called or self._late or self._state.role is Role.LEADER

    def prepare(self, commands: Iterable[Command]) -> list[object] | None:
        """Send commands in one round trip and one step, whether this process leads or not; see :meth:`Lease.prepare`.

        Raises :class:`~ats_sync.errors.SharedStoreUnavailable`; then it is unknown what was written.
        """
        return self.lease.prepare(commands)

    def note_prepared(self, *, able: bool, prepared: bool) -> None:
        """Note whether this process could prepare to lead, and whether it is prepared."""
        with self._lock:
            asks = prepared and not self._prepared
            self._able, self._prepared = able, prepared
        if asks:
            self._wake.set()

    def leave(self, timeout: float) -> None:
        """Have another process take the lease over, if this one has it and another one is able to: return when that
        one has it, or can take it at once, or nobody prepares to, within ``timeout`` seconds.

        Until then this process leads and goes on writing. :meth:`close` ends it."""
        with self._lock:
            if self._thread is None or not self._state.leave(self._clock.now()):
                return
            self._left.clear()
            self._leaving = True
        self._wake.set()
        self._clock.wait(self._left, timeout)

    def epoch(self) -> int | None:
        """Return the epoch under which this process leads now, None where it does not or cannot be sure."""
        with self._lock:
            return self._state.epoch if self._state.look(self._clock.now()) is Role.LEADER else None

    def known(self) -> tuple[Role, int]:
        """Return what this process is now, and the greatest epoch that it has seen."""
        with self._lock:
            return self._state.look(self._clock.now()), self._state.epoch

    def write(self, commands: Iterable[Command]) -> list[object] | None:
        """Send commands in one round trip and one step, if this process leads; see :meth:`Lease.write`.

        Return their answers, or None where it does not lead and nothing was written. Raises
        :class:`~ats_sync.errors.SharedStoreUnavailable`; then it is unknown what was written.
        """
        epoch = self.epoch()
        if epoch is None:
            return None
        answers = self.lease.write(epoch, commands)
        if answers is None:
            with self._lock:
                if self._state.epoch == epoch:
                    self._state.denied(self._clock.now())
            self._wake.set()
        return answers

    def close(self, timeout: float = 2.0) -> None:
        """Hand the lease over, if this process has it, and end the thread within ``timeout`` seconds."""
        self._stop.set()
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            if thread.is_alive():
                self._log.warning("close", "the lease was not released within %g s; it ends by itself", timeout)

    def after_fork(self) -> None:
        # The thread is the parent's, and so is the lease.
        self._lock = threading.Lock()
        self._state = LeaseState()
        self._thread = None

    # --- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._attempt()
            except Exception:  # noqa: BLE001 - it is logged
                # A bug of ours; without this thread nobody would lead when it is this process's turn.
                self._log.exception("lease", "the lease could not be kept; another attempt follows")
                with self._lock:
                    self._state.unanswered(self._clock.now())
            self._show()
            with self._lock:
                due = self._state.due()
                if self._state.role is not Role.LEADER:
                    self._left.set()
            self._clock.wait(self._wake, max(0.0, due - self._clock.now()))
            self._wake.clear()
            self._show()
        self._hand_over()
        self._show()

    def _attempt(self) -> None:
        """Renew or request the lease, if that is due."""
        with self._lock:
            sent = self._clock.now()
            role, epoch = self._state.look(sent), self._state.epoch
            leaving, able = self._leaving, self._able
            take_over = self._prepared and (self._take_over or self._called)
            if sent < self._state.due():
                return
        if role is Role.LOST:
            self._show()  # before the next epoch begins
        try:
            if role is Role.LEADER:
                renewed = self.lease.renew(epoch, ttl=self._state.ttl, leaving=leaving)
                with self._lock:
                    if renewed.mine:
                        self._state.renewed(sent, leaving=leaving)
                    else:
                        self._state.denied(self._clock.now())
                if renewed.mine and renewed.requested:
                    self._hand_over()
                elif leaving and not renewed.able:
                    self._left.set()
                return
            acquired = self.lease.acquire(epoch, ttl=self._state.ttl, take_over=take_over, able=able)
        except (SharedStoreUnavailable, ConfigError) as error:
            self._log.warning("unanswered", "the lease could not be %s: %s", "renewed" if epoch else "requested", error)
            with self._lock:
                self._state.unanswered(self._clock.now())
            return
        with self._lock:
            if acquired.mine:
                self._state.acquired(acquired.epoch, sent)
                self._take_over = self._called = self._late = False
            else:
                self._state.refused(acquired.epoch, self._clock.now())
                self._called, self._late = acquired.leaving, acquired.left < self._state.ttl - LATE

    def _hand_over(self) -> None:
        """Release the lease, after what is still to be written."""
        epoch = self.epoch()
        if epoch is None:
            return
        try:
            self._before_release()
        except Exception:  # noqa: BLE001 - it is logged
            self._log.exception("last", "what was left could not be written before the hand-over")
        try:
            self.lease.release(epoch)
        except AtsSyncError as error:
            self._log.warning("release", "the lease could not be released: %s; it ends by itself", error)
        with self._lock:
            self._state.released(self._clock.now(), 2 * RESERVED)

    def _show(self) -> None:
        """Report a change of the role or of the epoch."""
        with self._lock:
            role = self._state.look(self._clock.now())
            shown = (role, self._state.epoch if role is Role.LEADER else 0)
            if shown == self._shown:
                return
            before, self._shown = self._shown, shown
        if Role.LEADER in (role, before[0]):
            self._log.info(
                f"role {role} {shown[1]}", "%s: %s", self.lease.label, _said(role, shown[1], self._stop.is_set())
            )
        try:
            self._changed(role, shown[1])
        except Exception:  # noqa: BLE001 - it is logged
            self._log.exception("changed", "a change of the lease could not be passed on")


def _said(role: Role, epoch: int, ending: bool) -> str:
    if role is Role.LEADER:
        return f"leads, epoch {epoch}"
    if role is Role.LOST:
        return "has lost the lease and writes nothing"
    return "has handed the lease over" + (" and ends" if ending else "")
