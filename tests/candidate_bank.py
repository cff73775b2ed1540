"""Candidates as an author may write them for three blocks: good ones, and bad ones with the check that must stop each."""

from typing import NamedTuple

from ludus.skills.candidate import Candidate
from ludus.skills.library import Skill
from ludus.worlds.blocks.skills import extra_skills


class Bad(NamedTuple):
    check: str
    candidate: Candidate
    goal: str | None = None


def _of(skill: Skill) -> Candidate:
    return Candidate(skill.caption, skill.reward, skill.success, skill.steps)


def _extra(caption: str) -> Candidate:
    (skill,) = (s for s in extra_skills(("red", "green", "blue")) if s.caption == caption)
    return _of(skill)


C = Candidate
GET_RED = "reach_grasp(red), lift(red)"
STACKING = "reach_grasp(red), lift(red), hover(red, green), lower(red, green), on(red, green) * release(red)"
BESIDE = _extra("put red beside green")
TOWER = _extra("tower red on green on blue")
STACKED = "on(red, green) and released(red) and still(red)"
LEAVE = f"staged({STACKING}, (on(red, green) and released(red)) * leave(red))"

GOOD = [
    C("stack red on green and leave", LEAVE, f"{STACKED} and away(red)", 80),
    C("leave red on green", LEAVE, "away(red) and on(red, green)", 80),
    C("put green on red, then back off", "staged(reach_grasp(green), lift(green), hover(green, red), lower(green, red), "
      "on(green, red) * release(green), on(green, red) * clip((tcp_distance(green) - 0.02) / 0.08, 0, 1))",
      "on(green, red) and tcp_distance(green) >= 0.1", 100),
    BESIDE,
    _extra("put blue beside red"),
    C("set red next to blue", "staged(reach_grasp(red), lift(red), lifted(red) * shape(beside_error(red, blue), 0.3), "
      "(held(red) and beside_error(red, blue) < 0.012) * (1 - clip(height(red) / 0.1, 0, 1)), "
      "beside(red, blue) * release(red))", "beside(red, blue) and released(red) and still(red) and on_table(red)", 80),
    TOWER,
    _extra("tower blue on red on green"),
    _extra("pyramid red on green and blue"),
    _extra("pyramid blue on red and green"),
    C("take red off green", "staged(reach_grasp(red), lift(red), (lifted(red) and offset(red, green) > 0.06) * "
      "(1 - clip(height(red) / 0.2, 0, 0.9)), (on_table(red) and not on(red, green)) * release(red))",
      "not on(red, green) and on_table(red) and released(red)", 80, "on(red, green) and clear(red)"),
    C("take blue off red", "if_else(on_table(blue), 0.6 + 0.4 * release(blue), 0.5 * staged(reach_grasp(blue), lift(blue), "
      "lifted(blue) * clip(offset(blue, red) / 0.1, 0, 1)))", "on_table(blue) and released(blue) and not on(blue, red)",
      80, "on(blue, red)"),
    C("put red on the table", "if_else(held(red), 0.5 * (1 - clip(height(red) / 0.3, 0, 1)), "
      "if_else(on_table(red), 0.5 + 0.5 * release(red), 0))", "on_table(red) and released(red) and still(red)", 60, "lifted(red)"),
    C("lower red to the table", "0.8 * (1 - clip(height(red) / 0.2, 0, 1)) + 0.2 * on_table(red)", "on_table(red)", 60,
      "height(red) > 0.05"),
    C("hold red above green low", "staged(reach_grasp(red), lift(red), hover(red, green), "
      "held(red) * above(red, green) * (1 - clip(gap(red, green) / 0.06, 0, 0.9)))",
      "held(red) and above(red, green) and gap(red, green) < 0.02", 80),
    C("hold red high", "staged(reach_grasp(red), lift(red), held(red) * clip(height(red) / 0.13, 0, 1))",
      "held(red) and height(red) > 0.12", 80),
    C("carry red over to blue", "staged(reach_grasp(red), lift(red), lifted(red) * shape(offset(red, blue), 0.3))",
      "lifted(red) and offset(red, blue) < 0.03", 80),
    C("bring red close to green", "staged(reach_grasp(red), held(red) * shape(max(distance(red, green) - 0.06, 0), 0.3), "
      "(distance(red, green) < 0.07) * release(red))", "distance(red, green) < 0.07 and released(red) and on_table(red)", 80),
    C("push red and green apart", "clip(offset(red, green) / 0.32, 0, 1)", "offset(red, green) > 0.3", 120),
    C("line up red with green", "1 - clip(abs(x(red) - x(green)) / 0.15, 0, 1)", "abs(x(red) - x(green)) < 0.01", 80),
    C("close the gripper", "1 - clip(width() / 0.08, 0, 1)", "width() < 0.01", 40, "open()"),
    C("let go of red", "release(red) * (0.5 + 0.5 * clip(tcp_distance(red) / 0.06, 0, 1))",
      "released(red) and tcp_distance(red) > 0.05", 40, "held(red)"),
    C("hold the open hand over red", "clip(width() / 0.08, 0, 1) * shape(tcp_distance(red) - 0.12, 0.2)",
      "open() and abs(tcp_distance(red) - 0.12) < 0.02", 60),
    C("carry green away from blue", "staged(reach_grasp(green), lift(green), lifted(green) * "
      "clip(offset(green, blue) / 0.1, 0, 1))", "lifted(green) and offset(green, blue) > 0.08", 80, "clear(green)"),
    C("clear green of red and blue", "if_else(clear(green), 1, 0.9 * max(lift(red), lift(blue)))",
      "clear(green)", 80, "on(red, green) or on(blue, green)"),
    C("grasp red and move it to the left", "staged(reach_grasp(red), held(red) * clip((y(red) + 0.3) / 0.4, 0, 1))",
      "held(red) and y(red) > 0.1", 80),
    C("stack blue on green while red stands apart", "0.9 * staged(reach_grasp(blue), lift(blue), hover(blue, green), "
      "lower(blue, green), on(blue, green) * release(blue)) + 0.1 * (offset(red, green) > 0.06)",
      "on(blue, green) and released(blue) and offset(red, green) > 0.06", 80),
    C("put red and blue beside green", "staged(" + ", ".join([
      "reach_grasp(red)", "lift(red)", "lifted(red) * shape(beside_error(red, green), 0.2)", "beside(red, green) * release(red)",
      "beside(red, green) * reach_grasp(blue)", "beside(red, green) * lift(blue)",
      "(beside(red, green) and lifted(blue)) * shape(beside_error(blue, green), 0.2)",
      "(beside(red, green) and beside(blue, green)) * release(blue)"]) + ")",
      "beside(red, green) and beside(blue, green) and released(blue)", 160),
]  # fmt: skip
