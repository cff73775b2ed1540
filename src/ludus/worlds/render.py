"""Owns every OpenGL context: finds a backend that works, turns joint positions into pictures.

Headless rendering is what breaks first on other people's machines, so the backends are tried in a child process with a
time limit: a driver that crashes or hangs takes only the child with it.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from functools import cache
from typing import Any

import mujoco
import numpy as np

from ludus.types import LudusError

mj: Any = mujoco  # no type stubs

BACKENDS = ("egl", "osmesa")
PROBE = """
import sys
from ludus.worlds.render import Renderer
import mujoco, numpy
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><light pos="0 0 3"/><geom type="box" size="1 1 1"/>'
    '<camera name="c" pos="0 -4 0" xyaxes="1 0 0 0 0 1"/></worldbody></mujoco>')
renderer = Renderer(model, backend=sys.argv[1])
assert renderer.render(numpy.zeros((1, 0)), "c", 32).std() > 1
renderer.close()
"""


@cache
def probe(timeout_s: float = 30.0) -> str | None:
    """'egl', 'osmesa' or None: the first backend that really draws a picture here. A backend named by the environment
    variable MUJOCO_GL is the only one tried."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    for backend in (wanted,) if wanted in BACKENDS else () if wanted in ("disable", "off", "0") else BACKENDS:
        command = [sys.executable, "-c", PROBE, backend]
        try:
            if subprocess.run(command, capture_output=True, timeout=timeout_s, check=False).returncode == 0:
                return backend
        except subprocess.TimeoutExpired:
            continue
    return None


class Renderer:
    """Pictures of one model, without shadows and reflections (docs/method.md, section 4: ten times faster).

    Args:
        backend: 'egl' or 'osmesa'; by default what `probe` found.

    Raises:
        LudusError: no OpenGL, with what to install.
    """

    def __init__(self, model: Any, backend: str | None = None):
        backend = backend or probe()
        if backend is None:
            raise LudusError(
                "no OpenGL for pictures: neither EGL nor OSMesa works here; on Debian or Ubuntu "
                "`apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri libosmesa6` mends it"
            )
        # PyOpenGL decides once, at its first import, which library it loads.
        os.environ["PYOPENGL_PLATFORM"] = backend
        self._model, self._data = model, mj.MjData(model)
        self._gl = importlib.import_module(f"mujoco.{backend}").GLContext(512, 512)
        self._gl.make_current()
        model.vis.quality.shadowsize = 0
        self._scene = mj.MjvScene(model, maxgeom=2000)
        self._scene.flags[int(mj.mjtRndFlag.mjRND_SHADOW)] = 0
        self._scene.flags[int(mj.mjtRndFlag.mjRND_REFLECTION)] = 0
        self._context: Any = None
        self._size = 0

    def render(
        self,
        qpos: np.ndarray,
        camera: str,
        size: int = 256,
        sizes: np.ndarray | None = None,
        mocap: np.ndarray | None = None,
    ) -> np.ndarray:
        """`[n, nq]` joint positions -> `[n, size, size, 3]` uint8.

        Args:
            sizes: `[n, k]` edge lengths, m, of the k bodies that hang on free joints, where they differ from the model.
            mocap: `[n, k, 7]` positions, m, and quaternions of the k bodies that no joint moves.
        """
        camera_id = mj.mj_name2id(self._model, int(mj.mjtObj.mjOBJ_CAMERA), camera)
        view = mj.MjvCamera()
        view.type, view.fixedcamid = int(mj.mjtCamera.mjCAMERA_FIXED), camera_id
        options, rect = mj.MjvOption(), mj.MjrRect(0, 0, size, size)
        self._fit(size)
        frames = np.empty((len(qpos), size, size, 3), np.uint8)
        for i, row in enumerate(qpos):
            self._data.qpos[:] = row
            if sizes is not None:
                self._resize(sizes[i])
            if mocap is not None:
                self._data.mocap_pos[:], self._data.mocap_quat[:] = mocap[i, :, :3], mocap[i, :, 3:]
            mj.mj_kinematics(self._model, self._data)
            mj.mj_camlight(self._model, self._data)
            mj.mjv_updateScene(self._model, self._data, options, None, view, int(mj.mjtCatBit.mjCAT_ALL), self._scene)
            mj.mjr_render(rect, self._scene, self._context)
            mj.mjr_readPixels(frames[i], None, rect, self._context)
        return frames[:, ::-1].copy()

    def _fit(self, size: int) -> None:
        self._gl.make_current()
        if self._context is None or self._size != size:
            if self._context is not None:
                self._context.free()
            self._model.vis.global_.offwidth = self._model.vis.global_.offheight = size
            self._model.vis.quality.offsamples = 4
            self._context = mj.MjrContext(self._model, int(mj.mjtFontScale.mjFONTSCALE_100))
            mj.mjr_setBuffer(int(mj.mjtFramebuffer.mjFB_OFFSCREEN), self._context)
            self._size = size

    def _resize(self, sizes: np.ndarray) -> None:
        free = [j for j in range(self._model.njnt) if int(self._model.jnt_type[j]) == int(mj.mjtJoint.mjJNT_FREE)]
        for joint, edge in zip(free, sizes, strict=True):
            geom = self._model.body_geomadr[self._model.jnt_bodyid[joint]]
            self._model.geom_size[geom] = edge / 2

    def close(self) -> None:
        """Release the context; before the process ends, or OSMesa prints a traceback."""
        if self._context is not None:
            self._context.free()
            self._context = None
        self._gl.free()
