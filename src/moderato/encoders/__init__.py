"""Encoders: views → rows → embeddings, texts → embeddings.

`open_encoder` reads a model folder in any layout (`_layouts`) into towers (`_towers`), which a runtime (`onnx`) runs.
To add a runtime: one file here, with `VERSION`, `precisions`, `open_vision`, `open_patches` and `open_text`, which hand
`_blocks` a `Graph` of its own. To add a layout: one file in `_layouts`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
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
from moderato.encoders._parity import BOUNDS, Parity, parity
from moderato.encoders._prompt_cache import PromptCache
from moderato.encoders._ranges import Ranges
from moderato.encoders._texts import Texts, finite
from moderato.encoders._towers import Classifier, TextTower, Towers, VisionTower
from moderato.errors import SettingsError
from moderato.types import Embeddings, Precision, Rows, Views, ViewSpec, unit

__all__ = [
    "BOUNDS",
    "WEIGHTS",
    "Classifier",
    "Encoder",
    "Parity",
    "PromptCache",
    "Ranges",
    "Texts",
    "open_encoder",
    "parity",
    "space_of",
]

WEIGHTS = _layouts.WEIGHTS
"""The names that weights go by, in the order in which they are looked for."""


class Runtime(Protocol):
    """What a runtime's module offers: each opens a tower for a number of threads and returns a thread-safe function.

    Texts and patches are always fp32: prompts are encoded once and kept, heatmaps are rare.
    """

    __name__: str
    VERSION: str
    """What executes, and its version: what was measured with another says nothing about this one."""

    def precisions(self) -> tuple[Precision, ...]:
        """What `open_vision` can compute in on this machine; the first is fp32."""

    def open_vision(
        self, tower: VisionTower, threads: int, precision: Precision = "fp32", ranges: Ranges | None = None
    ) -> Callable[[Views], Rows]:
        """Views `(N, S, S, 3)` uint8 → rows `(N, D)`, not yet of unit length. int8 needs `ranges`."""

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
    `precision` is what views are computed in; `ranges` are what int8 was chosen by.
    """

    name: str
    identity: str
    view: ViewSpec
    texts: Texts | None
    temperature: float | None
    towers: Towers
    runtime: Runtime
    threads: int
    precision: Precision = "fp32"
    ranges: Ranges | None = None
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

    @property
    def execution(self) -> str:
        """What runs it and in which precision, as `onnx fp32`."""
        return f"{self.runtime.__name__.rpartition('.')[2]} {self.precision}"

    @cached_property
    def space(self) -> str:
        """What caches know its embeddings by: the identity, the very files and figures they were made with, in what."""
        exact = _space(self.identity, self.towers)
        if self.ranges:
            return f"{exact}/{self.precision}-{self.ranges.digest[:16]}"
        return exact if self.precision == "fp32" else f"{exact}/{self.precision}"

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

    def collect_ranges(self, batches: Iterable[Views]) -> Ranges:
        """What its layers read of these views, computed in fp32: with it the same encoder can be opened in int8.

        Some dozens of pictures of the kind that it will see are enough. None of them is kept.
        """
        onnx = plugins.load("moderato.encoders", "onnx")
        space = _space(self.identity, self.towers)
        return cast("Ranges", onnx.collect_ranges(self.towers.vision, self.threads, batches, space))

    def _open_vision(self) -> Callable[[Views], Rows]:
        with self._lock:
            self._vision = self._vision or self.runtime.open_vision(
                self.towers.vision, self.threads, self.precision, self.ranges
            )
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
    precision: Precision = "fp32",
    ranges: Ranges | None = None,
    prompts: PromptCache | None = None,
    identities: Path | None = None,
) -> Encoder:
    """Open the encoder in a model folder. Only configs and headers are read; the towers follow when used.

    `identity`: the declared one; without it the hash of all tensors, remembered in the file `identities`.
    `temperature`: for independent labels; without it the model's own logit scale.
    `threads`: cores that one call may use.
    `precision`: what views are computed in. `ranges`: what int8 is chosen by, from `Encoder.collect_ranges`.

    Raises `WeightsError` when the folder is in no known layout, or something in it is missing or misshapen;
    `SettingsError` for a precision that the runtime does not offer here, or ranges that are missing or another's.
    """
    towers, view = _layouts.read(folder)
    identity = identity or identity_of(towers, identities)
    module = cast("Runtime", plugins.load("moderato.encoders", runtime))
    ranges = _check(precision, runtime, module, ranges, _space(identity, towers))
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
        precision=precision,
        ranges=ranges,
    )


def space_of(folder: Path, identity: str | None = None, identities: Path | None = None) -> str:
    """What caches know the encoder in a folder by when it is run in fp32; no runtime is loaded. See `open_encoder`."""
    towers, _ = _layouts.read(folder)
    return _space(identity or identity_of(towers, identities), towers)


def _space(identity: str, towers: Towers) -> str:
    return f"{identity}/{sha256(state_of_towers(towers).encode()).hexdigest()[:16]}"


def _check(precision: Precision, runtime: str, module: Runtime, ranges: Ranges | None, space: str) -> Ranges | None:
    """The ranges that are needed, if any. Raises `SettingsError` when the encoder cannot be opened so."""
    if precision != "fp32" and precision not in module.precisions():
        offered = " and ".join(module.precisions())
        raise SettingsError(f"The runtime '{runtime}' has no {precision} on this machine; it offers {offered}.")
    if precision != "int8":
        return None
    how = "Run `moderato bench --pictures FOLDER` with a folder of pictures of your own."
    if ranges is None:
        raise SettingsError(f"int8 needs ranges measured on pictures. {how}")
    if ranges.space != space:
        raise SettingsError(f"The ranges were measured for another encoder, or for other files of it. {how}")
    return ranges
