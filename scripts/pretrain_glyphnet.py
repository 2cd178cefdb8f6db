"""Pre-train GlyphNet on printed characters and write its weights.

The source task is to tell A-Z and 0-9 apart, rendered in the fonts that come with matplotlib. Nothing is downloaded.
One seed gives one data set and, on one thread, one set of weights::

    python scripts/pretrain_glyphnet.py --out biotune/backbones/weights/glyphnet.safetensors
"""

import argparse
import functools
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from safetensors.torch import save
from torch import nn

from biotune.backbones.glyphnet import IMAGE_SIZE, MEAN, STD, GlyphNet

CLASSES = string.ascii_uppercase + string.digits
# Fonts of matplotlib that hold every class, without those that put math symbols in place of letters or digits.
FONT_FILES = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-BoldOblique.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSansMono-BoldOblique.ttf",
    "DejaVuSansMono-Oblique.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSerif-BoldItalic.ttf",
    "DejaVuSerif-Italic.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
    "STIXGeneralBolIta.ttf",
    "STIXGeneralItalic.ttf",
    "cmb10.ttf",
    "cmr10.ttf",
    "cmss10.ttf",
    "cmti10.ttf",
    "cmtt10.ttf",
)
CANVAS = 64


@dataclass(frozen=True)
class Preset:
    """Size of one pre-training run.

    Attributes:
        train_glyphs: Rendered glyphs to train on.
        held_out_glyphs: Rendered glyphs to measure the source accuracy on.
        steps: Optimiser steps.
        batch_size: Glyphs a step.
        learning_rate: Peak of the one-cycle schedule.
    """

    train_glyphs: int
    held_out_glyphs: int
    steps: int
    batch_size: int = 128
    learning_rate: float = 6e-3


PRESETS = {
    "full": Preset(train_glyphs=48_000, held_out_glyphs=3_600, steps=4_000),
    "smoke": Preset(train_glyphs=72, held_out_glyphs=36, steps=3, batch_size=36),
}


@functools.cache
def load_font(file_name: str) -> ImageFont.FreeTypeFont:
    """Load one of matplotlib's fonts.

    Args:
        file_name: Name of the font file.

    Returns:
        The font in a size that fills most of the canvas.
    """
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file_name), 56)


def draw_large(character: str, font_file: str, stroke_width: int) -> Image.Image:
    """Draw a character, cropped to its ink, and stretch it to the canvas height.

    Args:
        character: The character.
        font_file: Name of the font file.
        stroke_width: Extra thickness of the strokes in pixels.

    Returns:
        Grey image, white on black, as high as the canvas and as wide as the ink asks for.
    """
    font = load_font(font_file)
    left, top, right, bottom = font.getbbox(character, stroke_width=stroke_width)
    ink = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(ink).text((-left, -top), character, fill=255, font=font, stroke_width=stroke_width)
    width = max(1, round(ink.width * CANVAS / ink.height))
    return ink.resize((width, CANVAS), Image.Resampling.BILINEAR)


def render_glyph(character: str, font_file: str, rng: np.random.Generator) -> np.ndarray:
    """Render a character with random shape changes.

    Args:
        character: The character.
        font_file: Name of the font file.
        rng: Source of all random draws.

    Returns:
        Grey image, uint8, shape (16, 16), white strokes on black.
    """
    ink = draw_large(character, font_file, int(rng.integers(0, 4)))
    angle, shear = np.deg2rad(rng.uniform(-20, 20)), rng.uniform(-0.3, 0.3)
    scale_x, scale_y = rng.uniform(0.55, 1.05), rng.uniform(0.75, 1.05)
    linear = (
        np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        @ np.array([[1.0, shear], [0.0, 1.0]])
        @ np.diag([scale_x, scale_y])
    )
    # PIL asks for the map from target to source pixels.
    inverse = np.linalg.inv(linear)
    centre = np.full(2, CANVAS / 2) + rng.uniform(-5, 5, 2)
    offset = np.array([ink.width / 2, CANVAS / 2]) - inverse @ centre
    coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
    image = ink.transform((CANVAS, CANVAS), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))
    if rng.random() < 0.7:  # Most glyphs get the coarse look of scanned 8x8 digits.
        image = image.resize((8, 8), Image.Resampling.BOX)
    resampling = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[int(rng.integers(2))]
    small = np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), resampling), dtype=np.float32)
    return np.clip(small * rng.uniform(0.7, 1.6), 0, 255).astype(np.uint8)


def render_set(count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Render glyphs of all classes in turn, each in a random font.

    Args:
        count: Number of glyphs.
        rng: Source of all random draws.

    Returns:
        Normalised images, shape (count, 3, 16, 16), and class indices, shape (count,).
    """
    labels = np.arange(count) % len(CLASSES)
    fonts = rng.integers(len(FONT_FILES), size=count)
    glyphs = [render_glyph(CLASSES[y], FONT_FILES[f], rng) for y, f in zip(labels, fonts, strict=True)]
    images = torch.from_numpy(np.stack(glyphs)).float().div(255)[:, None].expand(-1, 3, -1, -1)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return (images - mean) / std, torch.from_numpy(labels)


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, preset: Preset) -> None:
    """Train all parameters with AdamW under a one-cycle learning rate.

    Args:
        model: The network, changed in place.
        images: Normalised images, shape (N, 3, 16, 16).
        labels: Class indices, shape (N,).
        preset: Size of the run.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=preset.learning_rate, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, preset.learning_rate, total_steps=preset.steps)
    model.train()
    order = torch.empty(0, dtype=torch.long)
    for step in range(preset.steps):
        if len(order) < preset.batch_size:
            order = torch.randperm(len(images))
        batch, order = order[: preset.batch_size], order[preset.batch_size :]
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 500 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)


@torch.no_grad()
def measure_accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Measure the share of glyphs that the network gets right.

    Args:
        model: The network.
        images: Normalised images, shape (N, 3, 16, 16).
        labels: Class indices, shape (N,).

    Returns:
        Accuracy in [0, 1].
    """
    model.eval()
    return (model(images).argmax(1) == labels).float().mean().item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the pre-training from the command line.

    Args:
        arguments: Command line without the program name; None reads it from the process.
    """
    parser = argparse.ArgumentParser(description="Pre-train GlyphNet on printed characters.")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="full", help="size of the run")
    parser.add_argument("--seed", type=int, default=0, help="seed of data, weights and batches")
    options = parser.parse_args(arguments)
    preset = PRESETS[options.preset]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # More threads may sum in another order and so give other weights.
    torch.manual_seed(options.seed)
    train_rng, held_out_rng = np.random.default_rng(options.seed).spawn(2)
    train_set = render_set(preset.train_glyphs, train_rng)
    held_out_set = render_set(preset.held_out_glyphs, held_out_rng)
    model = GlyphNet(len(CLASSES))
    train(model, *train_set, preset)
    accuracy = measure_accuracy(model, *held_out_set)
    torch.set_num_threads(threads)

    options.out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"classes": CLASSES, "source_accuracy": f"{accuracy:.4f}", "seed": str(options.seed)}
    options.out.write_bytes(save(model.state_dict(), metadata))
    print(f"source accuracy {accuracy:.2f} on {preset.held_out_glyphs} held-out glyphs")


if __name__ == "__main__":
    main()
