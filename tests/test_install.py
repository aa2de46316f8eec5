"""It installs and imports where it says; shims act only where their fault is seen."""
import configparser
import os
import re
import runpy
import shutil
import subprocess
import sys
import warnings
import zipfile

import pytest
from mmengine.config import Config
from packaging.requirements import Requirement
from vita_mm import compat
from vita_mm.harness.run.closure import Closure
from world import ROOT

COMPAT = ROOT / 'vita_mm' / 'compat.py'


def call(*command, cwd=None, **env):
    return subprocess.run([str(part) for part in command], cwd=cwd, text=True,
                          capture_output=True, timeout=120, env=dict(os.environ, **env))


# Shims


# Starts from a process that has torch, but no torchvision: each case in a child of it.
CASES = f"""
import os, runpy, sys, torch
for folder, shim in zip(sys.argv[1::2], sys.argv[2::2]):
    if os.fork() == 0:
        os.dup2(os.open(folder + '/said', os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(1, 2)
        sys.path.insert(0, folder)
        if shim == 'with':
            runpy.run_path({str(COMPAT)!r})['declare_torchvision_ops']()
        import torchvision
        print(torchvision.extension.LOADED, torchvision.transforms.READY)
        sys.exit()
    os.wait()
"""


@pytest.fixture(scope='module')
def said(tmp_path_factory):
    """What importing torchvision says, by the case and whether our shim is there."""
    folder, cases = tmp_path_factory.mktemp('torchvision'), []
    for case in ('loads', 'does not load', 'other fault'):
        for shim in ('with', 'without'):
            package = folder / f'{case}, {shim}' / 'torchvision'
            package.mkdir(parents=True)
            if case == 'other fault':
                (package / '__init__.py').write_text('raise RuntimeError("other")')
            else:
                write_torchvision(package, case == 'loads')
            cases += [package.parent, shim]
    done = call(sys.executable, '-c', CASES, *cases)
    assert done.returncode == 0, done.stderr
    return {path.name: (path / 'said').read_text() for path in folder.iterdir()}


def write_torchvision(package, loads):
    """A torchvision as it is released; its operators load, or do not."""
    (package / 'extension.py').write_text(
        'import torch\n'
        f'LOADED = {loads}\n'
        'if LOADED:\n'
        '    for name in ("nms", "qnms"):\n'
        '        torch.library.define("torchvision::" + name, '
        '"(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")\n')
    (package / 'transforms.py').write_text('READY = True\n')
    (package / '__init__.py').write_text(
        'import torch\n'
        'from . import extension\n'
        'for name in ("nms", "qnms"):\n'
        '    torch.library.register_fake("torchvision::" + name)(lambda *given: None)\n'
        'from . import transforms\n')


def test_torchvision_imports_whether_its_operators_load_or_not(said):
    assert said['loads, without'] == said['loads, with'] == 'True True\n'
    assert 'operator torchvision::nms does not exist' in said['does not load, without']
    assert said['does not load, with'] == 'False True\n'


def test_another_fault_of_torchvision_stays_what_it_is(said):
    assert said['other fault, with'].endswith('RuntimeError: other\n')


LOCALIZERS = 'mmaction.models.localizers'


@pytest.mark.parametrize('source, folder, stands_in', [
    ('from .drn.drn import DRN', False, True),
    ('from .drn.drn import DRN', True, False),
    ('from .bmn import BMN', False, False)])
def test_a_localizer_stands_in_only_where_the_wheel_lacks_it(
        tmp_path, monkeypatch, source, folder, stands_in):
    package = tmp_path / LOCALIZERS.replace('.', '/')
    (package / 'drn' if folder else package).mkdir(parents=True)
    (package / '__init__.py').write_text(source)
    (tmp_path / 'mmaction' / '__init__.py').write_text('')
    monkeypatch.setattr(compat, 'folder_of', lambda name: tmp_path / name)
    for name in (f'{LOCALIZERS}.drn', f'{LOCALIZERS}.drn.drn'):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    compat.provide_missing_localizer()
    assert (f'{LOCALIZERS}.drn.drn' in sys.modules) is stands_in


@pytest.mark.parametrize('operators', [True, False])
def test_a_full_mmcv_without_its_operators_is_heard(tmp_path, monkeypatch, operators):
    if operators:
        (tmp_path / '_ext.cpython-311-x86_64-linux-gnu.so').touch()
    monkeypatch.setattr(compat, 'folder_of', lambda name: tmp_path)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter('always')
        compat.quiet_mmcv_lite()
        warnings.warn('Fail to import ``MultiScaleDeformableAttention`` from …',
                      stacklevel=1)
    assert len(heard) == operators


def test_the_import_that_mmengine_needs_is_quiet():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter('always')
        compat.quiet_pkg_resources()
        warnings.warn('pkg_resources is deprecated as an API. See …', stacklevel=1)
        warnings.warn('another', stacklevel=1)
    assert [str(warning.message) for warning in heard] == ['another']


# What is installed


def requirements():
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    lines = config['options']['install_requires'].splitlines()
    return [Requirement(line.partition(' #')[0]) for line in lines if line]


def test_the_pinned_set_is_within_the_bounds():
    pins = dict(re.findall(r'^([\w.-]+)==(\S+)$',
                           (ROOT / 'tools/constraints.txt').read_text(), re.M))
    pins = {re.sub('[-_.]+', '-', name).lower(): pin for name, pin in pins.items()}
    for requirement in requirements():
        name = re.sub('[-_.]+', '-', requirement.name).lower()
        assert requirement.specifier.contains(pins[name]), requirement


def test_everything_has_an_upper_bound():
    for requirement in requirements():
        assert {'<', '=='} & {bound.operator for bound in requirement.specifier}, \
            requirement


@pytest.fixture
def project(tmp_path):
    """A copy of what installs, its pip a script that writes down what it is asked for."""
    root = tmp_path / 'project'
    (root / 'tools').mkdir(parents=True)
    for name in ('setup.cfg', 'tools/common.sh', 'tools/constraints.txt',
                 'tools/test.sh', 'tools/install.sh'):
        shutil.copy(ROOT / name, root / name)
    return root


def write_python(path, version='3.11', has_venv=True):
    """An interpreter that is of some version, and makes environments of itself.

    It writes what pip is asked for to ``pip.log`` beside the project, with the content
    of the files that are named.
    """
    path.write_text(f'''#!/usr/bin/env bash
case "$*" in
  *version_info*) echo {version.replace('.', ' ')} ;;
  *ensurepip*) {'exit 0' if has_venv else 'exit 1'} ;;
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip "*)
    echo "pip $*" >> "$LOG"
    for word in "$@"; do
      case $word in *requirements.txt|*pins.txt) cat "$word" >> "$LOG" ;; esac
    done
    [ -z "${{FAIL:-}}" ] ;;
  "-m pytest"*|*"import cv2"*) exit 0 ;;
  *) exec {sys.executable} -S "$@" ;;  # what is installed here is not there
esac
''')
    path.chmod(0o755)
    return path


def run_script(project, script, *arguments, python, **env):
    env = dict(dict(VIRTUAL_ENV='', PYTHON=str(python), PYTHONPATH='',
                    LOG=str(project.parent / 'pip.log')), **env)
    return call('bash', project / 'tools' / script, *arguments, **env)


def asked(project):
    log = project.parent / 'pip.log'
    return log.read_text() if log.exists() else ''


@pytest.mark.parametrize('version, has_venv, sentence', [
    ('3.10', True, 'is Python 3.10; set PYTHON to a Python 3.11 to 3.13'),
    ('3.14', True, 'is Python 3.14; set PYTHON to a Python 3.11 to 3.13'),
    ('2.7', True, 'is Python 2.7; set PYTHON to a Python 3.11 to 3.13'),
    ('3.11', False, 'has no venv and ensurepip (Debian: python3.11-venv); set PYTHON')])
def test_an_interpreter_is_checked_before_anything_is_made(
        project, tmp_path, version, has_venv, sentence):
    python = write_python(tmp_path / 'python', version, has_venv)
    done = run_script(project, 'test.sh', python=python)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count('\n') == 1 and done.stderr.startswith('error: ')
    assert sentence in done.stderr
    assert not (project / '.venv').exists() and not asked(project)


def test_an_interpreter_that_does_not_run(project):
    done = run_script(project, 'test.sh', python='python3.99')
    assert done.returncode == 2
    assert done.stderr == ('error: python3.99 does not run; set PYTHON to a Python 3.11 '
                           'to 3.13\n')
    assert not (project / '.venv').exists()


def test_an_environment_is_made_once_and_anew_where_it_was_not_finished(
        project, tmp_path):
    python = write_python(tmp_path / 'python')
    failed = run_script(project, 'test.sh', python=python, FAIL='1')
    assert failed.returncode != 0
    (project / '.venv' / 'half').touch()
    assert run_script(project, 'test.sh', python=python).returncode == 0
    assert not (project / '.venv' / 'half').exists()
    installed = asked(project)
    assert f'-c {project}/tools/constraints.txt -e {project}[test]\n' in installed
    (project / '.venv' / 'whole').touch()
    assert run_script(project, 'test.sh', python=python).returncode == 0
    assert asked(project) == installed
    assert (project / '.venv' / 'whole').exists()


def test_an_environment_of_another_python_is_named_and_kept(project, tmp_path):
    (project / '.venv' / 'bin').mkdir(parents=True)
    write_python(project / '.venv' / 'bin' / 'python', '3.10')
    python = write_python(tmp_path / 'python')
    done = run_script(project, 'test.sh', python=python)
    assert done.returncode == 2 and not asked(project)
    assert f'.venv/bin/python is Python 3.10; remove {project}/.venv and' in done.stderr
    assert (project / '.venv' / 'bin' / 'python').exists()


def test_a_full_mmcv_stays_and_so_does_its_torch(project, tmp_path):
    packages = tmp_path / 'packages'
    for name, version in (('mmcv', '2.1.0'), ('torch', '2.14.0+cu999'),
                          ('torchvision', '0.29.0')):
        folder = packages / f'{name}-{version}.dist-info'
        folder.mkdir(parents=True)
        (folder / 'METADATA').write_text(f'Name: {name}\nVersion: {version}\n')
    python = write_python(tmp_path / 'python')
    done = run_script(project, 'install.sh', 'test', python=python,
                      PYTHONPATH=str(packages))
    assert done.returncode == 0, done.stderr
    lines = asked(project).splitlines()
    for line in ('mmcv==2.1.0', 'torch==2.14.0+cu999', 'torchvision==0.29.0',
                 'mmengine==0.10.7', 'pytest'):
        assert line in lines
    assert not [line for line in lines if 'mmcv-lite' in line
                and not line.startswith('mmcv-lite==')]  # a pin asks for nothing
    assert 'torch==2.13.0' not in lines
    assert lines[-1].endswith(f'--no-deps -e {project}')


# The wheel


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A folder of installed packages in which the project's wheel is."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    unwanted = shutil.ignore_patterns('__pycache__', '*.egg-info', 'results')
    for name in ('vita_mm', 'configs', 'benchmarks', 'tools'):
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for name in ('setup.py', 'setup.cfg', 'pyproject.toml', 'README.md'):
        shutil.copy(ROOT / name, source / name)
    built = call(sys.executable, '-c', 'import sys, setuptools.build_meta as build\n'
                 'print(build.build_wheel(sys.argv[1]))', folder, cwd=source)
    assert built.returncode == 0, built.stderr
    wheel, = folder.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / 'site')
    shutil.rmtree(source)
    return folder / 'site'


def test_a_wheel_has_all_that_the_verbs_need(site):
    def names(root, pattern):
        return sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))

    project = site / 'vita_mm' / 'project'
    for pattern in ('configs/**/*.py', 'benchmarks/suites/*.yaml'):
        assert names(project, pattern) == names(ROOT, pattern) != []
    for pattern in ('**/*.py', 'labels/**/*.csv', 'labels/**/*.txt', 'mini/*.json',
                    'harness/**/*.csv'):
        installed = names(site / 'vita_mm', pattern)
        assert set(installed) >= set(names(ROOT / 'vita_mm', pattern)) != set()


def test_the_command_of_a_wheel_works_in_any_folder(site, tmp_path):
    script, = site.glob('*.data/scripts/vita-mm')
    for arguments, said in ((['--help'], 'suite '), (['train', '--help'], '--resume')):
        done = call(sys.executable, script, *arguments, cwd=tmp_path,
                    PYTHONPATH=str(site))
        assert done.returncode == 0 and said in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_wheel_finds_its_project_after_the_current_folder(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = runpy.run_path(str(site / 'vita_mm' / 'io' / 'files.py'))
    project = site / 'vita_mm' / 'project'
    assert files['ROOT'] == project
    name = 'configs/vita_mini.py'
    assert files['locate'](name) == str(project / name)
    assert Config.fromfile(files['locate'](name)).model.backbone.num_global
    (tmp_path / 'configs').mkdir()
    (tmp_path / name).touch()
    assert files['locate'](name) == name
    # What is not the package's is found from another folder by its whole path alone.
    assert files['lasting'](name) == str(tmp_path / name)
    assert files['lasting'](str(project / name)) == name
    assert files['locate']('data/new') == 'data/new'


def test_libraries_of_another_environment_are_no_plugins(tmp_path, monkeypatch):
    library = tmp_path / 'site-packages' / 'elsewhere.py'
    library.parent.mkdir()
    library.touch()
    (tmp_path / 'plugin.py').touch()
    for folder in (tmp_path, library.parent):
        monkeypatch.syspath_prepend(folder)
    assert Closure().file_of('elsewhere') is None
    assert Closure().file_of('plugin') == tmp_path / 'plugin.py'
