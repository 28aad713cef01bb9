"""The data-directory tools of ``utils/``; the first argument is the name of the tool, such as ``split_data``."""

import argparse
import gc
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from avsv.bin.command import run_command
from avsv.datadir.combine import combine_data
from avsv.datadir.copy import copy_data
from avsv.datadir.fix import fix_data, unfixed
from avsv.datadir.mapping import filter_lines, spk2utt_lines, utt2spk_lines
from avsv.datadir.speed import perturb_speed
from avsv.datadir.split import split_data
from avsv.datadir.subset import choose, choose_listed, subset_data
from avsv.errors import DataError


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def split(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Split a data directory into parts for parallel jobs, DATA/splitN/1 ... DATA/splitN/N.

    The utterances of a speaker stay together. Parts that are up to date are not made again. Example:
    utils/split_data.sh data/train 8
    """
    parser.add_argument("--per-utt", action="store_true", help="split speakers too; the parts are in DATA/splitNutt")
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", type=positive)
    return lambda options: ignore(split_data(options.data, options.parts, options.per_utt))


def combine(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Combine data directories into a new one.

    Lists of a modality are combined from the sources that have them; others must be in all sources. Example:
    utils/combine_data.sh data/both data/train data/train_sp0.9
    """
    parser.add_argument("target", type=Path)
    parser.add_argument("sources", type=Path, nargs="+")
    return lambda options: say(f"{options.target}: {combine_data(options.target, options.sources)} utterances")


def subset(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Make a data directory of some utterances of another; by default they are evenly spaced in the list.

    Examples: utils/subset_data_dir.sh --per-spk data/train 5 data/train_5each
    utils/subset_data_dir.sh --utt-list wanted data/train data/wanted
    """
    modes = parser.add_mutually_exclusive_group()
    for mode, text in (
        ("first", "the first <count> utterances"),
        ("last", "the last <count> utterances"),
        ("shortest", "the <count> shortest utterances (by utt2dur)"),
        ("speakers", "all utterances of some speakers, until there are <count>"),
        ("per-spk", "<count> utterances of every speaker, or all that there are"),
    ):
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, default="spread", help=text)
    modes.add_argument("--utt-list", type=Path, metavar="FILE", help="the utterances in FILE; there is no <count>")
    modes.add_argument("--spk-list", type=Path, metavar="FILE", help="the speakers in FILE; there is no <count>")
    parser.add_argument("source", type=Path)
    parser.add_argument("count", nargs="?", type=positive)
    parser.add_argument("target", type=Path)

    def run(options: argparse.Namespace) -> None:
        listed = options.utt_list or options.spk_list
        if (options.count is None) != bool(listed):
            parser.error("give a <count>, unless there is --utt-list or --spk-list")
        if listed:
            keep = choose_listed(options.source, listed, speakers=bool(options.spk_list))
        else:
            keep = choose(options.source, options.mode, options.count)
        say(f"{options.target}: {subset_data(options.source, options.target, keep)} utterances")

    return run


def copy(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Copy a data directory, adding prefixes or suffixes to the names of speakers and utterances.

    Example: utils/copy_data_dir.sh --spk-prefix=b- --utt-prefix=b- data/train data/train_b
    """
    for kind in ("spk", "utt"):
        for place in ("prefix", "suffix"):
            parser.add_argument(f"--{kind}-{place}", default="", metavar="TEXT")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)

    def run(options: argparse.Namespace) -> None:
        count = copy_data(
            options.source,
            options.target,
            lambda name: f"{options.utt_prefix}{name}{options.utt_suffix}",
            lambda name: f"{options.spk_prefix}{name}{options.spk_suffix}",
        )
        say(f"{options.target}: {count} utterances")

    return run


def fix(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Sort the lists of a data directory and keep the utterances that are in all required lists.

    Changed lists are saved in DATA/.backup. Problems that remain for validate_data_dir.sh are printed, with status 1.

    Example: utils/fix_data_dir.sh data/train
    """
    parser.add_argument("--utt-extra-files", default="", metavar="NAMES", help="additional lists by utterance")
    parser.add_argument("--spk-extra-files", default="", metavar="NAMES", help="additional lists by speaker")
    parser.add_argument("data", type=Path)

    def run(options: argparse.Namespace) -> None:
        kept, had = fix_data(options.data, options.utt_extra_files.split(), options.spk_extra_files.split())
        if kept < had:
            say(
                f"{options.data}: kept {kept} utterances out of {had}; the original lists are in {options.data}/.backup"
            )
        else:
            say(f"{options.data}: kept all {had} utterances")
        problems = unfixed(options.data)
        for line in problems.lines():
            say(line)
        if problems:
            raise DataError(f"{options.data}: {problems.counted('remain')} that must be fixed by hand")

    return run


def validate(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Check the lists of a data directory and open some of the recordings.

    Example: utils/validate_data_dir.sh --no-feats data/train
    """
    parser.add_argument("--no-feats", action="store_true", help="do not require or check features")
    parser.add_argument("--no-wav", "--no-audio", action="store_true", help="do not check the audio")
    parser.add_argument("--no-video", action="store_true", help="do not check the video")
    parser.add_argument(
        "--no-spk-sort", action="store_true", help="do not require utterances to begin with their speakers"
    )
    parser.add_argument(
        "--no-text", action="store_true", help="accepted for compatibility with Kaldi; there is no text here"
    )
    parser.add_argument("--sample", type=int, default=20, metavar="N", help="open this many audio and video files (20)")
    parser.add_argument("data", type=Path)

    def run(options: argparse.Namespace) -> None:
        from avsv.datadir.validate import Validator

        problems = Validator(
            options.data,
            audio=not options.no_wav,
            video=not options.no_video,
            features=not options.no_feats,
            speaker_order=not options.no_spk_sort,
            sample=options.sample,
        ).run()
        for line in problems.lines():
            say(line)
        if problems:
            raise DataError(f"{options.data}: {problems.counted()} found")
        print(f"Successfully validated data-directory {options.data}")

    return run


def perturb(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Make a data directory at another speed, with new speakers spFACTOR-...; sox pipes change the audio.

    Example: utils/perturb_data_dir_speed.sh 0.9 data/train data/train_sp0.9
    """
    parser.add_argument("--keep-video", action="store_true", help="keep the video lists; their speed does not change")
    parser.add_argument("factor")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)

    def run(options: argparse.Namespace) -> None:
        count = perturb_speed(options.source, options.target, options.factor, options.keep_video)
        say(f"{options.target}: {count} utterances")

    return run


def to_spk2utt(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Convert utt2spk (a file, or standard input) to spk2utt. Example: utils/utt2spk_to_spk2utt.sh <utt2spk >spk2utt"""
    parser.add_argument("utt2spk", nargs="?", type=Path, default=Path("/dev/stdin"))

    return lambda options: sys.stdout.writelines(spk2utt_lines(options.utt2spk))


def to_utt2spk(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Convert spk2utt (a file, or standard input) to utt2spk. Example: utils/spk2utt_to_utt2spk.sh <spk2utt >utt2spk"""
    parser.add_argument("spk2utt", nargs="?", type=Path, default=Path("/dev/stdin"))

    return lambda options: sys.stdout.writelines(utt2spk_lines(options.spk2utt))


def filter_scp(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Print the lines of a list (a file, or standard input) whose keys are the first fields in another list.

    Example: utils/filter_scp.sh wanted data/train/wav.scp >wanted.scp
    """
    parser.add_argument("--exclude", action="store_true", help="print the other lines")
    parser.add_argument("-f", dest="field", type=positive, default=1, metavar="N", help="the key is field N (1)")
    parser.add_argument("ids", type=Path)
    parser.add_argument("list", nargs="?", type=Path, default=Path("/dev/stdin"))

    return lambda options: sys.stdout.writelines(
        filter_lines(options.list, options.ids, options.field, options.exclude)
    )


def say(message: str) -> None:
    """Print a line for the user."""
    print(message, file=sys.stderr)


def ignore(_value: object) -> None:
    """Discard the result of a function."""


TOOLS = {
    "split_data": split,
    "combine_data": combine,
    "subset_data_dir": subset,
    "copy_data_dir": copy,
    "fix_data_dir": fix,
    "validate_data_dir": validate,
    "perturb_data_dir_speed": perturb,
    "utt2spk_to_spk2utt": to_spk2utt,
    "spk2utt_to_utt2spk": to_utt2spk,
    "filter_scp": filter_scp,
}


def main(tool: str, arguments: Iterable[str]) -> None:
    """Run one of the tools."""
    description = TOOLS[tool].__doc__
    parser = argparse.ArgumentParser(prog=f"utils/{tool}.sh", description=description, allow_abbrev=False)
    run = TOOLS[tool](parser)
    # Millions of small lists are created and released without reference cycles.
    gc.disable()
    run(parser.parse_args(list(arguments)))


if __name__ == "__main__":
    name = sys.argv[1]
    sys.argv[0] = f"{name}.sh"  # error messages name the tool
    run_command(lambda: main(name, sys.argv[2:]))
