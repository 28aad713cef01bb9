"""Tables as text."""

from avsv.results.frames import to_csv
from avsv.results.rates import Row


def row(system, stage, eer, mode="AVxAV", trials="eval", cllr=None):
    return Row(
        "c", "mini", system, trials, mode, stage, 10, 90, eer, eer / 2, 2 * eer, eer, 0.5, cllr, 7, "abc", "f00d"
    )


def test_csv_of_results():
    lines = to_csv([row("a", "cos", 12.34567), row("a", "llr", 0.0, cllr=0.25)], Row).splitlines()
    assert lines[1] == "c,mini,a,eval,AVxAV,cos,10,90,12.3457,6.1728,24.6913,12.3457,0.5000,,7,abc,f00d"
    assert lines[2] == "c,mini,a,eval,AVxAV,llr,10,90,0.0000,0.0000,0.0000,0.0000,0.5000,0.2500,7,abc,f00d"
