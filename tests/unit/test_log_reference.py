"""docs/reference/log.md names every kind of entry there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from maillage.control import log
from maillage.scheduling import messages

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "log.md").read_text()


def test_every_kind_is_described() -> None:
    own = {
        value
        for name, value in vars(log).items()
        if name.isupper() and isinstance(value, str) and name != "DECISION"
    }
    facts = TEXT[TEXT.index("## Facts") : TEXT.index("## The core's events")]
    rows = [line.split("|")[1] for line in facts.splitlines() if line.startswith("| `")]
    assert {kind for row in rows for kind in re.findall(r"`(\w+)`", row)} == own
    events = TEXT[TEXT.index("## The core's events") : TEXT.index("## Decisions")]
    kinds = set(re.findall(r"`(\w+)`", events))
    assert set(messages._EVENTS) <= kinds
