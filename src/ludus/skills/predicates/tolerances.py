"""Every tolerance of the predicates for a gripper and blocks, in metres but for those that count in edges of a block.

They are those of docs/method.md, sections 3 and 4, for 4 cm cubes; where one differs from that page, it says why.
"""

# Shaped terms: the block-stacking rewards of docs/method.md, section 3; 'there' below. All lengths in metres.
SHAPE_AT_MARGIN = 0.05
"""What is left of a shaping term at its margin."""
REACH_TOLERANCE_M = 0.02
"""Reach is full when the tool centre point (tcp) is this close to a block's centre."""
REACH_MARGIN_M = 0.15
"""Where reach has fallen to 0.05."""
LIFT_TOP_M = 0.10
"""Height at which lift is full. There the ramp starts at 0.055 for larger objects; here it starts at the table, because
a 4 cm cube carried at 5 cm is a lifted one and a flat start teaches nothing."""
HOVER_GAP_M = 0.02
"""Hover aims at this much air between the blocks. There the aim is contact (none): a held cube would push the lower one."""
HOVER_TOLERANCE_M = 0.01
"""Hover is full this close to its aim."""
HOVER_MARGIN_M = 0.20
"""Where hover has fallen to 0.05."""
LOWER_FROM_M = 0.03
"""Lowering counts from this gap down to contact: it takes over inside hover's full region, so nothing is lost on the way."""
BESIDE_ALIGNED_M = 0.012
"""Lowering beside another block counts within this error of the gap: what `BESIDE_GAP_M` allows around its aim."""
BESIDE_LOWER_FROM_M = 0.10
"""... and from this height above the other's down to its own. From `LIFTED_M`, where carrying ends, policies that carried higher
were not paid for coming down (docs/log.md)."""
NEARLY_MARGIN_M = 0.04
"""Where the second half of carrying to a place that no teacher shows has fallen to 0.05: with `HOVER_MARGIN_M` alone, 4 cm
beside the place paid .83 of it and policies stayed there (docs/log.md)."""
ASIDE_OFFSET = 1.5
"""A carried block is clear of another one at a horizontal distance of this many edges of it ..."""
ASIDE_ENOUGH = 1.2
"""... and may be lowered to the table from this many on: a hand's width of room is not needed to stand."""
SETTLE_FROM_M_S = 0.25
"""A block this fast is not at rest at all: a free fall of 3 mm."""
LEAVE_FROM_M = 0.03
"""Leaving counts from this distance of tcp and block centre ..."""
AWAY_M = 0.08
"""... and is complete at this one (there: 0.10 above, tolerance 0.03, for larger objects; here in any direction)."""
MAX_WIDTH_M = 0.08
"""Distance between the pads of a fully open gripper."""

# Conditions: docs/method.md, section 4, for 4 cm cubes; section 3 where they do not depend on the object's size.
OPEN_WIDTH_M = 0.07
"""A gripper at least this wide is open: a 4 cm cube at any yaw (diagonal 5.7 cm) fits between the pads."""
HELD_DISTANCE_M = 0.025
"""A held block's centre is this close to the tcp ..."""
HELD_NARROWER_M = 0.012
"""... and the pads are at most this much nearer to each other than the block's edge is long (it gives, edges are grasped) ..."""
HELD_WIDER_M = 0.006
"""... or this much further apart (it is turned between the pads)."""
RELEASED_WIDER_M = 0.01
"""A gripper this much wider than the block has let go ..."""
RELEASED_DISTANCE_M = 0.05
"""... and so has one whose tcp is this far from the block, however narrow (section 3 has the width only: a gripper that closes
on nothing afterwards would undo a finished stack)."""
LIFTED_M = 0.05
"""A lifted block's lower face is this high: 1 cm above a block on the table."""
ALIGNED_M = 0.015
"""Horizontal distance of two centres that counts as above each other (section 3's hover tolerance is 0.01 per axis)."""
ABOVE_GAP_M = (0.005, 0.06)
"""Least and most air between two blocks of which one is above the other."""
ON_OFFSET = 0.55
"""A block is on another if their centres are horizontally within this many edges of the lower one (section 3: 0.03 m) ..."""
ON_GAP_M = 0.008
"""... and the gap between their faces is at most this (tilted by contact, sunk by the solver)."""
COVER_OFFSET = 0.8
"""A block whose lower face is at another's upper one and whose centre is within this many edges covers it, even if it
rests mostly elsewhere (a pyramid's top is 0.5 to 0.75 edges from both its supports)."""
BESIDE_GAP_M = (-0.005, 0.02)
"""Least and most air between blocks side by side: centre distance less one edge. Section 4's ±0.01 would exclude touching cubes
turned by 45° (0.008) with any error of placing on top; above 0.02 a pyramid's top has less than 1 cm of support each side."""
BESIDE_AIM_M = 0.008
"""The gap at which `beside_error` is zero: near the middle of the range above."""
BOTH_OFFSET = 0.4
"""A pyramid's top is horizontally within this many of its edges of the middle between its supports (section 3: 0.03 m, with which
a 4 cm cube could stand on one of them alone)."""
STILL_M_S = 0.05
"""A block slower than this is at rest: it moves less than 3 mm per control step."""
