"""What a tower computes, written once for every runtime.

A runtime brings a `Graph`: some twenty small operations on handles of its own kind, be they names in an ONNX graph,
outputs of OpenVINO's nodes or tensors that torch multiplies at once. Which operation follows which is said here, and
nowhere else.

Activations are rows `(N·T, W)`: N views or texts of T tokens each, every linear layer one product of two matrices; only
attention sees them as `(N, T, W)`. In the last vision block of a tower with a class token only that token is computed
past the attention: nothing else of it is read (exact).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from moderato.encoders._towers import TextTower, Tower, VisionTower

Result = TypeVar("Result")
"""A runtime's handle of float32 numbers."""


class Graph(Protocol[Result]):
    """The operations of a runtime, around one tower and one input: `views`, or `ids` and `pooled`.

    Names are the tower's canonical ones (`_towers`); the graph reads the tensors itself. M stands for any number of
    rows. Operations on views are asked for by vision towers alone, those on ids by text towers.
    """

    @property
    def tower(self) -> Tower:
        """What is computed."""

    def pixels(self) -> Result:
        """`views`, uint8 `(N, S, S, 3)` → a row a patch, `(N·grid², P·P·3)`, 0..255: its lines, of pixels, of colours.

        The layer `pixels` (`VisionTower.read`) takes them in this order.
        """

    def place(self, patches: Result) -> Result:
        """Rows `(N·grid², W)` → rows `(N·T, W)`: behind the class token where the tower has one, positions added."""

    def words(self) -> Result:
        """`ids`, int64 `(N, T)` → rows `(N·T, W)` of the table `tokens`, the first T positions added."""

    def pooled(self, rows: Result) -> Result:
        """Rows `(N·T, W)` → `(N, W)`: those at `pooled`, int64 `(N,)`, counted over all N·T."""

    def linear(self, rows: Result, name: str) -> Result:
        """Rows `(M, in)` → `(M, out)`: `rows @ NAME.weight.T + NAME.bias`, the bias where the tower has one."""

    def norm(self, rows: Result, name: str) -> Result:
        """A layer norm along each row, with `NAME.weight`, `NAME.bias` and the tower's epsilon."""

    def activate(self, rows: Result) -> Result:
        """The tower's activation."""

    def add(self, left: Result, right: Result) -> Result:
        """The sum of two of one shape."""

    def unit(self, rows: Result) -> Result:
        """Rows at unit length."""

    def split(self, rows: Result, each: int | None = None) -> Result:
        """Rows `(N·each, W)` → `(N, each, W)`; without `each` it is T."""

    def flat(self, tokens: Result) -> Result:
        """The way back: `(N, each, W)` → rows `(N·each, W)`."""

    def attend(self, query: Result, key: Result, value: Result, *, causal: bool) -> Result:
        """`(N, Q, W)` by `(N, T, W)` and `(N, T, W)` → `(N, Q, W)`: attention in the tower's heads.

        Products of queries and keys are divided by √(W/heads) before their softmax.
        `causal`: a token sees only itself and those before it.
        """

    def first(self, rows: Result) -> Result:
        """Rows `(N·T, W)` → `(N, W)`: the first of each view, its class token."""

    def others(self, rows: Result) -> Result:
        """Rows `(N·T, W)` → `(N·(T - 1), W)`: all but the first of each view."""

    def row(self, name: str) -> Result:
        """A tensor `(W,)` as one row `(1, W)`."""

    def repeat(self, row: Result, tokens: Result) -> Result:
        """One row `(1, W)` for each of N views, `(N, 1, W)`; `tokens` is anything `(N, ...)`."""


def write_vision(graph: Graph[Result], tower: VisionTower) -> Result:
    """`views` → rows `(N, D)`, not of unit length."""
    if tower.has("class"):
        return _project(graph, graph.norm(_see(graph, tower, pick=graph.first), "post_norm"))
    patches = graph.norm(_see(graph, tower), "post_norm")
    query = graph.repeat(graph.linear(graph.row("pool.probe"), "pool.query"), graph.split(patches))
    return _project(graph, _widen(graph, "pool", _attend(graph, "pool", query, patches)))


def write_patches(graph: Graph[Result], tower: VisionTower) -> Result:
    """`views` → one row a patch, `(N·grid², D)`: treated like the class token, or pooled as if it alone were seen.

    In the last block each patch attends to itself alone, as MaskCLIP does it (Zhou, Loy and Dai 2022,
    https://arxiv.org/abs/2112.01071): otherwise it has gathered there what the whole picture shows.
    """
    rows = _see(graph, tower, alone=True)
    if tower.has("class"):
        return _project(graph, graph.norm(graph.others(rows), "post_norm"))
    rows = graph.linear(graph.norm(rows, "post_norm"), "pool.value")  # all attention goes to the one there is
    return _project(graph, _widen(graph, "pool", graph.linear(rows, "pool.out")))


def write_text(graph: Graph[Result], tower: TextTower) -> Result:
    """`ids` and `pooled` → embeddings `(N, D)`."""
    rows = graph.words()
    for i in range(tower.layers):
        rows = _block(graph, f"blocks.{i}", rows, causal=tower.causal)
    return graph.unit(_project(graph, graph.norm(graph.pooled(rows), "post_norm")))


def _see(
    graph: Graph[Result], tower: VisionTower, pick: Callable[[Result], Result] | None = None, alone: bool = False
) -> Result:
    """`views` → rows `(N·T, W)` after the last block, or of these those that `pick` keeps.

    `alone`: in the last block each attends to itself only.
    """
    rows = graph.place(graph.linear(graph.pixels(), "pixels"))
    if tower.has("pre_norm.weight"):
        rows = graph.norm(rows, "pre_norm")
    for i in range(tower.layers - 1):
        rows = _block(graph, f"blocks.{i}", rows)
    last = f"blocks.{tower.layers - 1}"
    return _block_alone(graph, last, rows) if alone else _block(graph, last, rows, pick=pick)


def _block(
    graph: Graph[Result],
    name: str,
    rows: Result,
    *,
    causal: bool = False,
    pick: Callable[[Result], Result] | None = None,
) -> Result:
    """One pre-norm block over rows `(N·T, W)`.

    Only the rows that `pick` keeps are computed past the attention; it keeps one a view.
    """
    normed = graph.norm(rows, f"{name}.norm_1")
    kept = pick(normed) if pick else normed
    query = graph.split(graph.linear(kept, f"{name}.query"), 1 if pick else None)
    attended = _attend(graph, name, query, normed, causal=causal)
    return _widen(graph, name, graph.add(pick(rows) if pick else rows, attended))


def _block_alone(graph: Graph[Result], name: str, rows: Result) -> Result:
    """The same where every row attends to itself alone."""
    attended = graph.linear(graph.linear(graph.norm(rows, f"{name}.norm_1"), f"{name}.value"), f"{name}.out")
    return _widen(graph, name, graph.add(rows, attended))


def _attend(graph: Graph[Result], name: str, query: Result, rows: Result, *, causal: bool = False) -> Result:
    """What queries `(N, Q, W)` gather from rows `(N·T, W)`: rows `(N·Q, W)`."""
    key = graph.split(graph.linear(rows, f"{name}.key"))
    value = graph.split(graph.linear(rows, f"{name}.value"))
    return graph.linear(graph.flat(graph.attend(query, key, value, causal=causal)), f"{name}.out")


def _widen(graph: Graph[Result], name: str, rows: Result) -> Result:
    """The hidden layer of a block, added to its rows."""
    hidden = graph.activate(graph.linear(graph.norm(rows, f"{name}.norm_2"), f"{name}.up"))
    return graph.add(rows, graph.linear(hidden, f"{name}.down"))


def _project(graph: Graph[Result], rows: Result) -> Result:
    return graph.linear(rows, "projection") if graph.tower.has("projection.weight") else rows
