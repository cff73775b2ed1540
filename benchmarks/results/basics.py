"""The library that growth begins from, for any number of blocks: `python benchmarks/results/basics.py 4 > basics.toml`.

Open, reach, grasp, lift, hover and stack of the world's base skills; nothing that leaves, stands beside or is built of three.
"""

import sys

from ludus.config import WorldConfig
from ludus.skills.files import FiledSkill, as_toml
from ludus.worlds.registry import make_world

VERBS = ("open", "reach", "grasp", "lift", "hover", "stack")

if __name__ == "__main__":
    world = make_world(WorldConfig(n_blocks=int(sys.argv[1])))
    skills = [s for s in world.library() if s.caption.split()[0] in VERBS and "leave" not in s.caption]
    filed = (FiledSkill(s.caption, s.reward, s.success, s.steps, author="base", status="base") for s in skills)
    sys.stdout.write(as_toml(filed))
    world.close()
