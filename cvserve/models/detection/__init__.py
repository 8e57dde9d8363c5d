"""Holds the detection networks: each is a module that registers itself.

The fields of a detector's `Built`:

network: uint8 images [B, H, W, 3] to a dict of raw outputs, float32: `box_offsets` [B, A, 4] (two-stage networks may
    have [B, A, C, 4], offsets for each class) and `class_logits` [B, A, C] (or C + 1 with background first), and where
    `postproc` asks for it `objectness` [B, A] or `proposals` [B, A, 4] (see `BoxCoding` and `PostprocSpec`). Networks
    with masks suppress their boxes themselves: `boxes` [B, N, 4], `scores` [B, N], `classes` int32 [B, N] and `masks`
    [B, N, R, R].
loss: of (images, boxes, labels). images: uint8 [B, H, W, 3]. boxes: float32 [B, M, 4] x1, y1, x2, y2 in pixels of the
    images. labels: int32 [B, M], -1 where an image has fewer than M objects. A network with masks learns from two
    arrays more, (images, boxes, labels, frames, grids), see `cvserve.data.instance_masks`: frames float32 [B, M, 4] and
    grids uint8 [B, M, R, R].
"""
