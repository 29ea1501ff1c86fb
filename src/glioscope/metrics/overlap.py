"""Overlap of two masks: Dice, IoU, sensitivity, specificity, precision and accuracy.

All are ratios of the four counts of the confusion table (Taha and Hanbury, Metrics for evaluating
3D medical image segmentation, BMC Medical Imaging 2015, tables 1 and 2). Each takes two boolean
masks (X, Y, Z) and the voxel size in mm, which a ratio of counts does not need.
"""

# ruff: noqa: ARG001 - all metrics are called alike

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import Score, register

Mask = NDArray[np.bool_]


class Confusion(NamedTuple):
    """Numbers of voxels: true and false positives, false and true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int


def confusion(prediction: Mask, truth: Mask) -> Confusion:
    """Count the voxels that two masks agree and disagree on.

    Args:
        prediction: Boolean mask of any shape.
        truth: Boolean mask of the same shape.

    Raises:
        ValueError: If the shapes differ or a mask is not boolean.

    Example:
        >>> confusion(np.array([True, True, False]), np.array([True, False, False]))
        Confusion(tp=1, fp=1, fn=0, tn=1)
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"masks of shapes {prediction.shape} and {truth.shape} cannot be compared")
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(f"masks are boolean, not {prediction.dtype} and {truth.dtype}")
    tp = int(np.count_nonzero(prediction & truth))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Confusion(tp, fp, fn, truth.size - tp - fp - fn)


@register(rule="1 if truth and prediction are both empty, 0 if only one is")
def dice(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> Score:
    """Return twice the overlap over the sum of both masks, 2 TP / (2 TP + FP + FN).

    1 if truth and prediction are both empty, 0 if only one is. Source: Dice, Ecology 1945.

    Example:
        >>> dice(np.array([True, True, False]), np.array([True, False, False]), (1, 1, 1)).value
        0.6666666666666666
    """
    tp, fp, fn, _ = confusion(prediction, truth)
    return Score(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0)


@register(rule="1 if truth and prediction are both empty, 0 if only one is")
def iou(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> Score:
    """Return intersection over union, TP / (TP + FP + FN).

    1 if truth and prediction are both empty, 0 if only one is. Source: Jaccard, New Phytologist
    1912.

    Example:
        >>> iou(np.array([True, True, False]), np.array([True, False, False]), (1, 1, 1)).value
        0.5
    """
    tp, fp, fn, _ = confusion(prediction, truth)
    return Score(tp / (tp + fp + fn) if tp + fp + fn else 1.0)


@register(rule="no value if the truth is empty")
def sensitivity(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> Score:
    """Return the share of the truth that was found, TP / (TP + FN); also called recall.

    No value if the truth is empty: nothing was there to be found.

    Example:
        >>> nothing = np.zeros(3, bool)
        >>> sensitivity(nothing, nothing, (1, 1, 1))
        Score(value=None, reason='the truth is empty')
    """
    tp, _, fn, _ = confusion(prediction, truth)
    return Score(tp / (tp + fn)) if tp + fn else Score(None, "the truth is empty")


@register(rule="no value if the truth fills the image")
def specificity(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> Score:
    """Return the share of the voxels outside the truth that were left out, TN / (TN + FP).

    No value if the truth fills the image. It counts the air round the head, so it is near 1 for
    any small prediction.

    Example:
        >>> specificity(np.array([True, True, False]), np.array([True, False, False]), (1, 1, 1))
        Score(value=0.5, reason='')
    """
    _, fp, _, tn = confusion(prediction, truth)
    return Score(tn / (tn + fp)) if tn + fp else Score(None, "the truth fills the image")


@register(rule="if the prediction is empty: no value if the truth is empty too, else 0")
def precision(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> Score:
    """Return the share of the prediction that is right, TP / (TP + FP).

    If the prediction is empty: no value if the truth is empty too, else 0.

    Example:
        >>> precision(np.array([True, True, False]), np.array([True, False, False]), (1, 1, 1))
        Score(value=0.5, reason='')
    """
    tp, fp, fn, _ = confusion(prediction, truth)
    if tp + fp + fn == 0:
        return Score(None, "truth and prediction are empty")
    return Score(tp / (tp + fp) if tp + fp else 0.0)


@register(rule="all voxels count, so that empty masks need no rule")
def accuracy(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> Score:
    """Return the share of all voxels on which both masks agree, (TP + TN) / all.

    All voxels count, so that empty masks need no rule. It counts the air round the head, so it is
    near 1 whatever happens to a small tumour.

    Example:
        >>> accuracy(np.array([True, True, False]), np.array([True, False, False]), (1, 1, 1)).value
        0.6666666666666666
    """
    tp, fp, fn, tn = confusion(prediction, truth)
    return Score((tp + tn) / (tp + fp + fn + tn))
