"""The shape of a face in one frame, deformed by its action units."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fervid.synthetic.curves import curve, xy
from fervid.synthetic.identity import Identity


class Shape:
    """The curves of a face in one frame, in face heights, as points (N, 2).

    Brow, lids and eye are those on the right of the picture; the left ones are their mirror image.
    """

    def __init__(self, identity: Identity, activity: Mapping[int, float]) -> None:
        """Computes the shape of `identity` for `activity`, which has an entry for each of `ACTION_UNITS`."""
        self.jaw_drop = 0.095 * activity[26] - 0.006 * activity[17]
        self.chin = 0.565 * identity.face[3] + self.jaw_drop
        self._outline(identity, activity)
        self._mouth(identity, activity)
        self._eye(identity, activity)
        self._brow(identity, activity)
        wide, long, _ = identity.nose
        self.nose_half = 0.076 * wide * (1 + 0.10 * activity[9] + 0.08 * activity[12])
        self.nose_y = 0.222 * long - 0.016 * activity[9] - 0.006 * activity[10]

    def _outline(self, identity: Identity, a: Mapping[int, float]) -> None:
        cheek, jaw, chin, length = identity.face
        drop, smile = self.jaw_drop, 0.006 * a[12]
        x = [0.0, 0.2, 0.325 * cheek, 0.372 * cheek, 0.368 * cheek, 0.352 * cheek + smile]
        y = [-0.62, -0.585, -0.43, -0.2, 0.0, 0.15]
        x += [0.315 * jaw + smile, 0.240 * jaw, 0.130 * chin, 0.055 * chin]
        lower = [(0.32, 0.4), (0.445, 0.8), (0.537, 1.0), (0.562, 1.0)]
        y += [height * length + share * drop for height, share in lower]
        half = xy(x, y)
        self.outline = curve(np.concatenate([half, (half * (-1, 1))[:0:-1]]), 64, closed=True)

    def _mouth(self, identity: Identity, a: Mapping[int, float]) -> None:
        half, upper, lower, height = identity.mouth
        u = np.linspace(-1, 1, 25)
        arc = np.maximum(0, 1 - u**2)
        self.mouth_y = 0.352 * identity.face[3] * height
        stretch = 0.030 * a[12] + 0.026 * a[20] - 0.045 * a[18] - 0.012 * a[26] + 0.006 * a[15]
        self.mouth_half = half + stretch
        corner = -0.006 - 0.058 * a[12] + 0.046 * a[15] + 0.010 * a[20] + 0.004 * a[17]
        self.mouth_corner = np.array([self.mouth_half, self.mouth_y + corner * 1.25])
        # A smile straightens the upper lip, so the mouth opens with the lower lip.
        rise = (0.020 * a[10] + 0.006 * a[9] + 0.005 * a[25]) * (1 - 0.5 * min(1.0, a[12]))
        fall = 0.014 * a[25] + 0.026 * a[25] * a[12] + 0.95 * max(0.0, self.jaw_drop)
        bend = corner * (0.25 + np.abs(u) ** 1.8) - 0.003 * np.cos(3 * np.pi * u) * arc
        seam = self.mouth_y - 0.012 * a[17] + bend
        press = 1 - 0.6 * a[24] - 0.25 * a[12] * (1 - a[18]) - 0.1 * a[20]
        pout = 1 + 0.25 * a[17] + 0.2 * a[18]
        bow = 1 + 0.28 * np.exp(-(((np.abs(u) - 0.22) / 0.16) ** 2)) - 0.12 * np.exp(-((u / 0.1) ** 2))
        x, up, low = u * self.mouth_half, seam - rise * arc**0.8, seam + fall * arc**0.7
        self.lip_upper_in, self.lip_lower_in = xy(x, up), xy(x, low)
        self.lip_upper_out = xy(x, up - upper * press * bow * arc**0.65)
        self.lip_lower_out = xy(x, low + lower * press * pout * arc**0.75)

    def _eye(self, identity: Identity, a: Mapping[int, float]) -> None:
        eye_x, half, opening, tilt = identity.eyes
        u = np.linspace(-1, 1, 21)
        arc = 1 - u**2
        lift = 0.025 * a[5] - 0.012 * a[7] - 0.006 * a[6] - 0.010 * a[4] - 0.008 * a[9]
        raised = 0.007 * a[7] + 0.010 * a[6] + 0.007 * a[9] + 0.004 * a[12]
        upper, lower = max(0.008, opening + lift), 0.021 + 0.004 * a[5] - raised
        shut = min(1.0, a[43])
        slant = (0.006 * a[1] - tilt) * u
        above = (1 - np.abs(u + 0.10 * arc) ** 2.3) * (1 - shut) * upper - arc * shut * (lower - 0.004)
        below = lower * (1 - np.abs(u - 0.12 * arc) ** 2.2)
        fold = 0.016 - 0.006 * a[5] + 0.006 * shut + 0.008 * max(a[2], a[1])
        crease = upper * (1 - np.abs(u) ** 2.4) + fold * (0.45 + 0.55 * arc)
        self.eye = np.array([eye_x, -0.006])
        self.lid_upper = xy(eye_x + u * half, slant - above)
        self.lid_lower = xy(eye_x + u * half, slant + below)
        self.lid_fold = xy(eye_x + u * half * 1.04, slant - crease)

    def _brow(self, identity: Identity, a: Mapping[int, float]) -> None:
        height, _, arch, tilt = identity.brows
        v = np.linspace(0, 1, 13)  # from the inner to the outer end
        level = height + arch * np.sin(np.pi * v**1.2) - 0.022 * v**3 - tilt * (v - 0.5)
        raised = 0.054 * a[1] * (1 - v) ** 1.3 + 0.060 * a[2] * np.sin(np.pi * (0.12 + 0.75 * v)) * v**0.5
        # The inner end that fear and sadness raise resists the pull down.
        lowered = a[4] * (0.052 - 0.036 * v) * (1 - 0.7 * min(1.0, a[1]))
        lowered = lowered + 0.012 * a[9] * (1 - v) + 0.004 * a[6] * v
        inner, outer = 0.066 - 0.020 * a[4] * (1 - 0.3 * a[1]), identity.eyes[0] + 1.35 * identity.eyes[1]
        self.brow = xy(inner + (outer - inner) * v, lowered - raised - level)
