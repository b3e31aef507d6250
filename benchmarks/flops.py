"""How many operations a view costs a vision tower: an addition and a multiplication for each weight that a token meets.

Only products of matrices are counted; norms, activations and softmaxes come to less than a hundredth of them.
"""

from __future__ import annotations

from moderato.encoders._towers import VisionTower


def needed(tower: VisionTower) -> int:
    """What an embedding needs: past the attention of the last block, only the class token."""
    last = _block(tower, queries=1)
    return _patches(tower) + (tower.layers - 1) * _block(tower, tower.tokens) + last + _projection(tower)


def whole(tower: VisionTower) -> int:
    """What it takes when all tokens go to the end, as in transformers: the figure that is usually published."""
    return _patches(tower) + tower.layers * _block(tower, tower.tokens) + _projection(tower)


def _block(tower: VisionTower, queries: int) -> int:
    """One block in which so many tokens look at all of them, and go on."""
    keys_and_values = 2 * tower.tokens * 2 * tower.width**2
    queries_and_out = 2 * queries * 2 * tower.width**2
    attention = 2 * queries * tower.tokens * 2 * tower.width
    return keys_and_values + queries_and_out + attention + 2 * queries * 2 * tower.width * tower.hidden


def _patches(tower: VisionTower) -> int:
    return 2 * tower.grid**2 * tower.width * 3 * tower.patch**2


def _projection(tower: VisionTower) -> int:
    return 2 * tower.width * tower.dim
