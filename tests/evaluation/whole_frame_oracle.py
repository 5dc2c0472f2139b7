"""A plain whole-frame implementation of the official definition of J and F: slow, obvious, and nothing of ours."""

import numpy as np
from scipy import ndimage


def region_similarity(truth, prediction):
    union = (truth | prediction).sum(axis=(1, 2))
    inter = (truth & prediction).sum(axis=(1, 2))
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1))


def boundary_map(mask):
    east, south, southeast = (np.zeros_like(mask) for _ in range(3))
    east[:, :-1] = mask[:, 1:]
    south[:-1, :] = mask[1:, :]
    southeast[:-1, :-1] = mask[1:, 1:]
    boundary = (mask ^ east) | (mask ^ south) | (mask ^ southeast)
    boundary[-1, :] = mask[-1, :] ^ east[-1, :]
    boundary[:, -1] = mask[:, -1] ^ south[:, -1]
    boundary[-1, -1] = False
    return boundary


def disk(radius):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius


def boundary_accuracy_of_frame(truth, prediction):
    footprint = disk(int(np.ceil(0.008 * np.linalg.norm(truth.shape))))
    g, p = boundary_map(truth), boundary_map(prediction)
    g_near, p_near = ndimage.binary_dilation(g, footprint), ndimage.binary_dilation(p, footprint)
    if p.sum() == 0 and g.sum() > 0:
        precision, recall = 1.0, 0.0
    elif p.sum() > 0 and g.sum() == 0:
        precision, recall = 0.0, 1.0
    elif p.sum() == 0 and g.sum() == 0:
        precision, recall = 1.0, 1.0
    else:
        precision, recall = (p & g_near).sum() / p.sum(), (g & p_near).sum() / g.sum()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def boundary_accuracy(truth, prediction):
    return np.array([boundary_accuracy_of_frame(g, p) for g, p in zip(truth, prediction, strict=True)])
