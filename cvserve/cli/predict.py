"""Runs a model on folders of pictures and writes one row a picture, as JSON lines or CSV.

PICTURES are folders (searched at any depth), files, quoted globs, @list.txt (one path a line) or - (paths on stdin).
Rows keep their order. A picture that cannot be used gets a row with its error and is listed at the end; the others
are done. Rows go to FILE.part, which becomes FILE when all is done; a run that was killed continues with --resume.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cvserve import console
from cvserve.cli.arguments import add_runtime, example, positive
from cvserve.cli.failures import list_failures
from cvserve.errors import CvserveError, InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model's directory (its newest version) or a version's")
    parser.add_argument("pictures", nargs="+", metavar="PICTURES", help="folder, file, glob, @list.txt or -")
    parser.add_argument("--out", default="-", metavar="FILE", help="results.jsonl or results.csv; default: stdout")
    parser.add_argument("--format", choices=("jsonl", "csv"), help="default: what the suffix of --out says, or jsonl")
    parser.add_argument("--annotate", metavar="DIR", help="write copies of the pictures with the result drawn on them")
    parser.add_argument("--top-k", type=positive, metavar="K", help="classes a picture; default: the model's")
    parser.add_argument("--resume", action="store_true", help="skip the pictures that --out has, add the others")
    parser.add_argument("--overwrite", action="store_true", help="drop what an unfinished run left in FILE.part")
    parser.add_argument("--version", type=positive, metavar="N", help="a version of the model; default: the newest")
    parser.add_argument("--batch-size", type=positive, default=16, metavar="N", help="pictures a call; default: 16")
    parser.add_argument("--workers", type=positive, metavar="N", help="threads that decode; default: one a core")
    parser.add_argument("--instances", type=positive, metavar="N", help="batches that run at once; default: one a core")
    add_runtime(parser)
    example(
        parser,
        "cvserve predict models/flowers photos/ --out results.jsonl --annotate out/",
        "find /archive -name '*.jpg' | cvserve predict models/flowers - --out results.csv",
    )


def run(arguments: argparse.Namespace) -> int:
    from cvserve.batch import Sources, open_instances, open_sink, predict

    sources = Sources(arguments.pictures, leave_out=arguments.annotate)
    total = sources.count()
    if total == 0:
        raise InvalidInput(f"there are no pictures in {', '.join(arguments.pictures)}")
    with open_instances(
        arguments.model,
        version=arguments.version,
        runtime=arguments.runtime,
        precision=arguments.precision,
        instances=arguments.instances,
        threads=arguments.threads,
    ) as pipelines:
        manifest, runtime = pipelines[0].manifest, pipelines[0].runtime.name
        top_k = arguments.top_k or manifest.postproc.top_k
        sink = open_sink(
            arguments.out,
            format=arguments.format,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
            top_k=min(top_k, len(manifest.labels) or top_k),
            made_by=(manifest.name, manifest.version),
        )
        try:
            with sink:
                summary = predict(
                    pipelines,
                    sources,
                    sink,
                    annotate=arguments.annotate,
                    top_k=top_k,
                    batch_size=arguments.batch_size,
                    workers=arguments.workers,
                    total=total,
                )
        except (KeyboardInterrupt, CvserveError, OSError):
            if (part := Path(f"{arguments.out}.part")).exists():
                console.note(f"what was done is in {part}; --resume continues it")
            raise
    if not (summary.done or summary.failed_count or summary.skipped):
        raise InvalidInput(f"there are no pictures in {', '.join(arguments.pictures)}")
    before = f", {summary.skipped} were there already" if summary.skipped else ""
    console.note(
        f"{summary.done} pictures in {summary.seconds:.1f} s, {summary.images_per_second:.1f} images/s "
        f"with {runtime}{before}" + (f"; see {arguments.out}" if arguments.out != "-" else "")
    )
    code = list_failures(
        summary.failed, summary.failed_count, done=summary.done + sink.done_before, where=arguments.out
    )
    if summary.failed_before:
        console.note(f"{summary.failed_before} earlier rows of {arguments.out} are errors")
        code = code or 1
    return code
