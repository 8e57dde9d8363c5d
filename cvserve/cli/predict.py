"""Runs a model on folders of images and writes its results as JSON lines, CSV or COCO results.

IMAGES are folders (searched at any depth, through links to folders too, but none twice), files, quoted globs,
@list.txt (one path per line) or - (paths on stdin). Rows keep their order. An image that cannot be used gets a row with
its error and is listed at the end; the others are done. Rows go to FILE.part, which becomes FILE when all is done; a
run that was killed continues with --resume. An image that two of the arguments contain is done twice.

--resume leaves the rows that are there as they are, those with an error too: these images are not tried again. To
have them tried, delete their lines from FILE (from FILE.part, if there is one) and resume; their rows are then the last
ones. Of JSON lines, for example: grep -v '"error":' old.jsonl > new.jsonl, then --out new.jsonl --resume. Give --resume
the options of the earlier run: another model, version or --top-k is refused, but other differences (--score-threshold,
--max-results, --mask-format) are not visible in all rows, and are not checked.

JSON lines have one row for each image: its "classes", or its "detections" with boxes [x1, y1, x2, y2] in pixels of the
upright image. CSV has the best classes of an image in one line, but a line for each object: image, ..., label,
index, score, x1, y1, x2, y2; an image without objects has one line where these are empty.

For segmentation, JSON lines have under "segmentation" the "classes" of an image, the largest first, with coverage (the
fraction of the image, 0 to 1) and confidence; and, by --mask-format, the masks: png (the default) is one
"class_map", a grey PNG in base64 of which each byte is the index of a class; rle is a "mask" for each class as COCO's
tools read it; polygons is [[x, y, x, y, ...], ...] for each class, holes among them; none leaves them out. --masks DIR
writes the class maps as PNG files instead, and the row has the name of its "file". CSV has a line for each class, and
no masks.

Objects with masks (mask_rcnn) are rows of detections, each with its "mask" in the format of --mask-format, rle (the
default) or any other of those; COCO results have it as "segmentation", and are scored as "bbox" and as "segm".

COCO results (of detectors, for pycocotools) have an entry for each object, its box as [x, y, width, height]. With
--coco, the numbers of images and categories are those of that ground truth, by file name and category name, so that
the results are scored as they are. Without it, categories are counted from 1 in the order of the labels, an image such
as 000000397133.jpg has the number that its name is, and any other the first free one from 1 on; "file_name" is the name
of the image.

For captioning, JSON lines have the "captions" of an image, each a text with its log_probability, best first; CSV has a
line for each; COCO results have the best one of each image. --annotate draws the best one and, below the image,
where the network looked at each word, if the network has attention.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cvserve import console
from cvserve.cli.arguments import MASK_FORMATS, add_device, add_runtime, example, fraction, positive
from cvserve.cli.failures import list_failures
from cvserve.errors import CvserveError, InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="a model's directory (its newest version) or a version's")
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="folder, file, glob, @list.txt or -")
    parser.add_argument(
        "--out", default="-", metavar="FILE", help="results.jsonl, results.csv or results.json; default: stdout"
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "csv", "coco"),
        help="default: by the suffix of --out (.json is coco for detectors), else jsonl",
    )
    parser.add_argument("--coco", metavar="GROUND_TRUTH", help="a COCO file with the numbers that --format coco uses")
    parser.add_argument("--annotate", metavar="DIR", help="write copies of the images with the result drawn on them")
    parser.add_argument(
        "--mask-format",
        choices=MASK_FORMATS,
        help="segmentation: the masks in a row; default: png, of objects rle, in CSV none",
    )
    parser.add_argument("--masks", metavar="DIR", help="segmentation: write the class maps as PNG files")
    parser.add_argument("--top-k", type=positive, metavar="K", help="classes per image; default: the model's")
    parser.add_argument(
        "--score-threshold", type=fraction, metavar="S", help="objects with less are left out; default: the model's"
    )
    parser.add_argument("--max-results", type=positive, metavar="N", help="objects per image; default: the model's")
    parser.add_argument(
        "--resume", action="store_true", help="skip the images that --out has, also as errors; add the others"
    )
    parser.add_argument("--overwrite", action="store_true", help="discard the FILE.part of an unfinished run")
    parser.add_argument("--version", type=positive, metavar="N", help="a version of the model; default: the newest")
    parser.add_argument("--batch-size", type=positive, default=16, metavar="N", help="images per call; default: 16")
    parser.add_argument("--workers", type=positive, metavar="N", help="threads that decode; default: one per core")
    parser.add_argument(
        "--instances", type=positive, metavar="N", help="batches that run at once; default: one per core"
    )
    add_device(add_runtime(parser))
    example(
        parser,
        "cvserve predict models/flowers photos/ --out results.jsonl --annotate out/",
        "cvserve predict models/cells photos/ --out results.json --coco instances.json --score-threshold 0.001",
        "cvserve predict models/streets photos/ --out results.csv --masks masks/ --annotate out/",
        "find /archive -name '*.jpg' | cvserve predict models/flowers - --out results.csv",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from cvserve.batch import (
        SINK_RULES,
        CocoSink,
        CsvSink,
        GroundTruthNumbers,
        Sources,
        open_instances,
        open_sink,
        predict,
    )

    sources = Sources(arguments.images, leave_out=[item for item in (arguments.annotate, arguments.masks) if item])
    total = sources.count()
    if total == 0:
        raise InvalidInput(f"there are no images in {', '.join(arguments.images)}")
    with open_instances(
        arguments.model,
        version=arguments.version,
        runtime=arguments.runtime,
        precision=arguments.precision,
        instances=arguments.instances,
        threads=arguments.threads,
        device=arguments.device,
    ) as pipelines:
        manifest, runtime = pipelines[0].manifest, pipelines[0].runtime.name
        rules = SINK_RULES[manifest.task]
        for option in ("mask_format", "masks"):
            if getattr(arguments, option) and option not in rules.mask_options(manifest):
                raise InvalidInput(
                    f"--{option.replace('_', '-')} is for segmentation models; {manifest.name} does {manifest.task}"
                )
        top_k = arguments.top_k or (rules.top_k(manifest) if rules.top_k else None)
        numbers = None
        if arguments.coco is not None:
            numbers = GroundTruthNumbers(arguments.coco, manifest.labels)
            if total is not None:
                for source in sources:  # before hours of work, since an image may be missing in it
                    numbers.image_id(source.name)
        sink = open_sink(
            arguments.out,
            format=arguments.format,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
            task=manifest.task,
            labels=manifest.labels,
            numbers=numbers,
            top_k=top_k and min(top_k, len(manifest.labels) or top_k),
            made_by=(manifest.name, manifest.version),
        )
        mask_format = arguments.mask_format
        if isinstance(sink, CsvSink):
            if mask_format not in (None, "none"):
                raise InvalidInput(f"CSV has no masks as {mask_format}; write JSON lines, or --masks DIR")
            mask_format = "none"
        if isinstance(sink, CocoSink) and mask_format not in (None, "rle", "none"):
            raise InvalidInput(f"COCO results have no masks as {mask_format}; they hold run lengths, rle")
        try:
            with sink:
                summary = predict(
                    pipelines,
                    sources,
                    sink,
                    annotate=arguments.annotate,
                    top_k=top_k,
                    score_threshold=arguments.score_threshold,
                    max_results=arguments.max_results,
                    mask_format=mask_format,
                    masks=arguments.masks,
                    batch_size=arguments.batch_size,
                    workers=arguments.workers,
                    total=total,
                )
        except (KeyboardInterrupt, CvserveError, OSError):
            if (part := Path(f"{arguments.out}.part")).exists():
                console.note(f"what was done is in {part}" + ("; --resume continues it" if sink.resumable else ""))
            raise
    if not (summary.done or summary.failed_count or summary.skipped):
        raise InvalidInput(f"there are no images in {', '.join(arguments.images)}")
    before = f", {summary.skipped} were there already" if summary.skipped else ""
    console.note(
        f"{summary.done} images in {summary.seconds:.1f} s, {summary.images_per_second:.1f} images/s "
        f"with {runtime}{before}" + (f"; see {arguments.out}" if arguments.out != "-" else "")
    )
    code = list_failures(
        summary.failed, summary.failed_count, done=summary.done + sink.done_before, where=arguments.out
    )
    if summary.failed_before:
        console.note(f"{summary.failed_before} earlier rows of {arguments.out} are errors")
        code = code or 1
    return code
