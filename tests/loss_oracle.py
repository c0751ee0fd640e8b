"""The loss once more, in float64 and as slowly as the paper writes it, to compare with."""

import torch
from scipy.linalg import circulant

SIGMAS = (1.0, 1 / 16, 1 / 64, 1 / 128)


def pairs(n, d, seed=0, noise=1.0):
    """Random float32 images and their texts, which resemble them: two (N, D)."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, d, generator=generator)
    return image, image + noise * torch.randn(n, d, generator=generator)


def repeated_ids(n):
    """(N,) integers; about every third one comes more than once."""
    return torch.arange(n) * 2 // 3


def counted(n, negatives, ids):
    """(N, N) booleans: which texts each image is compared with."""
    first = torch.arange(n) <= round((n - 1) * negatives)  # of image 0; the others turn it
    mask = torch.from_numpy(circulant(first).T.copy())
    if ids is not None:
        mask &= ids[:, None] != ids[None, :]
        mask.fill_diagonal_(True)
    return mask


def softmax_oracle(image, text, sigma, smoothing=0.1, mask=None):
    """Eq. (1) + eq. (2) in float64; returns the value and the gradients of all three."""
    image, text, sigma = _leaves(image, text, sigma)
    x = image / image.square().sum(1, keepdim=True).sqrt()
    y = text / text.square().sum(1, keepdim=True).sqrt()
    n = len(x)
    mask = torch.ones(n, n, dtype=torch.bool) if mask is None else mask
    logits = x @ y.T / sigma
    total = 0.0
    for matrix, counts in ((logits, mask), (logits.T, mask.T)):
        log_p = torch.log_softmax(matrix.masked_fill(~counts, -1e300), dim=1)
        own = torch.eye(n, dtype=torch.float64)
        target = (1 - smoothing) * own + smoothing * counts.double() / counts.sum(1, keepdim=True)
        total = total - (target * log_p.masked_fill(~counts, 0)).sum() / n
    return _with_gradients(total, image, text, sigma)


def sigmoid_oracle(image, text, sigma, bias):
    """SigLIP's loss in float64, by the definition of the logistic function."""
    image, text, sigma = _leaves(image, text, sigma)
    bias = torch.tensor(float(bias), dtype=torch.float64, requires_grad=True)
    x = image / image.square().sum(1, keepdim=True).sqrt()
    y = text / text.square().sum(1, keepdim=True).sqrt()
    signs = 2 * torch.eye(len(x), dtype=torch.float64) - 1
    total = torch.log1p(torch.exp(-signs * (x @ y.T / sigma + bias))).sum() / len(x)
    return _with_gradients(total, image, text, sigma, bias)


def measured(loss, image, text, *scalars):
    """The value and the gradients of ``loss(image, text, *scalars)`` in float32."""
    leaves = [t.detach().float().clone().requires_grad_() for t in (image, text)]
    leaves += [torch.tensor(float(s), requires_grad=True) for s in scalars]
    return _with_gradients(loss(*leaves), *leaves)


def errors(ours, truth):
    """Relative errors of the value and of each gradient (by norm)."""
    return [
        ((a.double() - b).norm() / b.norm().clamp(min=1e-30)).item()
        for a, b in zip(ours, truth, strict=True)
    ]


def _leaves(image, text, sigma):
    leaves = [t.detach().double().clone().requires_grad_() for t in (image, text)]
    sigma = torch.tensor(sigma, dtype=torch.float32).double()
    return *leaves, sigma.requires_grad_()


def _with_gradients(total, *leaves):
    total.backward()
    return [total.detach(), *(leaf.grad for leaf in leaves)]
