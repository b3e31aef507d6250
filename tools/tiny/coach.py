"""A small convolutional net that learns shapes soon, and how the transformer is made to imitate it.

A vision transformer needs millions of pictures to find out that neighbouring patches belong together. A convolutional
net is built that way. So one is trained first, on the same drawings, and the transformer's patches learn to say what
the net says about the same place. Neither the net nor what binds the two is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tools.tiny.colours import COLOURS
from tools.tiny.model import VisionTower
from tools.tiny.things import THINGS
from torch import Tensor, nn
from torch.nn import functional

_NEAR, _FAR = 128, 192  # channels of the net's two maps
_BLOCKS = (1, 4)  # the transformer's blocks whose patches imitate these maps


def _layer(inputs: int, outputs: int, stride: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.GELU())


class Heads(nn.Module):
    """Plain classifiers of things and colours on pooled features (n, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.things = nn.Linear(width, len(THINGS))
        self.colours = nn.Linear(width, len(COLOURS))

    def forward(self, features: Tensor, scenes: NDArray[np.int8]) -> Tensor:
        """Mean cross-entropy against what encoded scenes show; empty scenes count for nothing."""
        codes = torch.from_numpy(scenes).long()
        things = functional.cross_entropy(self.things(features), _shares(codes[:, [0, 3]], len(THINGS)))
        colours = functional.cross_entropy(self.colours(features), _shares(codes[:, [1, 4]], len(COLOURS)))
        return things + 0.3 * colours


def _shares(present: Tensor, count: int) -> Tensor:
    """Indices (n, 2), negative for none, to rows (n, count) that sum to one where there is any."""
    one_hot = functional.one_hot(present.clamp(min=0), count).float() * (present >= 0)[..., None]
    return one_hot.sum(1) / one_hot.sum((1, 2)).clamp(min=1)[:, None]


class Coach(nn.Module):
    """The convolutional net; its maps have one cell for each 8 x 8 patch."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Sequential(_layer(3, 32, 2), _layer(32, 64, 2), _layer(64, _NEAR, 2))
        self.far = nn.Sequential(_layer(_NEAR, _NEAR, 1), _layer(_NEAR, _FAR, 1))
        self.heads = Heads(_FAR)

    def forward(self, images: Tensor, scenes: NDArray[np.int8]) -> Tensor:
        """The classification loss for images (n, 3, side, side)."""
        return self.heads(self.far(self.near(images)).mean((2, 3)), scenes)

    @torch.no_grad()
    def maps(self, images: Tensor) -> list[Tensor]:
        """What it sees nearby and farther around each patch: (n, patches, channels), each of unit spread."""
        near = self.near(images)
        return [functional.layer_norm(m.flatten(2).transpose(1, 2), m.shape[1:2]) for m in (near, self.far(near))]


class Imitation(nn.Module):
    """Listens to some blocks of the tower and compares their patches with the coach's maps."""

    def __init__(self, tower: VisionTower) -> None:
        super().__init__()
        width = tower.conv1.out_channels
        self.readers = nn.ModuleList(nn.Linear(width, channels) for channels in (_NEAR, _FAR))
        self.heard: dict[int, Tensor] = {}
        for index in _BLOCKS:
            tower.transformer.resblocks[index].register_forward_hook(self._listener(index))

    def _listener(self, index: int) -> Callable[[nn.Module, object, Tensor], None]:
        def listen(_block: nn.Module, _inputs: object, output: Tensor) -> None:
            self.heard[index] = output

        return listen

    def forward(self, maps: Sequence[Tensor], kept: Tensor | None) -> Tensor:
        """Mean squared difference, over both maps, for the pictures that the tower has just seen."""
        total = torch.zeros(())
        for index, reader, wanted in zip(_BLOCKS, self.readers, maps, strict=True):
            tokens = self.heard.pop(index)[:, 1:]
            if kept is not None:
                wanted = wanted.gather(1, kept[..., None].expand(-1, -1, wanted.shape[2]))
            normal = functional.layer_norm(tokens, tokens.shape[2:])
            total = total + functional.mse_loss(reader(normal), wanted)
        return total / len(_BLOCKS)
