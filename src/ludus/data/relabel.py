"""Reward and success of logged observations under any skill: computed per (shard, skill) and cached, never stored in
episodes (docs/method.md, section 3).

A new skill costs only its own column. `outcomes` scores the segments of episodes with the same functions, so success
while acting and success after relabelling cannot differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ludus.data.store import EpisodeStore, Shard
from ludus.record import files
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, Observations, Outcome


def outcomes(library: SkillLibrary, episodes: Sequence[Episode]) -> list[Outcome]:
    """Every segment of every episode, scored by the library's skill of its caption; in order.

    Raises:
        LudusError: a caption that is not in the library.
    """
    found: dict[tuple[int, int], Outcome] = {}
    bounds: dict[str, list[tuple[int, int, int, int]]] = {}
    for i, episode in enumerate(episodes):
        for j, (segment, first, end) in enumerate(episode.segment_bounds()):
            bounds.setdefault(segment.caption, []).append((i, j, first, end))
    for caption, places in bounds.items():
        groups = episodes[places[0][0]].observations
        parts = {
            g: np.concatenate([episodes[i].observations[g][a + 1 : z + 1] for i, _, a, z in places]) for g in groups
        }
        rewards, success = library.score(parts, [caption])
        start = 0
        for i, j, first, end in places:
            r, s = rewards[0, start : start + end - first], success[0, start : start + end - first]
            start += end - first
            found[i, j] = Outcome(
                episode=episodes[i].id,
                segment=j,
                caption=caption,
                skill=library[caption].hash,
                success_at_end=bool(s[-1]),
                success_once=bool(s.any()),
                reward=float(r.mean(dtype=np.float64)),
            )
    return [found[key] for key in sorted(found)]


class Relabeller:
    """Scores whole shards under skills, keeping the columns in `<run>/relabel/<shard>/`.

    A column belongs to a shard's checksum and a skill's hash. The hash is of the skill's text and does not change with
    the code of a predicate. So before cached columns are used, some rows of the shard are scored again and compared.
    """

    spot_check_rows = 512

    def __init__(self, store: EpisodeStore, library: SkillLibrary):
        self.store = store
        self.library = library

    def columns(self, shard: Shard, captions: Sequence[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Reward `[n_skills, sum(T_i + 1)]` float32 and success, same shape, bool, of every observation of a shard; for
        `captions`, by default the whole library's."""
        captions = self.library.captions if captions is None else captions
        hashes = [self.library[c].hash for c in captions]
        observations = self.store.observations(shard)
        n = len(next(iter(observations.values())))
        reward, success = np.empty((len(captions), n), np.float32), np.empty((len(captions), n), bool)
        cached = self._cached(shard, hashes, n)
        known = [i for i, h in enumerate(hashes) if h in cached]
        for i in known:
            reward[i], success[i] = cached[hashes[i]]
        if known and not self._matches(observations, [captions[i] for i in known], reward[known], success[known]):
            known = []
            if self.store.record.writable:
                files.remove(self._folder(shard))
        new = sorted(set(range(len(captions))) - set(known))
        if new:
            reward[new], success[new] = self.library.score(observations, [captions[i] for i in new])
            self._keep(shard, {hashes[i]: (reward[i], success[i]) for i in new})
        return reward, success

    def _folder(self, shard: Shard) -> Path:
        return self.store.record.path("relabel", f"{shard.name.removesuffix('.safetensors')}.{shard.checksum[:12]}")

    def _cached(self, shard: Shard, hashes: Sequence[str], n: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Skill hash -> columns. An unreadable file counts as absent: its columns can be computed again."""
        columns: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for path in sorted(self._folder(shard).glob("*.safetensors")):
            try:
                with safe_open(path, framework="numpy") as file:
                    for skill in {k.partition(".")[0] for k in file.keys()}.intersection(hashes):  # noqa: SIM118
                        reward, success = (file.get_tensor(f"{skill}.{what}") for what in ("reward", "success"))
                        if reward.shape == success.shape == (n,):
                            columns[skill] = (reward, success)
            except (OSError, SafetensorError):
                continue
        return columns

    def _matches(
        self, observations: Observations, captions: list[str], reward: np.ndarray, success: np.ndarray
    ) -> bool:
        rows = np.linspace(0, reward.shape[1] - 1, self.spot_check_rows).astype(int)
        fresh_reward, fresh_success = self.library.score({g: v[rows] for g, v in observations.items()}, captions)
        # Rewards not bit for bit: a vectorised tanh may round its last bit otherwise at another place of an array.
        return np.allclose(fresh_reward, reward[:, rows], atol=1e-4) and np.array_equal(fresh_success, success[:, rows])

    def _keep(self, shard: Shard, columns: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        if not self.store.record.writable:
            return
        tensors = {f"{h}.reward": r for h, (r, _) in columns.items()} | {
            f"{h}.success": s for h, (_, s) in columns.items()
        }
        name = hashlib.blake2b(" ".join(sorted(columns)).encode(), digest_size=6).hexdigest()
        path = self._folder(shard) / f"{name}.safetensors"
        try:
            files.write(path, save(tensors))
        except OSError as error:
            if not files.is_full(error, path.parent):
                raise
            # Training works without the cache; the next commit reports the full disk.
