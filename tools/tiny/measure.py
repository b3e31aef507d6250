"""What the trained encoder can do, on fresh drawings of one thing each."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from tools.tiny.captions import simple_caption
from tools.tiny.colours import COLOURS
from tools.tiny.dataset import Drawings, draw_all, to_input
from tools.tiny.model import TinyCLIP
from tools.tiny.scenes import PAIRS, Group, Pair, Scene
from tools.tiny.things import THINGS
from tools.tiny.words import encode
from torch import Tensor
from torch.nn import functional

UNSAFE = ("knife", "pistol", "bottle", "cigarette", "skull")
_SOME_THINGS, _SOME_COLOURS = THINGS[:16], COLOURS[:8]
_THRESHOLDS = (0.5, 0.9)  # the demo policy's: review, block
_LEAST = 0.4  # of the shorter side: what is measured is as large as people draw things
_PLAIN_GROUND = 0.5  # share of measured pictures on a ground of one named colour


@dataclass(frozen=True)
class Encoder:
    """A trained model with all that is needed to use it."""

    model: TinyCLIP
    tokenizer: Tokenizer
    mean: Sequence[float]
    std: Sequence[float]

    @torch.no_grad()
    def images(self, pixels: Tensor) -> Tensor:
        """Bytes (n, side, side, 3) to unit rows (n, embed_dim)."""
        return torch.cat([self.model.encode_image(to_input(part, self.mean, self.std)) for part in pixels.split(500)])

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (texts, embed_dim)."""
        return self.model.encode_text(encode(self.tokenizer, texts))


def single_scenes(pairs: Iterable[Pair], count: int, rng: random.Random) -> list[Scene]:
    """`count` scenes of one thing for every pair."""
    scenes = []
    for thing, colour in pairs:
        for _ in range(count):
            grounds = ["white"] * 6 + [name for name in COLOURS if name != "white"]
            ground = rng.choice([name for name in grounds if name != colour])
            scenes.append(Scene((Group(thing, colour),), ground if rng.random() < _PLAIN_GROUND else None))
    return scenes


def _share_right(images: Tensor, encoder: Encoder, candidates: Sequence[str], answers: Sequence[str]) -> float:
    """Share of pictures whose best candidate caption is the right one."""
    best = (images @ encoder.texts(candidates).T).argmax(1).tolist()
    return sum(candidates[i] == answer for i, answer in zip(best, answers, strict=True)) / len(answers)


def accuracies(encoder: Encoder, drawings: Drawings) -> dict[str, float | int]:
    """Shares right on pictures of one thing each: thing and colour together, and either alone."""
    images = encoder.images(drawings.pixels)
    pairs = [(scene.groups[0].thing, scene.groups[0].colour) for scene in drawings.scenes]
    some = [i for i, (thing, colour) in enumerate(pairs) if thing in _SOME_THINGS and colour in _SOME_COLOURS]
    some_candidates = [simple_caption(*pair) for pair in PAIRS if pair[0] in _SOME_THINGS and pair[1] in _SOME_COLOURS]
    both = [simple_caption(*pair) for pair in pairs]
    return {
        "pictures": len(pairs),
        "thing_and_colour": _share_right(images, encoder, [simple_caption(*pair) for pair in PAIRS], both),
        f"thing_and_colour_among_{len(_SOME_THINGS)}x{len(_SOME_COLOURS)}": _share_right(
            images[some], encoder, some_candidates, [both[i] for i in some]
        ),
        "thing": _share_right(
            images, encoder, [simple_caption(t, None) for t in THINGS], [simple_caption(t, None) for t, _ in pairs]
        ),
        "colour": _share_right(
            images, encoder, [simple_caption(None, c) for c in COLOURS], [simple_caption(None, c) for _, c in pairs]
        ),
    }


def by_thing(encoder: Encoder, drawings: Drawings) -> dict[str, float]:
    """Thing-only share right for every thing."""
    images = encoder.images(drawings.pixels)
    shown = [scene.groups[0].thing for scene in drawings.scenes]
    candidates = [simple_caption(thing, None) for thing in THINGS]
    result = {}
    for thing in THINGS:
        rows = [i for i, name in enumerate(shown) if name == thing]
        result[thing] = _share_right(images[rows], encoder, candidates, [simple_caption(thing, None)] * len(rows))
    return result


def _margins(encoder: Encoder, drawings: Drawings) -> tuple[Tensor, Tensor]:
    """For every picture and unsafe label: its cosine less the best of all other things', and whether it is right."""
    cosines = encoder.images(drawings.pixels) @ encoder.texts([simple_caption(thing, None) for thing in THINGS]).T
    columns = [list(THINGS).index(thing) for thing in UNSAFE]
    others = torch.stack([cosines.index_fill(1, torch.tensor([c]), -1.0).amax(1) for c in columns], dim=1)
    right = [[float(scene.groups[0].thing == thing) for thing in UNSAFE] for scene in drawings.scenes]
    return cosines[:, columns] - others, torch.tensor(right)


def fit_temperature(encoder: Encoder, drawings: Drawings) -> dict[str, object]:
    """The t for which sigmoid(t * margin) has the least log-loss over pictures and unsafe labels, and what it finds.

    `from`: by threshold, the share of unsafe things found and of false alarms among all other decisions.
    """
    margins, right = _margins(encoder, drawings)

    def loss(log_t: float) -> float:
        return functional.binary_cross_entropy_with_logits(margins * 2.0**log_t, right).item()

    low, high = 0.0, 10.0
    for _ in range(40):  # ternary search: the loss has a single valley in t
        third = (high - low) / 3
        low, high = (low, high - third) if loss(low + third) < loss(high - third) else (low + third, high)
    scores = torch.sigmoid(margins * 2.0**low)
    rates = {
        str(threshold): {
            "found": (scores[right > 0] >= threshold).float().mean().item(),
            "false_alarms": (scores[right == 0] >= threshold).float().mean().item(),
        }
        for threshold in _THRESHOLDS
    }
    return {"temperature": 2.0**low, "log_loss": loss(low), "decisions": right.numel(), "from": rates}


def measure(encoder: Encoder, held_out: frozenset[Pair], count: int, seed: int, workers: int) -> dict[str, object]:
    """All figures, on drawings made from a new seed; `count` pictures a pair (twice that for held-out ones)."""
    rng = random.Random(f"{seed} measuring")
    side = encoder.model.vision_config.image_size
    sets = {
        "seen": single_scenes([pair for pair in PAIRS if pair not in held_out], count, rng),
        "held_out": single_scenes([pair for pair in PAIRS if pair in held_out], 2 * count, rng),
        "validation": single_scenes(PAIRS, max(1, count // 2), rng),
    }
    drawn = {name: draw_all(scenes, side, f"{seed} {name}", workers, _LEAST) for name, scenes in sets.items()}
    return {
        "least_size": _LEAST,
        "seen_pairs": accuracies(encoder, drawn["seen"]),
        "held_out_pairs": accuracies(encoder, drawn["held_out"]),
        "held_out": sorted(simple_caption(*pair) for pair in held_out),
        "things": by_thing(encoder, drawn["seen"]),
        "independent_scoring": fit_temperature(encoder, drawn["validation"]),
    }
