"""The one transition table: sane, and the page that is made from it."""

import doctest
from pathlib import Path

import pytest

from maillage.workloads import lifecycle
from maillage.workloads.lifecycle import (
    ENDINGS,
    JOB_TRANSITIONS,
    RUN_TRANSITIONS,
    EndReason,
    JobState,
    RunState,
    after_ending,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "lifecycle.md"
MACHINES = [(JobState, JOB_TRANSITIONS, JobState.PENDING), (RunState, RUN_TRANSITIONS, RunState.ASSIGNED)]


def reachable(transitions, first):
    seen, waiting = {first}, [first]
    while waiting:
        new = transitions[waiting.pop()] - seen
        seen |= new
        waiting += sorted(new)
    return seen


def test_the_examples_in_the_docstrings_hold():
    outcome = doctest.testmod(lifecycle)
    assert outcome.attempted and not outcome.failed


@pytest.mark.parametrize(("states", "transitions", "first"), MACHINES)
def test_every_state_is_in_the_table_and_can_be_reached(states, transitions, first):
    assert set(transitions) == set(states)
    assert reachable(transitions, first) == set(states)


@pytest.mark.parametrize(("states", "transitions", "first"), MACHINES)
def test_ended_states_have_no_way_out_and_all_others_reach_one(states, transitions, first):
    for state in states:
        if state.ended:
            assert not transitions[state]
        else:
            assert any(end.ended for end in reachable(transitions, state))


@pytest.mark.parametrize(("states", "transitions", "first"), MACHINES)
def test_no_state_leads_to_itself(states, transitions, first):
    assert all(state not in transitions[state] for state in states)


def test_every_reason_has_an_ending():
    assert set(ENDINGS) == set(EndReason)


@pytest.mark.parametrize("reason", EndReason)
def test_every_ending_is_a_legal_transition(reason):
    ending = ENDINGS[reason]
    assert ending.run.ended
    live_runs = [state for state in RunState if not state.ended]
    assert all(ending.run in RUN_TRANSITIONS[state] for state in live_runs)
    for retries in (0, 1):
        state = after_ending(reason, retries)
        assert state in JOB_TRANSITIONS[JobState.SCHEDULED] and state in JOB_TRANSITIONS[JobState.RUNNING]


@pytest.mark.parametrize("reason", EndReason)
def test_only_a_failure_of_its_own_uses_a_retry(reason):
    ending = ENDINGS[reason]
    if ending.uses_retry:
        assert ending.job is JobState.PENDING
        assert (after_ending(reason, 1), after_ending(reason, 0)) == (JobState.PENDING, JobState.FAILED)
    else:
        assert after_ending(reason, 0) is after_ending(reason, 5) is ending.job


def test_the_site_s_fault_is_never_charged():
    faults = (EndReason.RETURNED, EndReason.NODE_LOST, EndReason.SITE_LOST, EndReason.DISK_FULL)
    assert not any(
        ENDINGS[reason].charged or ENDINGS[reason].job is not JobState.PENDING for reason in faults
    )


def test_what_never_started_is_never_charged():
    for ending in ENDINGS.values():
        assert not (ending.run is RunState.RETURNED and (ending.charged or ending.uses_retry))


def test_unreachable_work_can_come_back_and_is_not_ended():
    assert not RunState.UNREACHABLE.ended
    assert RunState.RUNNING in RUN_TRANSITIONS[RunState.UNREACHABLE]


def test_the_page_shows_the_table_as_it_is():
    _, _, made = PAGE.read_text(encoding="utf-8").partition("\n---\n")
    assert made.strip() == lifecycle.table_markdown(), (
        "write it again: python -c 'from maillage.workloads.lifecycle import table_markdown; "
        "print(table_markdown())' below the line of docs/reference/lifecycle.md"
    )
