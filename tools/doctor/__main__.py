"""`python -m tools.doctor`: draw the doctor's samples, and compute what the built-in encoder must make of drawings.

HEIC is written only where pillow-heif is installed (its wheels bring an encoder under the GPL, so moderato does not
ask for it); otherwise the sample that is there stays.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tools.tiny.measure import Encoder
from tools.tiny.model import load

from moderato.media import Limits, prepare
from moderato.types import ViewSpec

_PACKAGE = Path(__file__).parents[2] / "src" / "moderato"
_OUT = _PACKAGE / "doctor" / "samples"
_SIDE = 32  # pixels
_HEIC_SIDE = 64  # the smallest that x265 encodes
_QUARTERS = ((220, 40, 40), (40, 180, 60), (40, 70, 200), (240, 220, 60))
_JPEG = {"quality": 30, "subsampling": 0, "optimize": True}
_FILES = {
    "still.jpg": ("JPEG", False, _JPEG),
    "progressive.jpg": ("JPEG", False, {**_JPEG, "progressive": True}),
    "still.png": ("PNG", False, {"optimize": True}),
    "moving.png": ("PNG", True, {"optimize": True}),
    "still.gif": ("GIF", False, {}),
    "moving.gif": ("GIF", True, {}),
    "still.webp": ("WEBP", False, {"quality": 30}),
    "moving.webp": ("WEBP", True, {"quality": 30}),
    "still.avif": ("AVIF", False, {"quality": 30}),
    "moving.avif": ("AVIF", True, {"quality": 30}),
    "still.tiff": ("TIFF", False, {"compression": "tiff_lzw"}),
    "still.bmp": ("BMP", False, {}),
}


def main() -> None:
    """Write all."""
    for name, (kind, moves, options) in _FILES.items():
        palette = kind in ("PNG", "GIF", "BMP")  # a few colours: smaller
        frames = [_drawing(_SIDE, turned, palette) for turned in ((False, True) if moves else (False,))]
        more = {"save_all": True, "append_images": frames[1:], "duration": 100} if moves else {}
        frames[0].save(_OUT / name, kind, **options, **more)
    _write_heic(_OUT / "still.heic")
    _write_golden(_OUT.with_name("golden.npz"))
    for file in sorted(_OUT.iterdir()):
        print(f"{file.name:16} {file.stat().st_size:6} bytes")


def _drawing(side: int, turned: bool = False, palette: bool = False) -> Image.Image:
    """Four squares of colour; turned by half a circle where it is the second frame."""
    image = Image.new("RGB", (2, 2))
    image.putdata(_QUARTERS[::-1] if turned else _QUARTERS)
    image = image.resize((side, side), Image.Resampling.NEAREST)
    return image.quantize(4) if palette else image


def _write_heic(file: Path) -> None:
    try:
        import pillow_heif
    except ModuleNotFoundError:
        print("pillow-heif is not installed: the HEIC sample stays as it is")
        return
    pillow_heif.register_heif_opener()
    _drawing(_HEIC_SIDE).save(file, "HEIF", quality=30)


def _write_golden(file: Path) -> None:
    """Views of the demo's drawings, prompts, and the embeddings of both by the code that trained the encoder."""
    encoder = Encoder(*load(_PACKAGE / "builtin" / "tiny"))
    spec = ViewSpec(encoder.model.vision_config.image_size, "squash")
    drawings = sorted((_PACKAGE / "samples").glob("*.png"))
    views = np.stack([prepare(path.read_bytes(), [spec], Limits()).views[spec][0].pixels for path in drawings])
    prompts = [f"a {path.stem}" for path in drawings]
    np.savez_compressed(
        file,
        views=views,
        embeddings=encoder.images(torch.from_numpy(views)).numpy(),
        prompts=np.array(prompts),
        texts=encoder.texts(prompts).numpy(),
    )


if __name__ == "__main__":
    main()
