"""The clock never goes back, and says when the wall was set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maillage.control.clock import SimulatedClock, WallClock


class Machine:
    def __init__(self) -> None:
        self.wall_ms = 1_700_000_000_000
        self.mono_ms = 50_000

    def clock(self) -> WallClock:
        return WallClock(lambda: self.wall_ms, lambda: self.mono_ms / 1000)

    def pass_ms(self, duration_ms: int) -> None:
        self.wall_ms += duration_ms
        self.mono_ms += duration_ms


def test_follows_the_wall() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_ms(1234)
    assert clock.now_ms() == 1_700_000_001_234
    assert clock.take_jump_ms() == 0


def test_a_wall_set_forward_is_followed_and_told_once() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ms += 3_600_000
    assert clock.now_ms() == 1_700_003_600_000
    assert clock.take_jump_ms() == 3_600_000
    assert clock.take_jump_ms() == 0


def test_a_wall_set_back_is_caught_up_with_at_half_pace() -> None:
    machine = Machine()
    clock = machine.clock()
    before_ms = clock.now_ms()
    machine.wall_ms -= 60_000
    assert clock.now_ms() == before_ms
    assert clock.take_jump_ms() == -60_000
    for _ in range(60):
        machine.pass_ms(1000)
        clock.now_ms()
    assert clock.now_ms() == before_ms + 30_000, "half pace"
    for _ in range(61):
        machine.pass_ms(1000)
        clock.now_ms()
    assert clock.now_ms() == machine.wall_ms, "caught up"
    assert clock.take_jump_ms() == 0


def test_small_corrections_are_no_jump() -> None:
    machine = Machine()
    clock = machine.clock()
    for shift_ms in (400, -400, 900, -900):
        machine.wall_ms += shift_ms
        clock.now_ms()
    assert clock.take_jump_ms() == 0


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(-(10**9), 10**9)), max_size=30))
def test_never_back_and_never_faster_than_it_must(steps: list[tuple[int, int]]) -> None:
    machine = Machine()
    clock = machine.clock()
    told_ms, mono_s = clock.now_ms(), clock.mono_s()
    for pass_ms, set_by_ms in steps:
        machine.pass_ms(pass_ms)
        machine.wall_ms += set_by_ms
        now_ms = clock.now_ms()
        assert now_ms >= told_ms
        assert now_ms >= machine.wall_ms or set_by_ms < 0 or now_ms == told_ms
        assert (
            clock.mono_s() - mono_s == pass_ms / 1000 or abs(clock.mono_s() - mono_s - pass_ms / 1000) < 1e-6
        )
        told_ms, mono_s = now_ms, clock.mono_s()


def test_the_simulated_clock_moves_only_when_told() -> None:
    clock = SimulatedClock()
    first_ms, first_s = clock.now_ms(), clock.mono_s()
    assert (clock.now_ms(), clock.mono_s()) == (first_ms, first_s)
    clock.advance(1.5)
    assert (clock.now_ms(), clock.mono_s()) == (first_ms + 1500, first_s + 1.5)
