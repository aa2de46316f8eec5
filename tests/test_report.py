"""Published figures, suites, verdicts, claims and reports, on made-up measurements."""
import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import pytest
from rich.console import Console
from vita_mm.harness.report.claims import order_agreement
from vita_mm.harness.report.figures import draw
from vita_mm.errors import UserError
from vita_mm.harness.report.console import print_report
from vita_mm.harness.report.content import compose
from vita_mm.harness.report.exports import to_csv, to_latex
from vita_mm.harness.report.markdown import make_markdown
from vita_mm.harness.report.provenance import Provenance, find_provenance
from vita_mm.harness.report.report import publish_report, write_report
from vita_mm.harness.report.results import (
    Cell,
    Check,
    RowResult,
    Step,
    TableResult,
    others_of,
)
from vita_mm.harness.report.statistics import Estimate
from vita_mm.harness.report.tables import print_table, remarks_on
from vita_mm.harness.run.folder import RunFolder
from vita_mm.harness.spec.published import read_published
from vita_mm.harness.spec.suite import (
    ROOT,
    Claim,
    Column,
    Row,
    Suite,
    Table,
    has_cell,
    read_suite,
)

PUBLISHED = read_published()
COMMIT = 'a1b2c3d4e5f60718'
CLEAN = Provenance({'torch': '2.9.0', 'cpu': 'EPYC', 'cores': '2'}, (COMMIT,), 0, 12,
                   5000., ('2026-01-31',))


@pytest.fixture(scope='module', params=['mini', 'paper'])
def suite(request):
    return read_suite(request.param)


def test_the_form_of_class_names_stands_below_the_table(suite):
    table = suite.tables[0]
    row, (name, column) = table.rows[0], next(iter(table.columns.items()))
    cell = Cell(column, 'done', {0: 50.}, class_names='as "ApplyEyeMakeup"')
    result = TableResult(table, [RowResult(row, {name: cell})], {})
    assert f'{column.title}: class names as "ApplyEyeMakeup"' in remarks_on(suite, result)


def estimated(value, half=2., **more):
    return Estimate(value, value - half, value + half, 0.01, 3, 768, 1., 1., 1., **more)


def measure(suite, value=lambda figure, seed: 50 + seed, seeds=1, intervals=False):
    """Results of a suite whose every number is made up."""
    results = []
    for table in suite.tables:
        rows = []
        for row in table.rows:
            cells = {}
            for name in filter(lambda name: has_cell(row, name), table.columns):
                figure = PUBLISHED.get((table.name, row.published, name))
                values = {seed: value(figure, seed)
                          for seed in range(seeds if row.train else 1)}
                column = table.column(row, name)
                cells[name] = Cell(column, 'done', values, videos=100, paper=figure,
                                   spreads=dict.fromkeys(values, 0.6) if column.std
                                   else {})
            rows.append(RowResult(row, cells))
            if intervals:
                rows[-1].steps = {name: estimated(1.) for name in cells if rows[1:]}
                for cell in cells.values():
                    cell.estimate = estimated(cell.mean)
        results.append(TableResult(table, rows, others_of(table, PUBLISHED)))
    return results


def as_published(figure, seed):
    return figure.value + 0.02 * seed if figure else 30.0 + seed


def test_every_row_of_the_paper_is_there_with_its_numbers():
    rows = {table: len({row for name, row, _ in PUBLISHED if name == table})
            for table in ('table1', 'table2', 'table3', 'table4', 'table5', 'table6')}
    assert list(rows.values()) == [16, 7, 10, 7, 3, 5] and len(PUBLISHED) == 97
    typed = {
        ('table1', 'vita_8f_1x1', 'top5'): (95.9, None),
        ('table1', 'vita_16f_4x3', 'top1'): (82.9, None),
        ('table1', 'vita_16f_4x3', 'gflops'): (190, None),
        ('table1', 'swin_b_in1k', 'gflops'): (282, None),
        ('table1', 'a6', 'top5'): (93.5, None),
        ('table2', 'vita', 'top1'): (48.7, None),
        ('table2', 'b2', 'top1'): (38.1, None),
        ('table3', 'er_zsar', 'hmdb51'): (35.3, 4.6),
        ('table3', 'e2e', 'ucf101'): (48, None),
        ('table3', 'vita', 'ucf101'): (75.0, 0.6),
        ('table4', 'xclip_b16', 'top1'): (65.2, 0.4),
        ('table5', 'xclip_zero_shot', 'k400'): (78.2, None),
        ('table5', 'vita', 'parameters'): (38.88, None),
        ('table6', 'csc', 'top1'): (73.00, None)}
    assert typed == {key: (PUBLISHED[key].value, PUBLISHED[key].std) for key in typed}
    assert ('table1', 'evl_b16', 'top5') not in PUBLISHED  # printed as a dash
    assert PUBLISHED['table6', 'csc', 'top1'].source.endswith('Table 6, row 2')


def test_a_suite_has_all_tables_figures_and_ablations(suite):
    tables = {table.name: table for table in suite.tables}
    assert list(tables) == [*(f'table{number}' for number in range(1, 7)),
                            'fig1b', 'fig3', 'fig4', 'fig5']
    assert {row.x for row in tables['fig4'].rows} == {0, 1, 4, 8, 16, 32}
    assert {(row.tags['mc'], row.tags['context']) for row in tables['fig5'].rows} == {
        (0, 'none'), *((mc, kind) for mc in (8, 16, 32) for kind in ('uc', 'csc'))}
    assert {row.published for row in tables['table6'].rows} == {
        'clip', 'csc', 'csc_g', 'csc_g_l', 'csc_g_l_s'}
    for table, row in suite.rows():
        if row.published and table.name.startswith('table'):
            assert any((table.name, row.published, name) in PUBLISHED
                       for name in table.columns), row.id
        tests = [table.column(row, name).test for name in table.columns
                 if has_cell(row, name)]
        assert all((ROOT / path).exists() for path in filter(None, [row.train, *tests]))
    # All but the paper's comparators are there.
    assert not [row for table in suite.tables for row in others_of(table, PUBLISHED)
                if row.startswith(('vita', 'csc', 'clip'))]


def make_cell(state='done', values=None, paper=PUBLISHED['table6', 'csc', 'top1'],
              **column):
    return Cell(Column('top1', 'Top-1', **column), state, values or {}, paper=paper)


@pytest.mark.parametrize('cell, verdict', [
    (make_cell(values={0: 73.5}), 'reproduced'),
    (make_cell(values={0: 72.4, 1: 72.6}), 'reproduced'),
    (make_cell(values={0: 73.51}), 'above'),
    (make_cell(values={0: 72.49}), 'below'),
    (make_cell(values={0: 73.1}, tolerance=0.05), 'above'),
    (make_cell(values={0: 73.1}, paper=None), 'no published figure'),
    *((make_cell(state, {0: 73.0}), state)
      for state in ('failed', 'stale', 'not run'))])
def test_verdicts(cell, verdict):
    row = Row('table6', 'csc', 'CSC', train='x.py', tolerance=0.5)
    assert cell.verdict(Suite('s', 's', []), row) == verdict
    in_miniature = cell.verdict(Suite('s', 's', [], compared='order'), row)
    decided = verdict in ('reproduced', 'above', 'below')
    assert in_miniature == ('protocol differs' if decided else verdict)


def make_table(**rows):
    """A table of rows by name: values by seed."""
    column = Column('top1', 'Top-1')
    entries = [Row('t', name, name, train='x.py') for name in rows]
    return TableResult(Table('t', 'T', {'top1': column}, entries), [
        RowResult(row, {'top1': Cell(column, 'done' if rows[row.name] else 'not run',
                                     dict(enumerate(rows[row.name])), videos=144)})
        for row in entries])


def test_pairs_of_rows_in_the_order_of_the_paper():
    table = make_table(clip=[40], csc=[45], csc_g=[43], csc_g_l=[50], x=[99], y=[])
    for row in table.rows:
        row.cells['top1'].paper = PUBLISHED.get(('table6', row.row.name, 'top1'))
    assert order_agreement(table, 'top1') == (5, 6)


def write(suite, results, folder, provenance=CLEAN):
    return write_report(compose(suite, results, provenance), folder)


def test_the_report_on_values(tmp_path):
    suite = read_suite('paper')
    results = measure(suite, as_published, seeds=3)
    table1 = {row.row.name: row.cells for row in results[0].rows}
    table1['8f_1x1']['top1'].values = {0: 77.7}
    table1['8f_1x1']['top1'].unreadable = 12
    table1['8f_4x3']['top1'].state, table1['8f_4x3']['top1'].error = (
        'failed', 'Traceback\nRuntimeError: out of <memory>')
    table1['16f_4x3']['top1'] = make_cell('stale', {0: 66.6})
    page = write(suite, results, tmp_path)
    text = (tmp_path / 'report.md').read_text()
    for said in ('| 77.70 | 80.5 -2.80 below |', '| 48.62 ± 0.02 | 48.6 ± 0.6 +0.02 re',
                 '12 videos could not be read', '| – | 78.0 |', '| failed | 81.8 |',
                 '| stale |', r'failed: RuntimeError: out of \<memory\>',
                 'each kind of prompt adds', f'git.commit: {COMMIT}', 'torch: 2.9.0',
                 'no per-video predictions: run again'):
        assert said in text, said
    assert '66.6' not in text and 'Traceback' not in text
    assert text.index('E2E') < text.index('| ActionCLIP |') < text.index(
        '| Vita-CLIP, templates')
    shown = page.read_text()
    assert shown.count('src="data:image/png;base64,') == 3
    assert not re.search(r'src="(?!data:)|href="(?!#|tables/|figures/)|<script|<link|'
                         r'@import|url\(', shown)
    assert '&lt;memory&gt;' in shown and shown.count('<table class="numbers">') == 10
    assert not list(tmp_path.rglob('*.part'))


def test_the_report_on_order_has_nothing_of_the_paper(tmp_path):
    suite = read_suite('mini')
    write(suite, measure(suite), tmp_path)
    values = {f'{figure.value:g}' for figure in PUBLISHED.values()
              if figure.metric != 'gflops' and figure.value % 1}
    for path in [tmp_path / 'report.md', *tmp_path.glob('tables/*')]:
        text = path.read_text().replace('2.9.0', '').replace('section 4.5', '')
        assert '80.51' in values and not set(re.findall(r'\d+\.\d+', text)) & values, path
    text = (tmp_path / 'report.md').read_text()
    assert "0 of 10 pairs of rows stand in the paper's order" in text
    assert '<th scope="col" class="paper">' not in (tmp_path / 'report.html').read_text()


def test_a_suite_of_which_nothing_is_published_has_no_order():
    suite = read_suite('mini')
    results = measure(suite)
    for cell in (cell for result in results for row in result.rows
                 for cell in row.cells.values()):
        cell.paper = None
    text = make_markdown(compose(suite, results, CLEAN), [])
    assert 'Table 6' in text and 'pairs of rows stand' not in text


def ladder(label='CSC & <b>G</b>', claim='it <i>helps</i>', title='T', note=None):
    """A suite of two rows with intervals and a claim that is open, and its report."""
    column = Column('top1', 'Top-1')
    rows = [Row('t', 'clip', 'CLIP', test='x.py'),
            Row('t', 'csc', label, train='x.py', note=note)]
    claim = Claim(claim, 'rising', ['clip', 'csc'], 'section 4')
    table = Table('t', title, {'top1': column}, rows, [claim])
    suite = Suite('s', title, [table], compared='order')
    runs = Path('/out/runs/a b,"c"@<d>')
    cells = [Cell(column, 'done', {0: 24.5}, videos=768, estimate=estimated(24.5)),
             Cell(column, 'done', {0: 58., 1: 60., 2: 62.}, videos=768,
                  estimate=estimated(60.), folders={
                      seed: runs / f'seed{seed}' for seed in range(3)})]
    result = TableResult(table, [RowResult(row, {'top1': cell})
                                 for row, cell in zip(rows, cells)])
    result.rows[1].steps = {'top1': estimated(35.5)}
    step = Step(f'{label} - CLIP', estimated(35.5, needed_seeds=14), 0.02, 'undecided')
    report = compose(suite, [result], CLEAN)
    checks = [Check(claim, 'undecided', [step])]
    return replace(report, checks=checks,
                   tables=[print_table(suite, result, checks)])


class Reader(HTMLParser):
    """What a browser sees: tags with their attributes, and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ''
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += f'{data} '


def test_a_line_has_seeds_interval_difference_and_what_they_decide(tmp_path):
    page = write_report(ladder(), tmp_path / 'report')
    seen = Reader(page.read_text())
    words = ' '.join(seen.text.split())
    for said in ('60.00 ± 2.00', '+35.50 [+33.50, +37.50]', '3 seeds, 768 videos',
                 'would need 14 seeds', 'commit a1b2c3d4e (clean)', 'machine EPYC, 2 c'):
        assert said in words, said
    row, = (tag for tag in seen.tags if tag[1].get('aria-label', '').startswith('seeds'))
    assert row[1]['aria-label'] == 'seeds 58.00, 60.00, 62.00; interval 58.00 to 62.00'
    assert sum(tag == 'circle' for tag, _ in seen.tags) == 3 + 3  # and of the legend
    chips = [attrs for tag, attrs in seen.tags
             if 'chip' in (attrs.get('class') or '').split()]
    assert [chip['class'] for chip in chips] == ['chip undecided'] * 3
    targets = {attrs.get('id') for _, attrs in seen.tags}
    links = [attrs['href'] for tag, attrs in seen.tags if tag == 'a']
    assert {link[1:] for link in links if link.startswith('#')} <= targets
    runs = [link for link in links if link.startswith('../../')]
    assert len(runs) == 3 and runs[1].endswith('/a%20b%2C%22c%22%40%3Cd%3E/seed1')
    for link in ('tables/t.csv', 'tables/t.tex'):
        assert link in links and (page.parent / link).is_file()


def test_no_column_says_the_same_in_every_line():
    suite = read_suite('paper')
    report = compose(suite, measure(suite, as_published, seeds=2, intervals=True), CLEAN)
    for printed in [*report.tables, *ladder().tables]:
        for place, head in enumerate(printed.heads[1:]):
            items = [line.items[place] for line in printed.lines]
            assert head.kind == 'ours' or len(items) == 1 or any(
                item != items[0] for item in items), (head, printed.result.table.name)
    assert [head.kind for head in ladder().tables[0].heads] == [
        'row', 'ours', 'difference', 'claim']


PAYLOADS = [
    '<script>alert(1)</script>', '<img src=x onerror=alert(1)>', '"><svg onload=a()>',
    "' onmouseover='a()", '{{ 7 * 7 }}', '{% raw %}', '[a](javascript:alert(1))',
    '![a](http://x/y.png)', '`code` *bold* _it_ ~~no~~', '| a | b |', '# head',
    '&lt;b&gt;', 'a\nb', '\\write18{ls} \\input{x} $x^2$ 50% a_b #1 ~ {', 'x\x1b[31m',
    '</title><b>', '<!-- ', '\u202eabc', '=cmd()']


@pytest.mark.parametrize('payload', PAYLOADS)
def test_texts_are_shown_and_do_nothing(payload, tmp_path):
    report = ladder(payload, payload, payload, payload)
    report = replace(report, provenance=replace(CLEAN, machine={'cpu': payload}))
    other = replace(ladder('CSC', 'it', 'T', 'n'), provenance=replace(
        CLEAN, machine={'cpu': 'EPYC'}))
    plain, seen = (Reader(write_report(each, tmp_path).read_text())
                   for each in (other, report))
    ours, theirs = ([tag for tag, _ in page.tags] for page in (seen, plain))
    assert ours == theirs
    assert {name for _, attrs in seen.tags for name in attrs} == {
        name for _, attrs in plain.tags for name in attrs}
    words = ' '.join(payload.split())
    assert ' '.join(seen.text.split()).count(words) > 4
    assert '$x' not in (tmp_path / 'report.md').read_text().replace(r'\$', '')
    tex = to_latex(report.suite, report.results[0])
    assert tex.count('{') - tex.count(r'\{') == tex.count('}') - tex.count(r'\}')
    assert not re.search(r'\\(write|input)|(?<!\\)[%_#]', tex.replace('{%\n', ''))
    assert '{{ 7' not in payload or '49' not in seen.text


def test_runs_say_where_they_come_from(tmp_path):
    def finish(name, commit, dirty, seconds):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        folder.finish(seconds=seconds, environment={'env.torch': '2.9.0'},
                      git={'git.commit': commit, 'git.dirty': dirty} if commit else {})
        return SimpleNamespace(folder=folder, done=True)

    runs = dict(a=finish('a', COMMIT, 'false', 60.), b=finish('b', COMMIT, 'false', 30.),
                c=SimpleNamespace(done=False))
    found = find_provenance(SimpleNamespace(runs=runs))
    assert found.fault is None and (found.runs, found.seconds) == (2, 90)
    assert found.machine == {'torch': '2.9.0', 'precision': 'float32'}
    for commit, dirty, why in [(COMMIT, 'true', '1 of 3 runs'), ('', '', 'checkout'),
                               ('ffff0', 'false', '2 commits')]:
        runs['c'] = finish(f'c{commit}{dirty}', commit, dirty, 1.)
        assert why in find_provenance(SimpleNamespace(runs=runs)).fault


def test_only_one_clean_commit_is_published(tmp_path):
    place = tmp_path / 'kept'
    for provenance, why in [
            (replace(CLEAN, commits=(COMMIT, 'ffff0')), 'of 2 commits (a1b2c3d4e, ffff0'),
            (replace(CLEAN, dirty=3), '3 of 12 runs were made with changes'),
            (replace(CLEAN, commits=('',)), 'without a checkout'),
            (Provenance(), 'no run is done')]:
        report = replace(ladder(), provenance=provenance)
        with pytest.raises(UserError, match=re.escape(why)):
            publish_report(report, place)
        page = write_report(report, tmp_path / 'report').read_text()
        assert 'class="warning">Not to be published: ' in page and not place.exists()
        assert '**Not to be published' in (tmp_path / 'report/report.md').read_text()
    (place / 'tables').mkdir(parents=True)
    (place / 'tables/old.csv').write_text('')
    (place / 'picture.png').write_text('')
    page = publish_report(ladder(), place).read_text()
    assert 'Not to be published' not in page and 'seed1"' not in page
    assert {path.name for path in place.rglob('*.*')} == {
        'report.html', 'report.md', 't.csv', 't.tex', 'picture.png'}


def test_tables_for_a_paper(suite):
    for result in measure(suite, as_published, seeds=2, intervals=True):
        table = result.table
        lines = list(csv.DictReader(io.StringIO(to_csv(suite, result))))
        measured = {(line['row'], line['column']): line
                    for line in lines if line['ours']}
        assert len(measured) == sum(has_cell(row, name) for row in table.rows
                                    for name in table.columns)
        if table.name == 'table6':
            assert float(measured['csc', 'top1']['ours']) == pytest.approx(73.01)
            assert measured['csc', 'top1']['seeds'] == '2'
            assert ('paper' in lines[0]) == (suite.compared == 'values')
        text = to_latex(suite, result)
        assert text.isascii() and text.count('{') == text.count('}')
        assert not re.search(r'(?<!\\)[%_#]', text.replace('{%\n', ''))
        form, = re.findall(r'tabular}{(.+)}$', text, re.M)
        width = len(re.sub('@{.*?}', '', form))
        for line in re.findall(r'^.*\\\\$', text.split('midrule\n')[1], re.M):
            assert len(re.findall(r'(?<!\\)&', line)) == width - 1


def test_a_table_of_latex():
    report = ladder('CSC')
    tex = to_latex(report.suite, report.results[0])
    assert (r'CSC & \textbf{60.00} & $\pm$ & 2.00 & $+35.50$ & $[+33.50, +37.50]$ \\'
            in tex)
    assert r'CLIP & \underline{24.50} &' in tex and 'section 4' not in tex
    for said in ('over 3 seeds, $n = 768$ videos', 'at most 2.0', 'second underlined'):
        assert said in tex.split('caption')[1].split('label')[0], said


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('pdflatex') is None, reason='needs pdflatex')
def test_latex_compiles(suite, tmp_path):
    write(suite, measure(suite, as_published, seeds=2, intervals=True), tmp_path)
    reports = [ladder(payload, title=payload) for payload in PAYLOADS]
    tables = [path.read_text() for path in sorted(tmp_path.glob('tables/*.tex'))]
    tables += [to_latex(report.suite, report.results[0]) for report in reports]
    (tmp_path / 'all.tex').write_text('\n'.join([
        r'\documentclass{article}', r'\usepackage[T1]{fontenc}',
        r'\usepackage{booktabs,graphicx}', r'\begin{document}',
        *(table + r'\clearpage' for table in tables),
        r'\end{document}']))
    done = subprocess.run(['pdflatex', '-interaction=nonstopmode', '-halt-on-error',
                           'all.tex'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    wide = re.findall(r'Overfull .hbox \(([\d.]+)pt', done.stdout)
    assert not [points for points in wide if float(points) > 1]


def test_figures(suite, tmp_path):
    results = {result.table.name: result for result in measure(suite, seeds=2)}
    assert draw(results['table1'], suite) is None
    [legend] = draw(results['fig1b'], suite).legends
    legend = [text.get_text() for text in legend.texts]
    assert {'CLIP (zero-shot)', 'Vita-CLIP'} <= set(legend)
    paper = [text for text in legend if 'paper' in text]
    assert len(paper) == (3 if suite.compared == 'values' else 0)
    axes = draw(results['fig5'], suite).axes[0]
    places = [tuple(bars.lines[0].get_xdata()) for bars in axes.containers]
    assert len({x for line in places for x in line}) == 6  # no bar hides another
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ['8', '16', '32']
    assert len(axes.get_legend().texts) == 3
    for row in results['fig4'].rows[1:]:
        row.cells['top1'].state = 'failed'
    assert draw(results['fig4'], suite) is not None
    write(suite, [results['fig4']], tmp_path)
    path = tmp_path / 'figures/fig4.png'
    assert path.read_bytes().startswith(b'\x89PNG')
    assert path.with_suffix('.pdf').read_bytes().startswith(b'%PDF')
    results['fig4'].rows[0].cells['top1'].state = 'stale'
    write(suite, [results['fig4']], tmp_path)
    assert not path.exists()  # the old one would show what no longer holds


def test_the_console_shows_the_suites_rows_only(suite):
    console = Console(file=io.StringIO(), width=200)
    print_report(compose(suite, measure(suite), CLEAN), console)
    said = console.file.getvalue()
    assert 'Vita-CLIP + CSC + G + L' in said and 'CSC gives better accuracy' in said
    assert ('80.51' in said) == (suite.compared == 'values')
    assert 'SlowFast' not in said
