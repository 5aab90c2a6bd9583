"""The patch "bug": mistakes that the product could have made; checks that stay green with one are blind.

Each is written as somebody would have made it in good faith, and tells of itself (`bug NAME`) when it has an
effect: where it made no difference, the round has proven nothing about the checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.patches import Entry, Install, PatchUnknown, patch
from tests.chaos.patches import bugs_in_sink as sink
from tests.chaos.patches import bugs_in_the_middle as middle


@dataclass(frozen=True)
class Bug:
    """What is wrong, in words, and what is installed into which role."""

    mistake: str
    installs: Mapping[str, Install]


BUGS: Mapping[str, Bug] = {
    "offset-before-database": Bug(
        "The consumer's offsets are committed before the database.",
        {"sink": sink.commit_offsets_first},
    ),
    "event-before-database": Bug(
        "The events are published before the rows are committed.",
        {"sink": sink.publish_first},
    ),
    "exception-swallowed-in-sink": Bug(
        "A violation while rows are written is passed over, and the rows count as created.",
        {"sink": sink.swallow_violations},
    ),
    "exception-swallowed-in-streams": Bug(
        "A list that cannot be read counts as an empty list.",
        {"streams": middle.swallow_list_outage},
    ),
    "counter-added-on-repeat": Bug(
        "A repeated batch is not written again, but counted again.",
        {"sink": sink.count_repeats},
    ),
    "sender-forgets-too-early": Bug(
        "The reader forgets a batch when the broker has stored it, not when it is applied.",
        {"reader": middle.forget_when_stored},
    ),
    "receiver-accepts-out-of-order": Bug(
        "A batch is taken although one before it is missing.",
        {"streams": middle.accept_ahead, "sink": sink.admit_ahead},
    ),
    "epoch-fence-removed": Bug(
        "A writer that has lost its partition may still write to the database.",
        {"sink": sink.ignore_epochs},
    ),
    "generation-fence-removed": Bug(
        "A writer that has lost its partition may still publish.",
        {"sink": sink.publish_without_generation},
    ),
    "hint-trusted": Bug(
        "What the agent believes of a row is not confirmed in the database.",
        {"sink": sink.trust_hints},
    ),
    "copy-publishes-again": Bug(
        "A repeated copy of an applied batch publishes its events again.",
        {"sink": sink.publish_copies},
    ),
}


@patch("bug")
def plant(entry: Entry) -> None:
    """`name`: one of BUGS."""
    bug = BUGS.get(entry.options["name"])
    if bug is None or entry.process.role not in bug.installs:
        raise PatchUnknown(f"no bug {entry.options['name']} in {entry.process.role}")
    bug.installs[entry.process.role](entry)


def planted(name: str) -> dict[str, list[dict[str, str]]]:
    """The plan's entries of a bug, by role."""
    return {role: [{"patch": "bug", "name": name}] for role in BUGS[name].installs}
