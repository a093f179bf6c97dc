"""What the compile check compiles of the contrastive losses."""

from unittest import mock

import torch
from minissl_kernels import contrastive, launch
from minissl_kernels.contrastive import tiles

ROWS = 2048


def launches():
    bf16 = torch.bfloat16
    yield "bf16 D256 info_nce", lambda: info_nce(bf16, 256)
    yield "bf16 D768 info_nce", lambda: info_nce(bf16, 768)
    yield "bf16 D256 nt_xent", lambda: nt_xent(bf16, 256)
    yield "bf16 D256 clip, learned temperature", lambda: clip(bf16, 256)
    yield "bf16 D128 supcon", lambda: supcon(bf16, 128)
    yield "fp16 D256 info_nce", lambda: info_nce(torch.float16, 256)
    yield "fp32 D256 info_nce", lambda: info_nce(torch.float32, 256)
    yield "bf16 sizes of 1", lambda: clip(bf16, 1, rows=1)
    for kernel in ("forward", "gradient"):
        for tile in getattr(tiles, f"{kernel.upper()}_CANDIDATES"):
            width = 256 if tile.chunk == 256 else 768

            def call(kernel=kernel, tile=tile, width=width):
                if launch.architecture() == "hopper":
                    with mock.patch.object(tiles, f"{kernel}_configuration", return_value=tile):
                        clip(bf16, width)

            yield f"bf16 D{width} candidate {tuple(tile)}", call


def embeddings(dtype, width, rows=ROWS):
    return torch.zeros(rows, width, dtype=dtype, requires_grad=True)


def info_nce(dtype, width):
    query, key = embeddings(dtype, width), embeddings(dtype, width)
    contrastive.info_nce(query, key, temperature=0.1, normalize=False).backward()


def nt_xent(dtype, width):
    first, second = embeddings(dtype, width), embeddings(dtype, width)
    contrastive.nt_xent(first, second, temperature=0.1, normalize=False).backward()


def clip(dtype, width, rows=ROWS):
    temperature = torch.ones((), requires_grad=True)
    image, text = embeddings(dtype, width, rows), embeddings(dtype, width, rows)
    contrastive.clip_loss(image, text, temperature=temperature, normalize=False).backward()


def supcon(dtype, width):
    labels = torch.zeros(ROWS, dtype=torch.int64)
    contrastive.supcon_loss(
        embeddings(dtype, width), labels, temperature=0.1, normalize=False
    ).backward()
