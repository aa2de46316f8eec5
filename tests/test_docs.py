"""What the README and the pages of docs/ say can be said: commands, links, the tree."""
import re
import shlex
from pathlib import Path

import pytest
from vita_mm.cli.main import VERBS, make_parser
from vita_mm.engine.runs import load_config, override

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted(ROOT.glob('docs/*.md'))]
# What a reader puts in, and what the tests do.
PLACES = {
    'CONFIG': 'configs/vita_mini.py', '$CKPT': 'work_dirs/vita_k400', '8)': '8',
    'VIDEO...': 'video.mp4', 'NAME': 'hmdb51', 'FOLDER...': 'work_dirs'}
# A script of tools/ to its verb.
SCRIPTS = {
    'prepare_dataset': 'prepare', 'check_dataset': 'check', 'check_parity': 'parity',
    'convert_checkpoint': 'convert', 'mlflow_sync': 'sync', 'make_mini': 'mini',
    'run_ablations': 'suite', 'zero_shot': 'zero-shot', 'dist_train': 'train',
    'dist_test': 'test', 'dist_zero_shot': 'zero-shot', 'slurm_train': 'train'}
COMMAND = re.compile(
    r'^(?:[A-Z_]+=\S+ )*(?:(?:python )?(?:tools|benchmarks)/(?P<script>\w+)\.(?:py|sh)'
    r'|(?P<bare>run_ablations)\.py|vita-mm (?P<verb>[a-z-]+))(?P<rest>(?: .*)?)$')


def commands(page: Path) -> list[str]:
    """The lines of its blocks of shell code, and what stands between backticks."""
    text = page.read_text(encoding='utf-8')
    blocks = re.findall(r'^```(?:bash|sh|console)\n(.*?)^```', text, re.S | re.M)
    lines = '\n'.join(blocks).replace('\\\n', ' ').split('\n')
    prose = re.sub(r'^```.*?^```', '', text, flags=re.S | re.M)
    indented = re.findall(r'^ {4}(\S.*)$', prose, re.M)
    return [re.split(r'  #| > ', line)[0].strip() for line in [
        *lines, *indented, *re.findall(r'`([^`\n]+)`', prose)]]


def words_of(line: str) -> tuple[str, list[str]] | None:
    """A command's verb and its arguments; None for a line that is none of ours, or that
    only names a script."""
    found = COMMAND.match(line)
    if not found or '=' in line.split()[0] and 'NODE' not in line:
        return None
    script = found['script'] or found['bare']
    if line.startswith('tools/test.sh'):  # its arguments are pytest's
        return None
    verb = found['verb'] or SCRIPTS.get(script, script.replace('_', '-'))
    words = [PLACES.get(word, word) for word in shlex.split(
        re.sub(r'\[(--[^\]]*)\]', r'\1', found['rest']).replace('…', ''))]
    if not words:
        return None
    if script and script.startswith('dist_'):
        place = 1 if verb == 'train' else 2
        assert words[place].isdigit(), line
        words = words[:place] + words[place + 1:]
    if script == 'slurm_train':
        words = words[2:]
    return verb, expand(words)


def expand(words: list[str]) -> list[str]:
    """Braces as the shell takes them."""
    result = []
    for word in words:
        found = re.fullmatch(r'(.*)\{(.*)\}(.*)', word)
        result += [found[1] + part + found[3] for part in found[2].split(',')] \
            if found and ',' in found[2] else [word]
    return result


CASES = [(page.name, line) for page in PAGES for line in dict.fromkeys(commands(page))
         if words_of(line)]


@pytest.fixture(scope='module')
def parser():
    return make_parser()


@pytest.mark.parametrize('page, line', CASES)
def test_a_command_is_one(parser, page, line):
    verb, words = words_of(line)
    if verb not in VERBS:
        check_script(verb, words, f'{page}: {line}')
        return
    try:
        args = parser.parse_args([verb, *words])
    except SystemExit as end:
        assert not end.code, f'{page}: {line}'
        return
    for word in words:
        if word.startswith('configs/') and '*' not in word:
            assert (ROOT / word).exists(), f'{page}: {line}: there is no {word}'
    options = getattr(args, 'cfg_options', None)
    config = getattr(args, 'config', None)
    if options and config and verb in ('train', 'test'):
        override(load_config(ROOT / config), options, line)


def check_script(name, words, place):
    """A script that is no verb: it is there, and has the options in its text."""
    path, = [*ROOT.glob(f'benchmarks/{name}.py'), *ROOT.glob(f'tools/{name}.sh')]
    options = [word for word in words if word.startswith('--')]
    assert all(option in path.read_text(encoding='utf-8') for option in options), place


def test_there_are_commands():
    assert len(CASES) > 30


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding='utf-8')
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        if target.startswith(('http:', 'https:')):
            continue
        path, _, anchor = target.partition('#')
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f'{page.name}: {target}'
        if anchor:
            heads = re.findall(r'^#+ (.*)$', other.read_text(encoding='utf-8'), re.M)
            assert anchor in {
                re.sub(r'[^\w\- ]', '', head.lower()).replace(' ', '-') for head in heads
            }, f'{page.name}: {target}'


def test_paths_that_are_named_are_there():
    for page in PAGES:
        for name in re.findall(
                r'`((?:vita_mm|configs|benchmarks|tools|tests|docs)/[\w./-]+)`',
                page.read_text(encoding='utf-8')):
            if re.search(r'[A-Z]{4}|/[A-Z]\b', name) is None:  # one to fill in
                assert (ROOT / name).exists(), f'{page.name}: there is no {name}'


def test_the_readme_is_a_page_and_its_tree_is_the_tree():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert len(text.splitlines()) <= 150
    tree = re.search(r'## The tree\n+```\n(.*?)```', text, re.S)[1].splitlines()
    assert len(tree) <= 15
    named = set()
    for line in tree:
        folder = ''
        for name in re.split(r', ', line.split('  ')[0].strip()):
            path = Path(name if '/' in name.rstrip('/') or not folder
                        else f'{folder}/{name}')
            assert (ROOT / path).is_dir(), line
            named.add(str(path))
            folder = str(path.parent)
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / 'vita_mm').rglob('*.py')}
    packages = {str(folder) for folder in folders if len(folder.parts) == 2}
    assert packages == {name for name in named if name.startswith('vita_mm')}
    top = {path.name for path in ROOT.iterdir() if path.is_dir()
           and not path.name.startswith('.') and any(path.rglob('*.md')) or
           path.name == 'configs'}
    assert {name for name in named if '/' not in name} >= {
        'configs', 'benchmarks', 'tools', 'tests', 'docs'} & top


def test_every_page_is_listed_in_the_readme():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    for page in ROOT.glob('docs/*.md'):
        assert f'docs/{page.name}' in text, page.name
