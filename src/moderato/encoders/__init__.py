"""Encoders: views → rows → embeddings, texts → embeddings.

`open_encoder` reads a model folder in any layout (`_layouts`) into towers (`_towers`), which a runtime (`onnx`) runs.
To add a runtime: one file here, with `open_vision`, `open_patches` and `open_text`, which hand `_blocks` a `Graph` of
its own. To add a layout: one file in `_layouts`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from moderato import plugins
from moderato.encoders import _layouts
from moderato.encoders._identity import identity as identity_of
from moderato.encoders._identity import state_of_towers
from moderato.encoders._prompt_cache import PromptCache
from moderato.encoders._texts import Texts, finite
from moderato.encoders._towers import Classifier, TextTower, Towers, VisionTower
from moderato.types import Embeddings, Rows, Views, ViewSpec, unit

__all__ = ["WEIGHTS", "Classifier", "Encoder", "PromptCache", "Texts", "open_encoder"]

WEIGHTS = _layouts.WEIGHTS
"""The names that weights go by, in the order in which they are looked for."""


class Runtime(Protocol):
    """What a runtime's module offers: each opens a tower for a number of threads and returns a thread-safe function."""

    def open_vision(self, tower: VisionTower, threads: int) -> Callable[[Views], Rows]:
        """Views `(N, S, S, 3)` uint8 → rows `(N, D)`, not yet of unit length."""

    def open_patches(self, tower: VisionTower, threads: int) -> Callable[[Views], NDArray[np.float32]]:
        """Views → one row a patch, `(N, grid, grid, D)`, not yet of unit length."""

    def open_text(self, tower: TextTower, threads: int) -> Callable[[NDArray[np.int64]], Embeddings]:
        """Token ids `(N, T)` → embeddings `(N, D)`."""


@dataclass
class Encoder:
    """One encoder, each of its parts opened when first used; thread-safe.

    `identity` names the embedding space: heads, banks and caches made in one are worthless in another.
    `view` is how it was trained to see; a policy may ask for another fit.
    `texts` is None when it embeds pictures only. `temperature` turns a cosine gap into a score (independent labels),
    `logit_scale` cosines into a softmax; both are None for an encoder that was not trained on cosines.
    """

    name: str
    identity: str
    view: ViewSpec
    texts: Texts | None
    temperature: float | None
    towers: Towers
    runtime: Runtime
    threads: int
    _vision: Callable[[Views], Rows] | None = field(default=None, init=False, repr=False)
    _patches: Callable[[Views], NDArray[np.float32]] | None = field(default=None, init=False, repr=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def dim(self) -> int:
        """D, the size of an embedding."""
        return self.towers.vision.dim

    @property
    def logit_scale(self) -> float | None:
        """What cosines are multiplied by before a softmax; near 100 for trained CLIPs."""
        return self.towers.logit_scale

    @cached_property
    def space(self) -> str:
        """What caches know its embeddings by: the identity, and the very files and figures they were made with."""
        return f"{self.identity}/{sha256(state_of_towers(self.towers).encode()).hexdigest()[:16]}"

    @property
    def classifier(self) -> Classifier | None:
        """The labels and the dense layer that came with it, when it is a picture classifier."""
        return self.towers.classifier

    def encode(self, views: Views) -> Embeddings:
        """Embeddings `(N, D)` of uint8 views `(N, S, S, 3)`; N may be 0. Batch and single agree to 1e-5."""
        return unit(self.project(views))

    def project(self, views: Views) -> Rows:
        """Rows `(N, D)` of views, not yet of unit length: what a picture classifier's dense layer was trained on."""
        if len(views) == 0:
            return Rows(np.empty((0, self.dim), dtype=np.float32))
        vision = self._open_vision()
        with self._turn:  # one call uses all threads; two at once would only get in each other's way
            return finite(vision(views), self.name)

    def encode_patches(self, views: Views) -> NDArray[np.float32]:
        """One embedding a patch, float32 `(N, grid, grid, D)`, unit length, the top left patch first."""
        return unit(Rows(self.project_patches(views)))

    def project_patches(self, views: Views) -> NDArray[np.float32]:
        """The same, not yet of unit length."""
        patches = self._open_patches()
        with self._turn:
            rows = patches(views)
        finite(rows.reshape(-1, self.dim), self.name)
        return rows

    def _open_vision(self) -> Callable[[Views], Rows]:
        with self._lock:
            self._vision = self._vision or self.runtime.open_vision(self.towers.vision, self.threads)
            return self._vision

    def _open_patches(self) -> Callable[[Views], NDArray[np.float32]]:
        with self._lock:
            self._patches = self._patches or self.runtime.open_patches(self.towers.vision, self.threads)
            return self._patches


def open_encoder(
    folder: Path,
    *,
    name: str = "",
    identity: str | None = None,
    temperature: float | None = None,
    threads: int = 1,
    runtime: str = "onnx",
    prompts: PromptCache | None = None,
    identities: Path | None = None,
) -> Encoder:
    """Open the encoder in a model folder. Only configs and headers are read; the towers follow when used.

    `identity`: the declared one; without it the hash of all tensors, remembered in the file `identities`.
    `temperature`: for independent labels; without it the model's own logit scale.
    `threads`: cores that one call may use.

    Raises `WeightsError` when the folder is in no known layout, or something in it is missing or misshapen.
    """
    towers, view = _layouts.read(folder)
    identity = identity or identity_of(towers, identities)
    module = cast("Runtime", plugins.load("moderato.encoders", runtime))
    texts = None
    if towers.text:
        open_tower = partial(module.open_text, towers.text, threads)
        texts = Texts(towers.text, folder, open_tower, prompts or PromptCache(None), identity)
    return Encoder(
        name=name or folder.name,
        identity=identity,
        view=view,
        texts=texts,
        temperature=temperature or towers.logit_scale,
        towers=towers,
        runtime=module,
        threads=threads,
    )
