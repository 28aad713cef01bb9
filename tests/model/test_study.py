"""Studies: variants become systems, and mistakes in their files are named."""

from pathlib import Path

import pytest
import yaml
from paths import ROOT

from avsv.bin import configure
from avsv.config.strict import read_yaml
from avsv.errors import DataError
from avsv.model.config import load_config
from avsv.model.presets import Configurator
from avsv.model.study import read_study

SYSTEMS = [path.stem for path in (ROOT / "conf/systems").glob("*.yaml")]
STUDIES = sorted((ROOT / "conf/studies").glob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("preset", ["tiny", "mini"])
def test_shipped_studies_change_what_they_say_and_nothing_else(path, preset):
    study = read_study(path, SYSTEMS)
    varied = Configurator(ROOT / "conf", preset, study=path)
    configs = varied.configs(list(study.variants))
    for name, variant in study.variants.items():
        base = Configurator(ROOT / "conf", preset).configs([variant.base])[variant.base]
        given, found = _flat(base.to_mapping()), _flat(configs[name].to_mapping())
        changed = {key for key in given.keys() | found.keys() if given.get(key) != found.get(key)}
        allowed = tuple(variant.set)
        # With another source comes its network.
        allowed += tuple(key.removeprefix("init_from.") for key in variant.set if key.startswith("init_from."))
        assert {key for key in changed if not key.startswith(allowed)} == set()
        for key, value in variant.set.items():
            if not isinstance(value, dict):
                assert found[key] == value
    used = {side.partition("/")[0] for pair in study.contrasts for side in pair}
    assert used == set(study.variants)


def _flat(mapping: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in mapping.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def test_variants_win_over_the_preset_but_not_over_the_command_line(tmp_path, capsys):
    study = tmp_path / "short.yaml"
    study.write_text(
        "question: Is longer better?\nbase: ecapa\nvariants: {one: , long: {set: {train.epochs: 77}}}\n"
        "contrasts: ['long:one']\nseeds: [5, 6]\n"
    )
    words = ["--conf", str(ROOT / "conf"), "--preset", "tiny", "--out", str(tmp_path / "out"), "--study", str(study)]
    configure.main(words)
    assert capsys.readouterr().out.splitlines() == ["short-one single", "short-long single"]
    preset = read_yaml(ROOT / "conf/presets/tiny.yaml")["all"]["train"]["epochs"]
    epochs = [load_config(tmp_path / f"out/systems/short-{name}.yaml").train.epochs for name in ("one", "long")]
    assert epochs == [preset, 77]
    configure.main([*words, "--set", "short-long:train.epochs=3"])
    assert load_config(tmp_path / "out/systems/short-long.yaml").train.epochs == 3


GOOD = {
    "question": "?",
    "base": "ecapa",
    "variants": {"a": None, "b": {"set": {"audio.pooling": "tap"}}},
    "contrasts": ["b:a"],
}


def test_common_changes_are_those_of_all_variants(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"set": {"audio.pooling": "asp", "train.epochs": 3}}))
    assert [dict(variant.set) for variant in read_study(path, SYSTEMS).variants.values()] == [
        {"audio.pooling": "asp", "train.epochs": 3},
        {"audio.pooling": "tap", "train.epochs": 3},
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": {}}, "variants: expected 'NAME: {base: SYSTEM, set: {KEY: VALUE}}' lines"),
        ({"variants": {"a": 3}}, "variants.a: expected 'base: SYSTEM' and 'set: {KEY: VALUE}', or nothing"),
        ({"variants": {"a": {"bse": "ecapa"}}}, "variants.a.bse: unknown key: did you mean 'base'?"),
        ({"base": "ecappa"}, "variants.a: base: ecappa: did you mean 'ecapa'?"),
        ({"contrasts": ["b:c"]}, "contrasts: b:c: c: choose one of a, b"),
        ({"contrasts": ["b"]}, "contrasts: b: expected VARIANT:VARIANT, as in asp:mean"),
        ({"contrasts": []}, "contrasts: a study needs at least one, as in 'asp:mean'"),
        ({"seeds": ["x"]}, "seeds[0]: expected a whole number, not the text x"),
        ({"set": 3}, "set: expected dotted keys and their values"),
        (
            {"variants": {"a": {"set": {"audio": "x", "audio.pooling": "tap"}}, "b": None}},
            "variants.a: sets audio and audio.pooling, which is a part of it",
        ),
        ({"questions": 1}, "questions: unknown key: did you mean 'question'?"),
        ({"variants": {"../a": None}}, "s-../a"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(GOOD | change))
    with pytest.raises(DataError) as error:
        read_study(path, SYSTEMS)
    assert str(path) in str(error.value) and message in str(error.value)
    path.write_text(yaml.safe_dump(GOOD))
    assert list(read_study(path, SYSTEMS).variants) == ["s-a", "s-b"]
    with pytest.raises(DataError, match=r"none.yaml: no such study"):
        read_study(Path(tmp_path / "none.yaml"), SYSTEMS)
