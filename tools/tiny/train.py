"""Contrastive training against a matrix of truths."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from tools.tiny.captions import encode_claims, encode_scenes, full_claim, sample_claim, truths, worded
from tools.tiny.coach import Coach, Heads, Imitation
from tools.tiny.dataset import Drawings, Look, Progress, to_input
from tools.tiny.model import TinyCLIP
from tools.tiny.scenes import Scene
from tools.tiny.words import encode
from torch import Tensor, nn
from torch.nn import functional

_MOST_SCALE = math.log(100.0)


@dataclass(frozen=True)
class Recipe:
    """Learning rates are peaks: `rate` for AdamW, `matrix_rate` for Muon on the blocks' matrices.

    fewest, most: patches looked at in a training picture; whole: share of the steps, at the end, that look at all.
    """

    epochs: int
    batch: int = 128
    rate: float = 1.2e-3
    matrix_rate: float = 0.012
    decay: float = 0.02
    warmup: float = 0.02
    fewest: int = 10
    most: int = 20
    whole: float = 0.2
    coach_epochs: int = 2
    coach_rate: float = 3e-3


def contrastive_loss(logits: Tensor, true: Tensor) -> Tensor:
    """Symmetric cross-entropy of logits (scenes, claims) against the row-normalised truths of the same shape."""
    by_scene = true / true.sum(1, keepdim=True)
    by_claim = true / true.sum(0, keepdim=True)
    scene_loss = -(by_scene * logits.log_softmax(1)).sum(1).mean()
    claim_loss = -(by_claim * logits.log_softmax(0)).sum(0).mean()
    return (scene_loss + claim_loss) / 2


def _augmented(pixels: Tensor, side: int, rng: random.Random) -> Tensor:
    """A random (side, side) window of larger pictures (n, s, s, 3), half of them mirrored."""
    spare = pixels.shape[1] - side
    top, left = rng.randint(0, spare), rng.randint(0, spare)
    window = pixels[:, top : top + side, left : left + side]
    mirrored = torch.rand(len(pixels)) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), window.flip(2), window)


def _captions(scenes: Sequence[Scene], rng: random.Random) -> tuple[list[str], Tensor]:
    """Two captions for each scene, and which is true of which: (scenes, 2 * scenes) of 0 and 1."""
    claims = [full_claim(scene) for scene in scenes] + [sample_claim(scene, rng) for scene in scenes]
    matrix = truths(encode_scenes(scenes), encode_claims(claims))
    return [worded(claim, rng) for claim in claims], torch.from_numpy(matrix).float()


def _optimizers(model: TinyCLIP, aids: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for all else (decay on its matrices only)."""
    inner = [p for name, p in model.named_parameters() if "resblocks" in name and p.ndim == 2]
    outer = [p for name, p in model.named_parameters() if not ("resblocks" in name and p.ndim == 2)]
    outer += aids.parameters()
    groups = [
        {"params": [p for p in outer if p.ndim >= 2], "weight_decay": recipe.decay},
        {"params": [p for p in outer if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [
        torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98)),
        torch.optim.Muon(inner, lr=recipe.matrix_rate, weight_decay=recipe.decay),
    ]


def _share_of_peak(done: float, warmup: float) -> float:
    """Learning rate over its peak when `done` (0..1) of all steps are made: a straight rise, then half a cosine."""
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def busiest_patches(images: Tensor, patch: int, count: int) -> Tensor:
    """Indices (n, count) of the patches with most contrast (chance decides among equals).

    Most pictures are mostly ground: looking at these patches only halves the work of training.
    """
    cells = images.unfold(2, patch, patch).unfold(3, patch, patch)
    spread = cells.flatten(4).std(-1).sum(1).flatten(1)
    return (spread + 0.1 * torch.rand_like(spread)).topk(count, 1).indices


class Stepper:
    """Makes optimiser steps on a schedule."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], warmup: float) -> None:
        self.optimizers, self.warmup = optimizers, warmup
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]

    def step(self, loss: Tensor, done: float) -> None:
        """One step down the gradient of `loss`; done: share of all steps made, 0..1."""
        share = _share_of_peak(done, self.warmup)
        for optimizer, rates in zip(self.optimizers, self.peaks, strict=True):
            optimizer.zero_grad()
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()


class Batches:
    """Shuffled, augmented batches of drawings."""

    def __init__(self, drawings: Drawings, look: Look, size: int, epochs: int, rng: random.Random) -> None:
        self.drawings, self.look, self.size, self.epochs, self.rng = drawings, look, size, epochs, rng
        self.count = len(drawings.scenes) // size * epochs

    def __iter__(self) -> Iterator[tuple[Tensor, list[Scene]]]:
        """Pairs of images (size, 3, side, side), normalised, and their scenes."""
        for _ in range(self.epochs):
            order = torch.randperm(len(self.drawings.scenes))
            for chosen in order[: self.count // self.epochs * self.size].split(self.size):
                pixels = _augmented(self.drawings.pixels[chosen], self.look.side, self.rng)
                yield (
                    to_input(pixels, self.look.mean, self.look.std),
                    [self.drawings.scenes[i] for i in chosen.tolist()],
                )


def train_coach(drawings: Drawings, look: Look, recipe: Recipe, seed: int) -> Coach:
    """A convolutional net that tells things and colours."""
    coach = Coach()
    batches = Batches(drawings, look, recipe.batch, recipe.coach_epochs, random.Random(f"{seed} coach"))
    stepper = Stepper(
        [torch.optim.AdamW(coach.parameters(), lr=recipe.coach_rate, weight_decay=recipe.decay)], recipe.warmup
    )
    progress = Progress("coach", batches.count * recipe.batch, "pictures")
    for step, (images, scenes) in enumerate(batches):
        loss = coach(images, encode_scenes(scenes))
        stepper.step(loss, (step + 1) / batches.count)
        progress.at((step + 1) * recipe.batch, loss.item())
    return coach.eval()


class Lesson:
    """All that the model's loss is made of."""

    def __init__(self, model: TinyCLIP, tokenizer: Tokenizer, coach: Coach, rng: random.Random) -> None:
        self.model, self.tokenizer, self.coach, self.rng = model, tokenizer, coach, rng
        self.heads, self.imitation = Heads(model.embed_dim), Imitation(model.visual)
        self.aids = nn.ModuleList((self.heads, self.imitation))

    def loss(self, images: Tensor, scenes: list[Scene], kept: Tensor | None, done: float) -> Tensor:
        """The contrastive loss and the weights of the aids, which fade as training goes on (`done`: 0..1).

        Every distinct caption goes through the text tower once.
        """
        texts, true = _captions(scenes, self.rng)
        ids, which = torch.unique(encode(self.tokenizer, texts), dim=0, return_inverse=True)
        claims = self.model.encode_text(ids)[which]
        features = self.model.visual(images, kept)
        logits = self.model.logit_scale.exp() * functional.normalize(features, dim=-1) @ claims.T
        aid = self.heads(features, encode_scenes(scenes)) + 2 * self.imitation(self.coach.maps(images), kept)
        return contrastive_loss(logits, true) + (1 - 0.8 * done) * aid


def train(
    model: TinyCLIP, tokenizer: Tokenizer, coach: Coach, drawings: Drawings, look: Look, recipe: Recipe, seed: int
) -> None:
    """Train the model in place."""
    rng = random.Random(f"{seed} captions")
    lesson = Lesson(model, tokenizer, coach, rng)
    batches = Batches(drawings, look, recipe.batch, recipe.epochs, rng)
    stepper = Stepper(_optimizers(model, lesson.aids, recipe), recipe.warmup)
    progress = Progress("train", batches.count * recipe.batch, "pictures")
    for step, (images, scenes) in enumerate(batches):
        done = (step + 1) / batches.count
        kept = None
        if done < 1 - recipe.whole:
            kept = busiest_patches(images, model.vision_config.patch_size, rng.randint(recipe.fewest, recipe.most))
        loss = lesson.loss(images, scenes, kept, done)
        stepper.step(loss, done)
        with torch.no_grad():
            model.logit_scale.clamp_(max=_MOST_SCALE)
        progress.at((step + 1) * recipe.batch, loss.item())
