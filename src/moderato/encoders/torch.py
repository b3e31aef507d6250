"""The runtime `torch`: towers on a CUDA device where there is one, else on the CPU. Needs the extra `torch`.

Linear layers and attention compute in the precision asked for. What lies between them stays float32: the rows that
blocks add to, norms, and the rows that come out; else rounding would add up from block to block.

Two settings are PyTorch's own and hold for a whole process; whatever is opened here sets both: the cores that PyTorch
uses, and that float32 is multiplied as float32 (no TF32). `CUDA_VISIBLE_DEVICES` says which device is seen, if any.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from moderato.encoders._blocks import write_patches, write_text, write_vision
from moderato.encoders._ranges import Ranges
from moderato.encoders._towers import TextTower, Tower, VisionTower
from moderato.types import Embeddings, Precision, Rows, Views

_LOG = logging.getLogger(__name__)
# PyTorch's compiler would have everybody turn TF32 on, whose products keep 10 bits of 23.
warnings.filterwarnings("ignore", category=UserWarning, message="TensorFloat32 tensor cores", module="torch")

_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_MOST = 256  # views at a time: more fill no device better, and what lies between blocks would need gigabytes
_FEWEST = 2  # views that a compiled tower takes: for one, the compiler would write a program of its own
_SHADES = 256  # pixels are divided by it and their weights multiplied, both exact: over 0..255 fp16 has none so small

Run = Callable[[Tensor], Tensor]

VERSION = f"torch {torch.__version__}"


def precisions() -> tuple[Precision, ...]:
    """What `open_vision` can compute in: what this machine's device, or its CPU, has instructions for."""
    if torch.cuda.is_available():
        return ("fp32", "bf16", "fp16") if torch.cuda.is_bf16_supported(including_emulation=False) else ("fp32", "fp16")
    able = torch.cpu.get_capabilities()
    return ("fp32", "bf16") if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else ("fp32",)


def device() -> torch.device:
    """Where towers run: the first CUDA device that is seen, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def open_vision(
    tower: VisionTower, threads: int, precision: Precision = "fp32", ranges: Ranges | None = None
) -> Callable[[Views], Rows]:
    """See `onnx.open_vision`; there is no int8 here, and nothing for `ranges` to do.

    For a CUDA device it is compiled here, once for any number of views: the first time on a machine that takes minutes,
    then seconds. Where that fails, as without a C compiler, it runs uncompiled, and the log says so.
    """
    run = open_rows(tower, threads, precision)
    return lambda views: Rows(_rows(run, views))


def open_rows(tower: VisionTower, threads: int, precision: Precision = "fp32") -> Run:
    """The same over tensors of `device()`: uint8 `(N, S, S, 3)` → float32 `(N, D)`, N from 1 to what fits there.

    Not compiled for a CPU: of a ViT-B/32's milliseconds that takes a tenth away (2 cores), and 15 s to do.
    """
    run = _vision(tower, _Weights(tower, threads, precision), write_vision)
    return _compiled(run, tower) if device().type == "cuda" else run


def open_patches(tower: VisionTower, threads: int) -> Callable[[Views], NDArray[np.float32]]:
    """See `onnx.open_patches`. Never compiled: heatmaps are rare."""
    run = _vision(tower, _Weights(tower, threads), write_patches)
    return lambda views: _rows(run, views).reshape(len(views), tower.grid, tower.grid, tower.dim)


def open_text(tower: TextTower, threads: int) -> Callable[[NDArray[np.int64]], Embeddings]:
    """See `onnx.open_text`. Never compiled: prompts are embedded once and kept."""
    weights = _Weights(tower, threads)

    def encode(ids: NDArray[np.int64]) -> Embeddings:
        rows, length = ids.shape
        pooled = torch.from_numpy(np.arange(rows) * length + tower.pool(ids)).to(device())
        graph = TorchGraph(weights, torch.tensor(ids, device=device()), pooled)
        return Embeddings(write_text(graph, tower).cpu().numpy())

    encode(np.zeros((1, 1), np.int64))  # reads the weights
    tower.tensors.release()
    return encode


class _Weights:
    """A tower's tensors on the device, each read and cast when first asked for; without a lock, so ask once for all."""

    def __init__(self, tower: Tower, threads: int, precision: Precision = "fp32") -> None:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")
        self.tower = tower
        self.dtype = _DTYPES[precision]
        self._held: dict[str, Tensor] = {}

    def get(self, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor by its canonical name; always asked for in the same dtype."""
        if name not in self._held:
            tensor = torch.tensor(self.tower.read(name))
            self._held[name] = (tensor * _SHADES if name == "pixels.weight" else tensor).to(device(), dtype)
        return self._held[name]


class TorchGraph:
    """The operations of `_blocks.Graph` on tensors, each done when it is asked for.

    `given`: views, uint8 `(N, S, S, 3)`, or ids, int64 `(N, T)`; `at`: int64 `(N,)`, which of all N·T rows stand for
    their texts.
    """

    def __init__(self, weights: _Weights, given: Tensor, at: Tensor | None = None) -> None:
        self.tower = weights.tower
        self._weights = weights
        self._given = given
        self._at = at

    def pixels(self) -> Tensor:
        """See `Graph.pixels`. 0 to 1, as `_SHADES` says."""
        side, patch = self._vision.grid, self._vision.patch
        pixels = self._given.reshape(-1, side, patch, side, patch * 3).transpose(2, 3)
        return pixels.reshape(-1, patch * patch * 3).to(self._weights.dtype) / _SHADES

    def place(self, patches: Tensor) -> Tensor:
        """See `Graph.place`."""
        tokens = self.split(patches, self._vision.grid**2).float()
        if self.tower.has("class"):
            tokens = torch.cat((self.repeat(self._weights.get("class"), tokens), tokens), dim=1)
        return self.flat(tokens + self._weights.get("positions"))

    def words(self) -> Tensor:
        """See `Graph.words`."""
        tokens = functional.embedding(self._given, self._weights.get("tokens"))
        return self.flat(tokens + self._weights.get("positions")[: self._tokens])

    def pooled(self, rows: Tensor) -> Tensor:
        """See `Graph.pooled`."""
        assert self._at is not None
        return rows[self._at]

    def linear(self, rows: Tensor, name: str) -> Tensor:
        """See `Graph.linear`. In the precision asked for, whatever comes in."""
        dtype = self._weights.dtype
        bias = self._weights.get(f"{name}.bias", dtype) if self.tower.has(f"{name}.bias") else None
        return functional.linear(rows.to(dtype), self._weights.get(f"{name}.weight", dtype), bias)

    def norm(self, rows: Tensor, name: str) -> Tensor:
        """See `Graph.norm`. In float32."""
        scale, shift = self._weights.get(f"{name}.weight"), self._weights.get(f"{name}.bias")
        return functional.layer_norm(rows.float(), (self.tower.width,), scale, shift, self.tower.epsilon)

    def activate(self, rows: Tensor) -> Tensor:
        """See `Graph.activate`."""
        if self.tower.activation == "quick_gelu":
            return rows * torch.sigmoid(1.702 * rows)
        return functional.gelu(rows, approximate="tanh" if self.tower.activation == "gelu_tanh" else "none")

    def add(self, left: Tensor, right: Tensor) -> Tensor:
        """See `Graph.add`. In the wider of both."""
        return left + right

    def unit(self, rows: Tensor) -> Tensor:
        """See `Graph.unit`."""
        return functional.normalize(rows.float(), dim=-1)

    def split(self, rows: Tensor, each: int | None = None) -> Tensor:
        """See `Graph.split`."""
        return rows.reshape(-1, each or self._tokens, self.tower.width)

    def flat(self, tokens: Tensor) -> Tensor:
        """See `Graph.flat`."""
        return tokens.reshape(-1, self.tower.width)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
        """See `Graph.attend`."""
        queries, keys, values = (self._by_head(rows) for rows in (query, key, value))
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=causal)
        return mixed.transpose(1, 2).flatten(2)

    def _by_head(self, rows: Tensor) -> Tensor:
        """`(N, T, W)` → `(N, heads, T, W/heads)`."""
        return rows.reshape(*rows.shape[:2], self.tower.heads, -1).transpose(1, 2)

    def first(self, rows: Tensor) -> Tensor:
        """See `Graph.first`."""
        return self.split(rows)[:, 0]

    def others(self, rows: Tensor) -> Tensor:
        """See `Graph.others`."""
        return self.flat(self.split(rows)[:, 1:])

    def row(self, name: str) -> Tensor:
        """See `Graph.row`."""
        return self._weights.get(name).reshape(1, -1)

    def repeat(self, row: Tensor, tokens: Tensor) -> Tensor:
        """See `Graph.repeat`."""
        return row.expand(len(tokens), 1, -1)

    @property
    def _vision(self) -> VisionTower:
        assert isinstance(self.tower, VisionTower)
        return self.tower

    @property
    def _tokens(self) -> int:
        """T: of views what the blocks see, of texts their length."""
        return self.tower.tokens if isinstance(self.tower, VisionTower) else self._given.shape[1]


def _vision(tower: VisionTower, weights: _Weights, write: Callable[[TorchGraph, VisionTower], Tensor]) -> Run:
    """What `write` computes of views on the device, with all weights there."""

    def run(views: Tensor) -> Tensor:
        return write(TorchGraph(weights, views), tower).float()

    run(_blank(tower, 1))  # reads the weights
    tower.tensors.release()
    return run


def _compiled(run: Run, tower: VisionTower) -> Run:
    """The same, compiled for any number of views; `run` itself where that cannot be done.

    Not `reduce-overhead`, whose CUDA graphs hold in the thread that made them alone
    (https://github.com/pytorch/pytorch/issues/123177).
    """
    compiled = torch.compile(run, fullgraph=True)
    example = _blank(tower, _FEWEST)
    torch._dynamo.mark_dynamic(example, 0)
    try:
        with torch.inference_mode():
            compiled(example)
    except Exception as error:  # noqa: BLE001  whatever ails a compiler, the tower runs without it
        reason = " ".join(str(error).split("\n")[:2])  # the first line may say no more than who raised it
        _LOG.warning("The encoder runs uncompiled, and slower: torch.compile failed (%s).", reason)
        return run

    def padded(views: Tensor) -> Tensor:
        count = len(views)
        whole = views if count >= _FEWEST else views.repeat(_FEWEST, 1, 1, 1)
        with torch.inference_mode():
            return compiled(whole)[:count]

    return padded


def _rows(run: Run, views: Views) -> NDArray[np.float32]:
    """What `run` makes of views in host memory; while the device computes some, the next are on their way."""
    pieces = [run(_sent(views[start : start + _MOST])) for start in range(0, len(views), _MOST)]
    rows: NDArray[np.float32] = torch.cat(pieces).cpu().numpy()
    return rows


def _sent(views: NDArray[np.uint8]) -> Tensor:
    """Views on the device, still uint8: a quarter of what float32 would take to send."""
    tensor = torch.from_numpy(np.require(views, requirements=("C", "W")))  # PyTorch knows no arrays that only read
    return tensor.pin_memory().to(device(), non_blocking=True) if device().type == "cuda" else tensor


def _blank(tower: VisionTower, count: int) -> Tensor:
    return torch.zeros((count, tower.side, tower.side, 3), dtype=torch.uint8, device=device())
