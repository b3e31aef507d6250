"""What a GPU makes of it: views to embeddings, beside its own matrix products and a plain loop; and the way from JPEGs.

    python -m benchmarks.gpu [--device cpu] [--json FILE]

One call on a machine with a CUDA device, with whatever torch is there. transformers, for its loop, and torchvision, for
nvJPEG, are used where they are. Weights are random: speed does not depend on their values. `--device cpu` runs the same
with a tower of small size, to see that it runs; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from benchmarks.pictures import jpeg, prepared
from benchmarks.timing import alternating, alternating_each
from benchmarks.towers import clip_tower, flop
from moderato.encoders import torch as runtime
from moderato.encoders._towers import VisionTower
from moderato.types import Views, ViewSpec

_SIZES = ((640, 480), (4000, 3000))
_DECODED = 64  # pictures that the device decodes at a time: 2 GB of the larger size
_PRODUCTS = 8  # in a round

Stages = dict[str, Callable[[], object]]
"""What is timed: `prepared`, `encoded`, and `both`."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    towers: dict[str, VisionTower]
    batches: tuple[int, ...]
    product: int
    """Side of the square matrices whose product is the peak."""
    views: int
    """In a round of a side, as many batches as that takes: a device that was idle begins slowly."""
    pictures: int
    """Of the smaller size; of the larger an eighth."""


@dataclass(frozen=True)
class Opened:
    """A tower that runs: as the package opens it, from host memory; and on tensors that the device has."""

    tower: VisionTower
    project: Callable[[Views], object]
    run: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rate:
    """What was measured: pieces a second, one figure a round."""

    what: str
    rates: list[float]
    note: str = ""

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.rates)

    def row(self) -> tuple[str, str, str, str]:
        """As cells of a table."""
        low, _, high = quantiles(self.rates, n=4)
        return (self.what, f"{self.middle:,.1f}", f"{low:,.1f} - {high:,.1f}", self.note)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rounds", type=int, default=12, help="how often each side is timed")
    parser.add_argument("--json", type=Path, help="write the results here as well")
    options = parser.parse_args()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # read when CUDA is first asked for, which is below
    if runtime.device().type != options.device:
        parser.error("PyTorch sees no CUDA device here. --device cpu tries the script without one.")
    plan = _small() if options.device == "cpu" else _full()
    rates: list[Rate] = []
    for name, tower in plan.towers.items():
        opened = _opened(tower)
        rates += _encoding(plan, name, opened, options.rounds)
    rates += _from_files(plan, name, opened, max(3, options.rounds // 4))
    Console().print(_table(rates))
    if options.json:
        facts = {"machine": _machine(), "rates": [asdict(rate) for rate in rates]}
        options.json.write_text(json.dumps(facts, indent=2) + "\n")


def _full() -> Plan:
    towers = {
        "ViT-B/32": clip_tower(width=768, layers=12, heads=12, dim=512, patch=32),
        "ViT-L/14": clip_tower(width=1024, layers=24, heads=16, dim=768, patch=14),
    }
    return Plan(towers, (1, 8, 32, 128, 256), 8192, 512, 4096)


def _small() -> Plan:
    return Plan({"a small ViT/32": clip_tower(width=192, layers=2, heads=3, dim=64, patch=32)}, (1, 8), 1024, 8, 32)


def _opened(tower: VisionTower) -> Opened:
    threads = len(os.sched_getaffinity(0))
    project = runtime.open_vision(tower, threads, _precision())
    return Opened(tower, project, runtime.open_rows(tower, threads, _precision()))


def _precision() -> str:
    return "bf16" if "bf16" in runtime.precisions() else "fp32"


def _dtype() -> torch.dtype:
    return torch.bfloat16 if _precision() == "bf16" else torch.float32


def _finish() -> None:
    if runtime.device().type == "cuda":
        torch.cuda.synchronize()


# -- views to embeddings -------------------------------------------------------------------------------------------


def _encoding(plan: Plan, name: str, opened: Opened, rounds: int) -> Iterator[Rate]:
    """A tower at each batch: from host memory, from the device's own, a plain loop, and the peak beside them."""
    multiply, tower = _product(plan.product), opened.tower
    loop, whose = _plain_loop(tower)
    for batch in plan.batches:
        views = np.random.default_rng(0).integers(0, 256, (batch, tower.side, tower.side, 3), dtype=np.uint8)
        there = torch.from_numpy(views).to(runtime.device())
        pixels = torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255
        calls = (
            partial(opened.project, Views(views)),
            lambda there=there: opened.run(there).cpu(),
            partial(loop, pixels),
        )
        times = max(1, plan.views // batch)
        sides = [(times * batch, partial(_repeat, times, call)) for call in calls]
        *seconds, products = alternating_each(rounds, *sides, (_PRODUCTS, partial(_repeat, _PRODUCTS, multiply)))
        own, inside, other = ([1 / second for second in side] for side in seconds)
        peaks = [2 * plan.product**3 / second for second in products]
        ratio = median(ours / theirs for ours, theirs in zip(own, other, strict=True))
        what = f"{name}, batch {batch}"
        yield Rate(f"{what}: embeddings/s", own, _share(tower, own, peaks))
        yield Rate(f"{what}: from views already there", inside, _share(tower, inside, peaks))
        yield Rate(f"{what}: {whose}", other, f"ours is {ratio:.2f}x as fast")
        side = f"{plan.product} x {plan.product}"
        yield Rate(f"TFLOP/s of a product of {side}, {_precision()}", [peak / 1e12 for peak in peaks])


def _repeat(times: int, call: Callable[[], object]) -> None:
    for _ in range(times):
        call()


def _share(tower: VisionTower, rates: Sequence[float], peaks: Sequence[float]) -> str:
    share = median(rate * flop(tower) / peak for rate, peak in zip(rates, peaks, strict=True))
    return f"{share:.0%} of the peak, at {flop(tower) / 1e9:.2f} GFLOP a view"


def _product(side: int) -> Callable[[], None]:
    left, right = (torch.randn(side, side, device=runtime.device()).to(_dtype()) for _ in range(2))

    def multiply() -> None:
        torch.mm(left, right)
        _finish()

    return multiply


def _plain_loop(tower: VisionTower) -> tuple[Callable[[Tensor], object], str]:
    """What one would write without us, from pixels in float32 `(N, 3, S, S)`; and what it is."""
    if not find_spec("transformers"):
        return _blocks_alone(tower), "torch.nn.TransformerEncoder (no transformers here; blocks alone)"
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=tower.width,
        intermediate_size=tower.hidden,
        projection_dim=tower.dim,
        num_hidden_layers=tower.layers,
        num_attention_heads=tower.heads,
        image_size=tower.side,
        patch_size=tower.patch,
    )
    model = CLIPVisionModelWithProjection(config).to(runtime.device(), _dtype()).eval()

    @torch.inference_mode()
    def loop(pixels: Tensor) -> Tensor:
        return model(pixel_values=pixels.to(runtime.device(), _dtype())).image_embeds.float().cpu()

    return loop, "transformers"


def _blocks_alone(tower: VisionTower) -> Callable[[Tensor], object]:
    layer = torch.nn.TransformerEncoderLayer(
        tower.width, tower.heads, tower.hidden, activation="gelu", batch_first=True, norm_first=True
    )
    blocks = torch.nn.TransformerEncoder(layer, tower.layers, enable_nested_tensor=False)
    blocks = blocks.to(runtime.device(), _dtype()).eval()

    @torch.inference_mode()
    def loop(pixels: Tensor) -> Tensor:
        sent = pixels.to(runtime.device(), _dtype())
        tokens = sent.new_zeros(len(sent), tower.tokens, tower.width)
        return blocks(tokens)[:, 0].float().cpu()

    return loop


# -- the way from JPEG files -----------------------------------------------------------------------------------------


def _from_files(plan: Plan, name: str, opened: Opened, rounds: int) -> Iterator[Rate]:
    """Files of two sizes to embeddings: prepared on the cores, or decoded by the device."""
    cores, batch = len(os.sched_getaffinity(0)), plan.batches[-1]
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:  # CUDA does not survive a fork
        for size, count in zip(_SIZES, (plan.pictures, plan.pictures // 8), strict=True):
            distinct = [jpeg(size, seed) for seed in range(16)]
            files = [distinct[i % len(distinct)] for i in range(count)]
            what = f"JPEGs of {size[0]} x {size[1]} to {name}"
            stages = _by_cores(files, batch, pool, cores, opened)
            yield from _stages(f"{what}, prepared by {cores} processes", count, rounds, stages)
            if runtime.device().type == "cuda" and find_spec("torchvision"):
                stages = _by_device(files, opened)
                yield from _stages(f"{what}, decoded by nvJPEG", count, rounds, stages)
            else:
                Console().print(f"{what}: nvJPEG is left out; it needs a CUDA device and torchvision.")


def _by_cores(files: Sequence[bytes], batch: int, pool: ProcessPoolExecutor, cores: int, opened: Opened) -> Stages:
    """Prepared in processes, a share of each batch in each, and encoded while the next are prepared."""
    spec = ViewSpec(opened.tower.side, "crop", "bicubic")
    pieces = [files[start : start + batch] for start in range(0, len(files), batch)]

    def views() -> Iterator[Views]:
        asked = [
            [pool.submit(prepared, spec, piece[i::cores]) for i in range(min(cores, len(piece)))] for piece in pieces
        ]
        for shares in asked:
            yield Views(np.concatenate([share.result() for share in shares]))

    ready = list(views())
    return {
        "prepared": lambda: [len(batch) for batch in views()],
        "encoded": lambda: [opened.project(batch) for batch in ready],
        "both": lambda: [opened.project(batch) for batch in views()],
    }


def _by_device(files: Sequence[bytes], opened: Opened) -> Stages:
    """Decoded by nvJPEG and resized by the device; nothing but files is sent there."""
    from torchvision.io import ImageReadMode, decode_jpeg

    raw = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]

    def views() -> Iterator[Tensor]:
        for start in range(0, len(raw), _DECODED):
            pictures = decode_jpeg(raw[start : start + _DECODED], mode=ImageReadMode.RGB, device="cuda")
            yield torch.stack([cropped(picture, opened.tower.side) for picture in pictures])

    ready = list(views())
    return {
        "prepared": lambda: [_finish() for _ in views()],
        "encoded": lambda: torch.cat([opened.run(batch) for batch in ready]).cpu(),
        "both": lambda: torch.cat([opened.run(batch) for batch in views()]).cpu(),
    }


def cropped(picture: Tensor, side: int) -> Tensor:
    """A picture `(3, H, W)` uint8 as a view `(side, side, 3)` uint8: resized by its shorter side, the middle of it."""
    height, width = picture.shape[1:]
    size = [side * length // min(height, width) for length in (height, width)]
    resized = functional.interpolate(picture[None].float(), size, mode="bicubic", antialias=True)[0]
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return resized[:, top : top + side, left : left + side].round().clamp(0, 255).byte().permute(1, 2, 0)


def _stages(what: str, count: int, rounds: int, stages: Stages) -> Iterator[Rate]:
    """Each stage for itself and both together; the slower of the two binds."""
    sides = alternating(rounds, count, *stages.values())
    rates = {stage: [1 / seconds for seconds in side] for stage, side in zip(stages, sides, strict=True)}
    slower = min("prepared", "encoded", key=lambda stage: median(rates[stage]))
    reached = median(rates["both"]) / median(rates[slower])
    for stage, values in rates.items():
        note = f"'{slower}' binds; together {reached:.0%} of it" if stage == "both" else ""
        yield Rate(f"{what}: {stage}/s", values, note)


# -- told ------------------------------------------------------------------------------------------------------------


def _table(rates: list[Rate]) -> Table:
    table = Table(title=" · ".join(f"{key} {value}" for key, value in _machine().items()), box=None)
    for column in ("what", "a second", "quartiles", ""):
        table.add_column(column)
    for rate in rates:
        table.add_row(*rate.row())
    return table


def _machine() -> dict[str, str]:
    gpu = torch.cuda.get_device_name() if runtime.device().type == "cuda" else "none"
    return {
        "GPU": gpu,
        "precision": _precision(),
        "cores": str(len(os.sched_getaffinity(0))),
        "Python": platform.python_version(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
