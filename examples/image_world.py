"""A point on a plane that is to go to a target which only an image shows.
Try it with `ludus check image_world.py:reach`; the commands of docs/add-a-world.md take it by that name.
"""

import numpy as np

from ludus import Field, Group, ObservationSpec, Skill, SkillLibrary, Vocabulary, World, WorldKind, WorldSpec, predicate

SIDE, SPREAD, SPEED = 32, 1.5, 0.15  # pixels; pixels; of the plane's half per control step
CAMERA = Field("pixels", (SIDE, SIDE, 3), "1", "the plane from above", dtype="uint8", centre=127.5, scale=127.5)
SPEC = ObservationSpec(
    (
        Group("point", "effector", (Field("position", 2, "1", "where it is", scale=0.5),)),
        Group("camera", "effector", (CAMERA,)),
    )
)


def shown(observations):
    """Where the image shows the target, `[..., 2]` in [-1, 1]."""
    green = observations["camera"][..., 1]
    brightest = green.reshape(*green.shape[:-2], SIDE * SIDE).argmax(-1)
    return np.stack(np.divmod(brightest, SIDE), -1).astype(np.float32) * (2 / (SIDE - 1)) - 1


@predicate("real")
def distance(spec, o):
    """Distance from the point to the target; the plane's sides are 2 long."""
    return np.linalg.norm(spec.get(o, "point", "position") - shown(o), axis=-1)


@predicate("bool")
def there(spec, o):
    """The point is at the target."""
    return distance(spec, o) <= 0.2


class Reach(World):
    def __init__(self, n_envs):
        self.n_envs, self.vocabulary = n_envs, Vocabulary(SPEC, (), (distance, there))
        self.spec = WorldSpec("image", objects=(), observation=SPEC, actions=("down", "right"), control_hz=10, episode_steps=20,
                              skill_steps=20, starts=("anywhere",), cameras=("above",), fingerprint="image-1")  # fmt: skip

    def reset(self, seeds, start="anywhere"):
        self.places = np.stack([np.random.default_rng(seed).uniform(-0.9, 0.9, (2, 2)) for seed in seeds])
        return self.observe()

    def step(self, actions):
        self.places[:, 0] = np.clip(self.places[:, 0] + SPEED * np.clip(actions, -1, 1), -1, 1)
        return self.observe()

    def observe(self):
        """The point is red, the target green."""
        pixels = (
            np.arange(SIDE) - (self.places[..., None] + 1) * (SIDE - 1) / 2
        )  # [E, 2 things, 2 axes, SIDE] off their centre
        down, right = np.exp(-0.5 * (pixels / SPREAD) ** 2).transpose(2, 0, 1, 3)
        image = np.zeros((self.n_envs, SIDE, SIDE, 3), np.uint8)
        image[..., :2] = np.einsum("eki,ekj->eijk", 255 * down, right)
        return {"point": self.places[:, 0].astype(np.float32), "camera": image}

    def snapshot(self):
        return self.places.reshape(self.n_envs, -1).copy()

    def restore(self, snapshot):
        self.places = snapshot.reshape(self.n_envs, 2, 2).copy()
        return self.observe()

    def library(self):
        return SkillLibrary(self.vocabulary, [Skill("go to the target", "1 - distance()", "there()", steps=20)])

    def frames(self, observations, camera=None, size=256):
        at = np.arange(size) * SIDE // size
        return observations["camera"][:, at][:, :, at]


class Teacher:
    def __init__(self, spec): ...

    def begin(self, seeds, noise, random_mask):
        self.noise = np.where(random_mask, 10, noise)[:, None]
        self.draws = [np.random.default_rng(seed) for seed in seeds]

    def act(self, o, captions):
        noise = self.noise * np.stack([draw.normal(size=2) for draw in self.draws])
        return np.clip((shown(o) - o["point"]) / SPEED + noise, -1, 1).astype(np.float32)


reach = WorldKind(lambda config: Reach(config.n_envs), Teacher)
