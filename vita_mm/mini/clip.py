"""The miniature's CLIP: of standard open_clip architecture, trained on stills.

It sees single moments with captions of their appearance: never a video, and never a word
of motion.
"""
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

from .scene import COLOURS, GROUNDS, SHAPES, Painter, random_scene
from .sets import Size

ARCHITECTURE = Path(__file__).with_name('ViT-Mini.json')
LOOKS = [(colour, shape) for colour in COLOURS for shape in SHAPES]
CAPTIONS = ('{look}', '{look}.', 'a {look}', 'a photo of a {look}', 'a {size} {look}',
            'a {look} on {ground} ground', '{size} {look} on {ground} ground.')
SIZES = ('small', 'large')


def make_stills(rng: np.random.Generator, per_look: int, side: int
                ) -> tuple[Tensor, list[list[dict[str, str]]]]:
    """Stills of every look, and the words of each.

    Returns:
        Images (looks, per_look, 3, side, side) uint8, and words by look and still.
    """
    images, words = [], []
    for colour, shape in LOOKS:
        scenes = [random_scene(rng, colour, shape) for _ in range(per_look)]
        images.append(np.stack([Painter(scene, side).frame(rng.uniform())
                                for scene in scenes]))
        words.append([dict(look=f'{colour} {shape}', size=SIZES[int(scene.log_size > 0)],
                           ground=scene.ground) for scene in scenes])
    return torch.from_numpy(np.stack(images)).permute(0, 1, 4, 2, 3), words


def normalise(images: Tensor) -> Tensor:
    """uint8 images with CLIP's mean and standard deviation."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in
                 (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    return (images / 255 - mean) / std


def encode_captions(model: Any, tokens: Tensor, used: Tensor, table: Tensor
                    ) -> Tensor:
    """Unit text features, as of ``encode_text``, without the padding behind the EOT.

    Args:
        tokens: ids (n, context_length).
        used: all ids that may occur, ascending.
        table: their embeddings.
    """
    eot = tokens.argmax(dim=-1)
    length = int(eot.max()) + 1
    rows = torch.searchsorted(used, tokens[:, :length].contiguous())
    x = table[rows] + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    at_eot = model.ln_final(x[torch.arange(len(x)), eot])
    return F.normalize(at_eot @ model.text_projection, dim=-1)


def train_clip(size: Size, seed: int, advance: Callable[[], None]) -> dict[str, Tensor]:
    """Train by CLIP's contrastive loss; returns an open_clip state dict.

    A batch holds every look once, so that no caption of it fits two stills.
    """
    torch.set_num_threads(1)  # sums depend on how many threads share them
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1000])
    model: Any = open_clip.CLIP(**json.loads(ARCHITECTURE.read_text()))
    images, words = make_stills(rng, size.stills_per_look, model.visual.image_size[0])
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
    # Only the tokens that captions use are trained: 40 of 49,408.
    vocabulary = ' '.join([*COLOURS, *SHAPES, *GROUNDS, *SIZES])
    used = tokenizer([*vocabulary.split(), *CAPTIONS]).unique()
    embedding = model.token_embedding.weight.requires_grad_(False)
    table = torch.nn.Parameter(embedding[used].clone())
    parameters = [p for p in model.parameters() if p.requires_grad] + [table]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2e-3, total_steps=size.clip_steps, pct_start=0.1)
    looks, target = np.arange(len(LOOKS)), torch.arange(len(LOOKS))
    for _ in range(size.clip_steps):
        stills = rng.integers(size.stills_per_look, size=len(LOOKS))
        tokens = tokenizer([rng.choice(CAPTIONS).format(**words[look][still])
                            for look, still in enumerate(stills)])
        image = model.encode_image(normalise(images[looks, stills]), normalize=True)
        text = encode_captions(model, tokens, used, table)
        logits = model.logit_scale.exp() * image @ text.T
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(max=np.log(100))
        advance()
    embedding[used] = table.detach()
    return model.state_dict()
