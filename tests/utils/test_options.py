"""Option parsing and the shared shell functions: Kaldi's interface, and errors."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import run
from paths import ROOT

SCRIPT = """\
nj=4
cmd=run.py
train_opts="-a 1"
resume=true
max_lost=0.05
help_message="Usage: x [options] <dir>
  --nj <n>   50% of them"
set -euo pipefail
. utils/parse_options.sh
printf '%s|' "$nj" "$cmd" "$train_opts" "$resume" "$max_lost" "$#" "$@"
"""


def bash(script, *arguments, cwd=ROOT, name="step.sh", tmp_path=None, timeout=20, **environment):
    """Run the text of a script under the given name, with arguments."""
    return run("bash", "-c", script, name, *arguments, cwd=cwd, timeout=timeout, env={**os.environ, **environment})


def parse(*arguments, **options):
    return bash(SCRIPT, *arguments, **options)


def common(script, *arguments, **options):
    """Run a script with the functions of common.sh."""
    return bash(f"set -euo pipefail\n. '{ROOT}/utils/common.sh'\n{script}", *arguments, **options)


# --------------------------------------------------------------------------------------------------- parse_options


@pytest.mark.parametrize("value", ["nan", "1e", "5%", "", "0,5", "inf", "x"])
def test_a_fraction_takes_only_numbers(value):
    done = parse("--max-lost", value)
    assert done.returncode == 2 and f"--max-lost takes a number, not '{value}'" in done.stderr


def test_an_exported_variable_of_the_name_of_an_option_is_one(tmp_path):
    """It has the default of the script, its type is checked, and what the caller exports otherwise is no option."""
    script = tmp_path / "step.sh"
    text = SCRIPT.replace("nj=4\n", "nj=4 other=x\n") + "changed_options nj resume other\n"
    script.write_text(text)
    environment = {**os.environ, "nj": "9", "resume": "maybe", "other": "y", "proxy": "z"}
    done = run("bash", script, "--other", "q", cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4|run.py|-a 1|true|0.05|0| --other q"
    assert "--resume must be true or false" in run("bash", script, "--resume", "x", cwd=ROOT, env=environment).stderr
    assert "unknown option --proxy" in run("bash", script, "--proxy", "x", cwd=ROOT, env=environment).stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "4|run.py|-a 1|true|0.05|0|"),
        (["--nj", "8", "dir"], "8|run.py|-a 1|true|0.05|1|dir|"),
        (["--nj=8", "--max-lost", ".1", "a", "b c"], "8|run.py|-a 1|true|.1|2|a|b c|"),
        (["--cmd", "slurm.py --mem 2G", "--resume", "false"], "4|slurm.py --mem 2G|-a 1|false|0.05|0|"),
        (["--train-opts", ""], "4|run.py||true|0.05|0|"),
        (["--train-opts", "--b 2"], "4|run.py|--b 2|true|0.05|0|"),
        (["--train-opts=--nj"], "4|run.py|--nj|true|0.05|0|"),
        (["--train-opts", "a=b=c"], "4|run.py|a=b=c|true|0.05|0|"),
        (["--nj", "2", "dir", "--nj", "3"], "2|run.py|-a 1|true|0.05|3|dir|--nj|3|"),
        (["--nj", "2", "", "--nj"], "2|run.py|-a 1|true|0.05|2||--nj|"),
        (["--nj", "2", "--", "--odd name"], "2|run.py|-a 1|true|0.05|1|--odd name|"),
        (["--nj", "2", "--nj", "3"], "3|run.py|-a 1|true|0.05|0|"),
    ],
)
def test_options(arguments, expected):
    done = parse(*arguments)
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)


@pytest.mark.parametrize("value", ["$(touch pwned)", "`touch pwned`", 'a "b', "it's", "a\nb", "$HOME", "*", "\\", " "])
def test_values_are_text(tmp_path, value):
    """Kaldi's parser evaluates its values: a command substitution runs, a quotation mark is a syntax error."""
    done = parse("--train-opts", value, cwd=link(tmp_path))
    assert (done.stdout, done.returncode) == (f"4|run.py|{value}|true|0.05|0|", 0)
    assert not (tmp_path / "pwned").exists()


def link(folder):
    """Make ``folder`` a recipe, which has utils."""
    (folder / "utils").symlink_to(ROOT / "utils")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nj"], "option --nj needs a value"),
        (["--resume", "true", "--max-lost"], "option --max-lost needs a value"),
        (["--nj", "--cmd", "x"], "option --nj needs a value, not the option --cmd (write --nj=--cmd if you mean it)"),
        (["--max-lots"], "unknown option --max-lots: the options are --cmd --max-lost --nj --resume --train-opts"),
        (["--nnj=3"], "unknown option --nnj: the options are --cmd"),
        (["--nj", "four"], "--nj takes a whole number, not 'four'"),
        (["--nj", "-1"], "--nj takes a whole number, not '-1'"),
        (["--nj", ""], "--nj takes a whole number, not ''"),
        (["--stages", "3"], "unknown option --stages: the options are --cmd --max-lost --nj --resume --train-opts"),
        (["--resume", "yes"], "option --resume must be true or false, not 'yes'"),
        (["--resume", "dir"], "option --resume must be true or false, not 'dir'"),
        (["--cmd", ""], "option --cmd is empty"),
        (["--config"], "option --config needs a value"),
        (["--config", "none.sh"], "option --config: cannot read 'none.sh'"),
        (["--help-message", "x"], "unknown option --help-message: "),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    done = parse(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"step.sh: error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(flag):
    done = parse("--nj", 3, flag)
    assert (done.returncode, done.stdout) == (0, "Usage: x [options] <dir>\n  --nj <n>   50% of them\n")


def test_help_on_the_options_is_the_configuration_block(tmp_path):
    script = link(tmp_path) / "step.sh"
    script.write_text(
        "#!/usr/bin/env bash\nnj=4      # parallel jobs\nmax_lost=0.5  # largest share that may be lost,\n"
        "              #   of all\nnames=()\nset -euo pipefail\nhelp_message='Usage: x'\nlater=1  # not an option\n"
        ". utils/parse_options.sh\n[ $# -eq 0 ] || usage\nprintf '%s|' \"${names[@]}\"\n"
    )
    done = run("bash", script, "--nj", 7, "--help", cwd=tmp_path)
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert lines == [
        ["Usage:", "x"],
        ["--nj", "<nj>", "parallel jobs (4)"],
        ["--max-lost", "<lost>", "largest share that may be lost, of all (0.5)"],
        ["--names", "<names>"],
    ]
    refused = run("bash", script, "word", cwd=tmp_path)
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", done.stdout)
    assert run("bash", script, "--names", "a b", "--names=c", cwd=tmp_path).stdout == "a b|c|"


def test_commands_are_kept_where_the_caller_wants_them(tmp_path):
    done = parse("--nj", 2, "a b", "it's", AVSV_COMMANDS=str(tmp_path / "log"))
    assert done.returncode == 0
    words = run("bash", "-c", f'set -- $(<{tmp_path}/log); eval "set -- $*"; printf \'%s|\' "$@"').stdout
    assert words == "step.sh|--nj|2|a b|it's|"


def test_help_without_a_message():
    done = bash("set -euo pipefail; . utils/parse_options.sh", "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_config_is_read_first_and_the_command_line_wins(tmp_path):
    (link(tmp_path) / "my conf.sh").write_text('nj=9\ntrain_opts="from config"\n')
    (tmp_path / "other.sh").write_text("train_opts=later\n")
    done = parse("--nj", "2", "--config", "my conf.sh", "x", cwd=tmp_path)
    assert done.stdout == "2|run.py|from config|true|0.05|1|x|"
    done = parse("--config=my conf.sh", "--config", "other.sh", cwd=tmp_path)
    assert done.stdout == "9|run.py|later|true|0.05|0|"


def test_config_of_the_script_itself(tmp_path):
    """A script with its own configuration file, for example conf/fbank.yaml, receives the name."""
    (link(tmp_path) / "new.yaml").write_text("exit 3\n")
    script = 'config=conf/fbank.yaml\nset -euo pipefail\n. utils/parse_options.sh\nprintf %s "$config"'
    done = bash(script, "--config", "new.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "new.yaml")


def test_environment_is_no_suggestion():
    done = parse("--http_proxies", "x", http_proxy="y", env_only="1")
    assert "--env-only" not in done.stderr
    assert "proxy" not in done.stderr.split(":", 3)[-1]


# ---------------------------------------------------------------------------------------------------------- common


def test_log_and_die():
    done = common("log hello 'a  b'; die 'it went wrong'", name="steps/x.sh")
    lines = done.stderr.splitlines()
    assert lines[0][19:] == " x.sh: hello a  b"
    time.strptime(lines[0][:19], "%Y-%m-%d %H:%M:%S")
    assert lines[1:] == ["x.sh: error: it went wrong"]
    assert done.returncode == 1


def test_need_file(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_text("a\n")
    messages = {"full": None, "no file": "no such file: no file", "empty": "empty is empty", ".": ". is a folder"}
    for name, message in messages.items():
        done = common('need_file full "$1"', name, cwd=tmp_path)
        assert done.returncode == (message is not None)
        assert not message or message in done.stderr


def test_need_command():
    done = common("need_command bash no-such-program")
    assert done.returncode == 1
    assert "no-such-program is not installed: run tools/setup.sh" in done.stderr


@pytest.mark.parametrize(
    "producer", ["false", "no_such_command", "half", "pipeline", "first_of_two"], ids=lambda name: f"by {name}"
)
def test_a_failing_producer_leaves_nothing(tmp_path, producer):
    script = """
    half() { echo one; return 3; }
    pipeline() { { echo one; false; } | cat; }
    first_of_two() { echo one; false; echo two; }
    write_atomically "$1" "$2"
    echo not reached
    """
    target = tmp_path / "a file"
    target.write_text("old\n")
    done = common(script, target, producer)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{target} is not written: '{producer}' failed with status" in done.stderr
    assert target.read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


def test_write_atomically(tmp_path):
    script = 'write_atomically "$1/a b" printf "%s\\n" "x y"; cd "$1"; write_atomically plain echo 1; echo done'
    done = common(script, tmp_path)
    assert done.stdout == "done\n"
    assert (tmp_path / "a b").read_text() == "x y\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a b", "plain"]


def test_write_atomically_killed(tmp_path):
    """If it is killed at the worst moment, there is a temporary file and no result; remove_stale removes the file."""
    target = tmp_path / "out"
    script = f". '{ROOT}/utils/common.sh'; write_atomically {target} bash -c 'echo half; kill -9 $PPID; sleep 1'"
    subprocess.run(["bash", "-c", f"({script}) & wait"], check=False, timeout=20)
    time.sleep(0.1)
    assert not target.exists()
    left = list(tmp_path.glob(".out.tmp.*"))
    assert len(left) == 1
    mine = tmp_path / f".other.tmp.{os.getpid()}"
    mine.touch()
    common('remove_stale "$1" "$1/none"', tmp_path)
    assert list(tmp_path.iterdir()) == [mine], "what a living process writes is not touched"


def test_no_room_for_the_file(tmp_path):
    """The file cannot grow beyond 1 KiB, as on a full disk."""
    done = common('ulimit -f 1; trap "" XFSZ; write_atomically "$1/new" head -c 100000 /dev/zero', tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path}/new is not written: 'head -c 100000 /dev/zero' failed with status" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_cat_jobs_and_jobs_for(tmp_path):
    for n in range(1, 12):
        (tmp_path / f"p q.{n}").write_text(f"{n}\n")
    done = common('cat_jobs "$1/p q.$JOB" 11', tmp_path)
    assert done.stdout.split() == [str(n) for n in range(1, 12)]
    assert common('write_atomically "$1/all" cat_jobs "$1/p q.$JOB" 12', tmp_path).returncode == 1
    assert not (tmp_path / "all").exists()
    done = common('jobs_for 4 "$1/p q.1"; jobs_for 1 "$1/p q.1"; : >"$1/none"; jobs_for 3 "$1/none"', tmp_path)
    assert done.stdout.split() == ["1", "1", "1"]


def test_stamp_depends_on_options_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1\n")
    (tmp_path / "b").write_text("1\n")

    def stamp(*words):
        done = common('stamp "$@"', *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    base = stamp("x", "a")
    assert base == stamp("x", "a")
    assert len(base) == 33
    assert len({base, stamp("y", "a"), stamp("x", "b"), stamp("x", "a", "b"), stamp("x")}) == 5
    (tmp_path / "a").write_text("2\n")
    assert stamp("x", "a") != base
    done = common('s=$(stamp x a none); echo "$s"', cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no such file: none" in done.stderr


def test_markers(tmp_path):
    script = """
    ! is_done "$1" s1 || echo early
    mark_done "$1" s1
    ! is_done "$1" s1 || echo same
    is_done "$1" s2 || echo other
    """
    assert common(script, tmp_path / ".x y.done").stdout.split() == ["same", "other"]


def test_lost_outputs_are_noticed(tmp_path):
    """Done means that the outputs exist and have not become shorter."""
    (tmp_path / "a b").write_text("12345")
    script = """
    cd "$1"
    ask() { if up_to_date x.done s "$1: all is"; then echo yes; else echo no; fi; }
    mark_done x.done s "a b" none; ask first
    echo 123 >"a b"; ask short; ask short
    mark_done x.done s "a b"; rm "a b"; ask gone
    mark_done x.done s; ask nothing
    """
    done = common(script, tmp_path)
    assert done.stdout.split() == ["yes", "no", "no", "no", "yes"]
    assert [line.split(": ", 1)[1] for line in done.stderr.splitlines()] == [
        "first: all is up to date",
        "nothing: all is up to date",
    ]
    assert not (tmp_path / "x.outputs").exists()


ODD = ["a b", "$(touch pwned)", "`touch pwned`", "it's", 'a "b" c', "a\\b", "a;b", "x&y", "(a", "*", "~", "#c", "a\tb"]
ODD += ["{a,b}", "a > b", "!x", "$HOME", "", "ü ö", "üö(", "a\nb", "'", '"', "a 'b' \"c\" $d"]


@pytest.mark.parametrize("launcher", ["run.py", "slurm-like"])
def test_words_of_a_command_arrive_whatever_they_contain(tmp_path, launcher):
    """Launchers hand the command to a shell: ours, and Kaldi's, whose quoting is repeated here."""
    cmd = ROOT / "utils/run.py"
    if launcher == "slurm-like":  # a script in which a variable replaces JOB, as for an array of jobs
        cmd = tmp_path / "launcher.py"
        cmd.write_text(
            "#!/usr/bin/env python3\nimport subprocess, sys\n"
            f"sys.path.insert(0, '{ROOT}/utils')\nimport launcher\n"
            "command = launcher.quote_command(sys.argv[3:], 'JOB', '${N}')\n"
            "subprocess.run(['bash', '-c', 'N=7; ' + command], check=True)\n"
        )
        cmd.chmod(0o755)
    write = "import json, os, sys; json.dump([os.fsencode(a).hex() for a in sys.argv[2:]], open(sys.argv[1], 'w'))"
    words = [*ODD, *(f"JOB{word}JOB" for word in ODD)]
    done = common(
        'cd "$1"; shift; cmd=$1; shift; launch JOB=7:7 job.JOB.log python3 -c "$1" "out JOB" "${@:2}"',
        tmp_path, cmd, write, *words,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    arrived = [bytes.fromhex(word).decode() for word in json.loads((tmp_path / "out 7").read_text())]
    assert arrived == [word.replace("JOB", "7") for word in words]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("wanted", "made", "share", "status"), [(100, 100, 0, 0), (100, 95, 0.05, 0), (100, 94, 0.05, 1), (3, 0, 1, 1)]
)
def test_report_lost(tmp_path, wanted, made, share, status):
    (tmp_path / "f").write_text("u1 why one\nu2 why two\nu3 why three\nu4 why four\n")
    done = common('report_lost "$1" "$2" "$3" "logs/*" "$4"', wanted, made, share, tmp_path / "f")
    assert done.returncode == status
    if made == wanted:
        assert done.stderr == ""
    else:
        assert f"{wanted - made} of {wanted} lost, see logs/*" in done.stderr
        assert "  u3 why three" in done.stderr
        assert "u4" not in done.stderr
    if status:
        assert f"at most a share of {share} may be" in done.stderr


def test_show_warnings(tmp_path):
    """The first warnings of all logs, each once, and how many more there are."""
    for number in (1, 2):
        lines = "".join(f"/x/y.py:1: UserWarning: {letter} is odd\n  warn()\n" for letter in "ab"[:number] + "cde")
        (tmp_path / f"x.{number}.log").write_text(lines)
    logs = [tmp_path / f"x.{number}.log" for number in (1, 2, 3)]
    done = common('show_warnings "$@"', "data/train", *logs)
    assert done.returncode == 0
    lines = [line.partition(": ")[2] for line in done.stderr.splitlines()]
    assert lines[:3] == [f"warning: data/train: {letter} is odd" for letter in "abc"]
    assert lines[3].startswith(f"warning: data/train: 2 more warnings in {logs[0]} ") and len(lines) == 4
    assert common('show_warnings "$@"', "data/train", logs[2]).stderr == ""


# ---------------------------------------------------------------------------------------------- once.sh, progress.py


def once(*words, cwd):
    return run(ROOT / "utils/once.sh", *words, cwd=cwd)


def test_once(tmp_path):
    add = ["bash", "-c", "echo ran >>out; echo output"]
    assert once("m k", "s1", *add, cwd=tmp_path).stdout == "output\n"
    second = once("m k", "s1", *add, cwd=tmp_path)
    assert (second.returncode, second.stdout) == (0, "")
    assert "already done: m k" in second.stderr
    once("m k", "s2", *add, cwd=tmp_path)
    assert (tmp_path / "out").read_text() == "ran\nran\n"
    assert once("m k", "s3", "bash", "-c", "exit 7", cwd=tmp_path).returncode == 7
    assert not (tmp_path / "m k").exists()
    assert once("m k", "s1", cwd=tmp_path).returncode == 2


def test_progress_is_summed_and_ends_with_a_line(tmp_path):
    for job, text in ((1, "3 10\n"), (2, "7 20\n"), (3, "garbage"), (4, "")):
        (tmp_path / f"a b.{job}.progress").write_text(text)
    script = (
        'start_progress "made it" "$1/a b.*.progress"; sleep 1; echo "10 10" >"$1/a b.1.progress";'
        ' echo "20 20" >"$1/a b.2.progress"; stop_progress'
    )
    done = common(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), "the step itself says what it made"
    (tmp_path / "a b.1.progress").write_text("1 10\n")
    done = common('start_progress "made it" "$1/a b.*.progress"; sleep 1; stop_progress', tmp_path)
    assert done.stderr.startswith("made it: 21/30 (70%), 0:0")
    assert done.stderr.count("\n") == 1


def test_progress_ends_with_its_script(tmp_path):
    script = 'start_progress "unique-$$" "$1/*.progress"; echo $_progress_pid; sleep 60'
    process = subprocess.Popen(
        ["bash", "-c", f". '{ROOT}/utils/common.sh'; {script}", "x", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    pid = int(process.stdout.readline())
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split():
        assert time.monotonic() < deadline
        time.sleep(0.05)
