"""The command vita-mm and the scripts that are called beside it."""
import json
import os
import re
import subprocess
import sys

import pytest
from vita_mm.cli import main as command
from vita_mm.cli.distributed import torchrun
from vita_mm.cli.suite import prepare
from vita_mm.errors import UserError
from vita_mm.io.files import ROOT
from world import ROOT as REPOSITORY

SCRIPTS = sorted(str(path) for folder in ('tools', 'benchmarks')
                 for path in (REPOSITORY / folder).glob('*.py')
                 if '__main__' in path.read_text())
MAIN, LAUNCH = (str(command.FOLDER / name) for name in ('main.py', 'launch.py'))
# Of each script its exit code, its output, the seconds of the processor that it took, and
# what is imported by then.
ASK_FOR_HELP = """
import contextlib, io, json, runpy, sys, time
path = sys.path[:]
for words in json.loads(sys.argv[1]):
    code, said, began = None, io.StringIO(), time.process_time()
    sys.argv, sys.path[:] = [*words, '--help'], [words[0].rpartition('/')[0], *path]
    with contextlib.redirect_stdout(said):
        try:
            runpy.run_path(words[0], run_name='__main__')
        except SystemExit as end:
            code = end.code
    heavy = {'torch', 'mmengine', 'mmaction', 'mlflow', 'vita_mm'} & set(sys.modules)
    took = time.process_time() - began
    print(json.dumps([words, code, said.getvalue(), took, sorted(heavy)]))
"""


def test_help_is_there_at_once(tmp_path):
    asked = [[MAIN], *([MAIN, verb] for verb in command.VERBS),
             *([script] for script in SCRIPTS)]
    done = subprocess.run([sys.executable, '-c', ASK_FOR_HELP, json.dumps(asked)],
                          cwd=tmp_path, capture_output=True, text=True)
    assert not done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [words for words, *_ in answers] == asked
    for words, code, said, seconds, heavy in answers:
        assert not code and 'usage: ' in said, words
        assert not heavy and seconds < 1, (words, heavy, seconds)
    assert not list(tmp_path.iterdir())


def test_shell_scripts_have_help(tmp_path):
    scripts = [path for path in (REPOSITORY / 'tools').glob('*.sh') if path.name != 'common.sh']
    assert len(scripts) > 5
    for script in scripts:
        done = subprocess.run(['bash', script, '--help'], cwd=tmp_path, text=True,
                              capture_output=True, check=True)
        assert 'usage: ' in done.stdout and not done.stderr


def test_scripts_without_their_arguments_say_which():
    done = subprocess.run(['bash', REPOSITORY / 'tools/dist_train.sh', 'config.py'],
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert 'usage: tools/dist_train.sh CONFIG PROCESSES' in done.stderr


def test_every_module_that_is_a_verb_is_listed(capsys):
    modules = {path.stem for path in command.FOLDER.glob('*.py')
               if re.search(r'^def add_arguments\(', path.read_text(), re.M)}
    assert modules == set(command.VERBS.values())
    with pytest.raises(SystemExit):
        command.main([])
    said = capsys.readouterr().out
    for verb, module in command.VERBS.items():
        first = command.load(module).__doc__.splitlines()[0]
        assert first.endswith('.') and len(first) <= 90
        assert re.search(rf'^    {verb}\b', said, re.M)


@pytest.mark.parametrize('verb, sentence', [
    ('trian', "there is no verb 'trian'; did you mean 'train'?"),
    ('zzz', "there is no verb 'zzz': vita-mm --help lists them")])
def test_an_unknown_verb_is_one_sentence(capsys, verb, sentence):
    assert command.main([verb, '--help']) == 2
    assert capsys.readouterr().err == f'error: {sentence}\n'


def test_names_of_datasets_in_help_are_those_there_are():
    from vita_mm.cli.prepare import NAMES
    from vita_mm.prepare import LAYOUTS
    assert tuple(sorted(LAYOUTS)) == NAMES


# Several processes


@pytest.fixture
def started(monkeypatch):
    """The commands that this process would have become."""
    commands = []

    def become(path, words):
        assert path == words[0] == sys.executable
        commands.append(words[1:])
        raise SystemExit

    monkeypatch.setattr(os, 'execv', become)
    for name in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT', 'OMP_NUM_THREADS'):
        monkeypatch.delenv(name, raising=False)
    return commands


def test_gpus_start_torchrun(started, monkeypatch):
    words = ['config.py', '--gpus', '8', '--cfg-options', 'a=b']
    run = [MAIN, 'train', *words, '--launcher', 'pytorch']
    with pytest.raises(SystemExit):
        command.run('train', words)
    assert started == [[LAUNCH, '--standalone', '--nproc_per_node', '8', *run]]
    assert os.environ['OMP_NUM_THREADS'] == '1'
    for name, value in dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='first',
                            PORT='1234').items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        command.run('train', words)
    assert started[1:] == [[
        LAUNCH, '--nnodes', '2', '--node_rank', '1', '--master_addr', 'first',
        '--master_port', '1234', '--nproc_per_node', '8', *run]]
    with pytest.raises(SystemExit):
        command.run('test', ['config.py', 'none', '--gpus', '1'])
    assert started[2][4:] == [
        MAIN, 'test', 'config.py', 'none', '--gpus', '1', '--launcher', 'pytorch']


@pytest.mark.parametrize('words, env, sentence', [
    (['--gpus', '0'], {}, '0 is not above zero'),
    (['--gpus', 'x'], {}, "invalid int value: 'x'"),
    (['--gpus', '2', '--launcher', 'slurm'], {}, 'leave out --launcher slurm'),
    (['--gpus', '2'], dict(NNODES='2'), 'set MASTER_ADDR too'),
    (['--gpus', '2'], dict(NNODES='two'), "is the number of machines, not 'two'")])
def test_what_cannot_be_started_is_said(started, monkeypatch, capsys, words, env,
                                        sentence):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        command.run('train', ['config.py', *words])
    assert ended.value.code == 2 and not started
    assert sentence in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused(monkeypatch, capsys):
    from vita_mm.cli import launch
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    words = torchrun(4, ['script.py', '--nproc_per_node', '1'])
    monkeypatch.setattr(sys, 'argv', words[1:])
    with pytest.raises(SystemExit) as ended:
        launch.run()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        'error: 4 processes were asked for, one a GPU, and this machine has 2\n')


# Suites, configs, completion


def test_a_suite_is_prepared_by_a_verb_or_a_script(tmp_path, monkeypatch):
    commands, codes = [], [0, 0, 3]

    def run(words, **options):
        commands.append(words)
        return subprocess.CompletedProcess(words, codes[len(commands) - 1])

    monkeypatch.setattr(subprocess, 'run', run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'own.py').touch()
    prepare('mini --seed 1')
    prepare('own.py "a b"')
    with pytest.raises(UserError, match='did not make the data of the suite'):
        prepare('configs/vita_mini.py')
    assert commands == [[sys.executable, MAIN, 'mini', '--seed', '1'],
                        [sys.executable, 'own.py', 'a b'],
                        [sys.executable, str(ROOT / 'configs/vita_mini.py')]]


def test_configs_are_listed_and_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command.run('configs', ['xclip'])
    listed = capsys.readouterr().out.split()
    assert 'configs/xclip/mini.py' in listed
    assert all('xclip' in name and (ROOT / name).is_file() for name in listed)
    command.run('configs', ['--copy'])
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob('*.py')} == {
        path.relative_to(ROOT) for path in (ROOT / 'configs').rglob('*.py')}
    assert [path.name for path in tmp_path.iterdir()] == ['configs']
    with pytest.raises(SystemExit):
        command.run('configs', ['--copy', 'configs'])
    assert 'configs is there already' in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


COMPLETE = r"""
eval "$(cat script)"
while read -r line; do
  read -ra COMP_WORDS <<< "$line"
  [[ $line != *' ' ]] || COMP_WORDS+=('')
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=${#line}
  COMPREPLY=()
  function=$(complete -p vita-mm | sed 's/.*-F \([^ ]*\).*/\1/')
  "$function" vita-mm "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
  echo "${COMPREPLY[*]}"
done
"""
COMPLETED = {
    'vita-mm pre': {'predict', 'prepare'}, 'vita-mm train --res': {'--resume'},
    'vita-mm train my': {'myclip.mp4'}, 'vita-mm predict --checkpoint my': {'myclip.mp4'},
    'vita-mm prepare hm': {'hmdb51'}, 'vita-mm train --launcher s': {'slurm'},
    'vita-mm suite p': {'plan'}}


def test_bash_completes_verbs_options_and_files(tmp_path, capsys):
    assert command.run('completion', ['bash']) == 0
    (tmp_path / 'script').write_text(capsys.readouterr().out)
    (tmp_path / 'myclip.mp4').touch()
    done = subprocess.run(['bash', '--norc', '-c', COMPLETE], cwd=tmp_path, text=True,
                          input=''.join(f'{line}\n' for line in COMPLETED),
                          capture_output=True, check=True)
    assert not done.stderr
    assert dict(zip(COMPLETED, map(set, map(str.split, done.stdout.splitlines())),
                    strict=True)) == COMPLETED


@pytest.mark.parametrize('shell', ['zsh', 'fish'])
def test_other_shells_have_a_script(capsys, shell):
    assert command.run('completion', [shell]) == 0
    said = capsys.readouterr().out
    assert 'vita-mm' in said and 'configs' in said and '--resume' in said
