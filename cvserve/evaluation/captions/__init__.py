"""Computes the scores of captions as the COCO caption evaluation computes them (Chen et al. 2015, arXiv 1504.00325).

All of them take words (`cvserve.text.caption_words`): `answers`, one sentence an image, and `references`, the true
sentences of each.
"""

from cvserve.evaluation.captions.bleu import Bleu, bleu
from cvserve.evaluation.captions.cider import cider_d
from cvserve.evaluation.captions.report import CaptionReport, caption_report
from cvserve.evaluation.captions.rouge import rouge_l

__all__ = ["Bleu", "CaptionReport", "bleu", "caption_report", "cider_d", "rouge_l"]
