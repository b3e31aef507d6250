"""`python -m tools.tiny`: draw, train, measure, write."""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import sys
import time
from pathlib import Path

import torch
from tools.tiny.captions import vocabulary
from tools.tiny.dataset import Look, draw_training_set
from tools.tiny.measure import Encoder, measure
from tools.tiny.model import TextConfig, TinyCLIP, VisionConfig, load, save
from tools.tiny.scenes import PAIRS, held_out_pairs
from tools.tiny.train import Recipe, train, train_coach
from tools.tiny.words import build_tokenizer
from torch import Tensor

_OUT = Path(__file__).parents[2] / "src" / "moderato" / "builtin" / "tiny"
_SPARE = 4  # pixels by which training pictures exceed the model's, for windows to move in
_EMBED_DIM = 128
_MADE = ("seed", "drawings", "epochs", "parameters", "command", "minutes", "threads", "torch")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.tiny", description=__doc__)
    parser.add_argument("--out", type=Path, default=_OUT, help="folder to write to")
    parser.add_argument("--drawings", type=int, default=110_000, help="pictures to draw for training")
    parser.add_argument("--epochs", type=int, default=6, help="times each picture is used")
    parser.add_argument("--per-pair", type=int, default=24, help="fresh pictures a pair to measure on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help="only measure again what is there")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="drawing processes and threads")
    return parser.parse_args()


def _statistics(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Mean and spread of the three channels (0..1), rounded, over some of the drawings."""
    some = pixels[:: max(1, len(pixels) // 2000)].float() / 255
    mean, spread = some.mean((0, 1, 2)), some.std((0, 1, 2))
    return [round(value, 3) for value in mean.tolist()], [round(value, 3) for value in spread.tolist()]


def _spent() -> float:
    """Seconds of processor time of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _measure_again(args: argparse.Namespace) -> None:
    """New figures for the model that is there; how it was made stays as it was written."""
    file = args.out / "measured.json"
    held_out = held_out_pairs(random.Random(args.seed))
    figures = measure(Encoder(*load(args.out)), held_out, args.per_pair, args.seed + 1, args.workers)
    made = {key: value for key, value in json.loads(file.read_text("utf-8")).items() if key in _MADE}
    file.write_text(json.dumps(figures | made, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Run all steps and write the model and what was measured."""
    args = _arguments()
    if args.measure:
        _measure_again(args)
        return
    begun = time.monotonic()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.workers)
    held_out = held_out_pairs(random.Random(args.seed))
    allowed = [pair for pair in PAIRS if pair not in held_out]
    words = vocabulary()
    text = TextConfig(vocab_size=len(words) + 4)
    tokenizer = build_tokenizer(words, text.context_length)
    model = TinyCLIP(VisionConfig(), text, _EMBED_DIM)
    side = model.vision_config.image_size + _SPARE
    drawings = draw_training_set(allowed, args.drawings, side, args.seed, args.workers)
    drawn = time.monotonic()
    mean, std = _statistics(drawings.pixels)
    look, recipe = Look(model.vision_config.image_size, mean, std), Recipe(args.epochs)
    coach = train_coach(drawings, look, recipe, args.seed)
    coached = time.monotonic()
    train(model, tokenizer, coach, drawings, look, recipe, args.seed)
    trained = time.monotonic()
    model.half().float()  # measure what is written
    save(model, tokenizer, mean, std, args.out)
    figures = measure(Encoder(model.eval(), tokenizer, mean, std), held_out, args.per_pair, args.seed + 1, args.workers)
    figures |= {
        "seed": args.seed,
        "drawings": args.drawings,
        "epochs": args.epochs,
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "command": shlex.join(["python", "-m", "tools.tiny", *sys.argv[1:]]),
        "minutes": {
            "drawing": (drawn - begun) / 60,
            "coach": (coached - drawn) / 60,
            "training": (trained - coached) / 60,
            "all": (time.monotonic() - begun) / 60,
            "processor": _spent() / 60,
        },
        "threads": args.workers,
        "torch": torch.__version__,
    }
    report = json.dumps(figures, indent=2)
    (args.out / "measured.json").write_text(report + "\n", encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
