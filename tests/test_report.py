"""Published figures, suites, verdicts, claims and reports, on made-up measurements."""
import csv
import io
import re

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import pytest
from rich.console import Console
from vita_mm.harness.report.claims import order_agreement
from vita_mm.harness.report.figures import draw
from vita_mm.harness.report.report import print_report, write_report
from vita_mm.harness.report.tables import remarks_on
from vita_mm.harness.report.results import Cell, RowResult, TableResult, others_of
from vita_mm.harness.spec.published import read_published
from vita_mm.harness.spec.suite import (
    ROOT,
    Column,
    Row,
    Suite,
    Table,
    has_cell,
    read_suite,
)

PUBLISHED = read_published()
MACHINE = {'torch': '2.9.0', 'git.commit': 'a1b2c3'}


@pytest.fixture(scope='module', params=['mini', 'paper'])
def suite(request):
    return read_suite(request.param)


def test_the_form_of_class_names_stands_below_the_table(suite):
    table = suite.tables[0]
    row, (name, column) = table.rows[0], next(iter(table.columns.items()))
    cell = Cell(column, 'done', {0: 50.}, class_names='as "ApplyEyeMakeup"')
    result = TableResult(table, [RowResult(row, {name: cell})], {})
    assert f'{column.title}: class names as "ApplyEyeMakeup"' in remarks_on(suite, result)


def measure(suite, value=lambda figure, seed: 50 + seed, seeds=1):
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
                            'fig1b', 'fig4', 'fig5']
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


def test_the_report_on_values(tmp_path):
    suite = read_suite('paper')
    results = measure(suite, as_published, seeds=3)
    table1 = {row.row.name: row.cells for row in results[0].rows}
    table1['8f_1x1']['top1'].values = {0: 77.7}
    table1['8f_1x1']['top1'].unreadable = 12
    table1['8f_4x3']['top1'].state, table1['8f_4x3']['top1'].error = (
        'failed', 'Traceback\nRuntimeError: out of <memory>')
    table1['16f_4x3']['top1'] = make_cell('stale', {0: 66.6})
    page = write_report(suite, results, MACHINE, tmp_path)
    text = (tmp_path / 'report.md').read_text()
    for said in ('| 80.5 | 77.70 (1 seed) | -2.80 | below |',
                 '48.62 ± 0.60 (splits) ± 0.02 (3 seeds)', '| 48.6 ± 0.6 |',
                 '12 videos could not be read', '| 78.0 | not run | - | not run |',
                 '| failed | - | failed |', '| stale | - | stale |',
                 r'failed: RuntimeError: out of \<memory\>',
                 'each kind of prompt adds', 'git.commit: a1b2c3', 'stale 1'):
        assert said in text, said
    assert '66.6' not in text and 'Traceback' not in text
    assert text.index('E2E') < text.index('| ActionCLIP |') < text.index(
        '| Vita-CLIP, templates')
    shown = page.read_text()
    assert shown.count('<img src="data:image/png;base64,') == 3
    assert not re.search(r'(src|href)="(?!data:)|<script|<link|@import|url\(', shown)
    assert '&lt;memory&gt;' in shown and shown.count('<table>') == 10
    assert not list(tmp_path.rglob('*.part'))


def test_the_report_on_order_has_nothing_of_the_paper(tmp_path):
    suite = read_suite('mini')
    write_report(suite, measure(suite), MACHINE, tmp_path)
    values = {f'{figure.value:g}' for figure in PUBLISHED.values()
              if figure.metric != 'gflops' and figure.value % 1}
    for path in [tmp_path / 'report.md', *tmp_path.glob('tables/*')]:
        found = set(re.findall(r'\d+\.\d+', path.read_text()))
        assert '80.51' in values and not found & values, path
    text = (tmp_path / 'report.md').read_text()
    assert "0 of 10 pairs of rows stand in the paper's order" in text
    assert '| 50.00 | 1 | 5 | protocol differs |' in text


def test_a_suite_of_which_nothing_is_published_has_no_order(tmp_path):
    suite = read_suite('mini')
    results = measure(suite)
    for cell in (cell for result in results for row in result.rows
                 for cell in row.cells.values()):
        cell.paper = None
    write_report(suite, results, MACHINE, tmp_path)
    text = (tmp_path / 'report.md').read_text()
    assert 'numbers: no published figure' in text and 'pairs of rows stand' not in text


def test_tables_for_a_paper(suite, tmp_path):
    write_report(suite, measure(suite, as_published, seeds=2), MACHINE, tmp_path)
    for table in suite.tables:
        text = (tmp_path / f'tables/{table.name}.csv').read_text()
        lines = list(csv.DictReader(io.StringIO(text)))
        measured = {(line['row'], line['column']): line
                    for line in lines if line['ours']}
        assert len(measured) == sum(has_cell(row, name) for row in table.rows
                                    for name in table.columns)
        if table.name == 'table6':
            assert float(measured['csc', 'top1']['ours']) == pytest.approx(73.01)
            assert measured['csc', 'top1']['seeds'] == '2'
            assert ('paper' in lines[0]) == (suite.compared == 'values')
        text = (tmp_path / f'tables/{table.name}.tex').read_text()
        assert text.isascii() and text.count('{') == text.count('}')
        assert not re.search(r'(?<!\\)[%_#]', text)
        widths = {len(re.findall(r'(?<!\\)&', line)) for line in text.splitlines()
                  if line.endswith(r'\\')}
        assert widths == {len(re.search(r'tabular}{(l+)}', text)[1]) - 1}


def test_figures(suite, tmp_path):
    results = {result.table.name: result for result in measure(suite, seeds=2)}
    assert draw(results['table1'], suite) is None
    [legend] = draw(results['fig1b'], suite).legends
    legend = [text.get_text() for text in legend.texts]
    assert {'CLIP (zero-shot)', 'Vita-CLIP'} <= set(legend)
    paper = [text for text in legend if 'paper' in text]
    assert len(paper) == (3 if suite.compared == 'values' else 0)
    axes = draw(results['fig5'], suite).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ['8', '16', '32']
    assert len(axes.get_legend().texts) == 3
    for row in results['fig4'].rows[1:]:
        row.cells['top1'].state = 'failed'
    assert draw(results['fig4'], suite) is not None
    write_report(suite, [results['fig4']], MACHINE, tmp_path)
    path = tmp_path / 'figures/fig4.png'
    assert path.read_bytes().startswith(b'\x89PNG')
    assert path.with_suffix('.pdf').read_bytes().startswith(b'%PDF')
    results['fig4'].rows[0].cells['top1'].state = 'stale'
    write_report(suite, [results['fig4']], MACHINE, tmp_path)
    assert not path.exists()  # the old one would show what no longer holds


def test_the_console_shows_the_suites_rows_only(suite):
    console = Console(file=io.StringIO(), width=200)
    print_report(suite, measure(suite), console)
    said = console.file.getvalue()
    assert 'Vita-CLIP + CSC + G + L' in said and 'CSC gives better accuracy' in said
    assert ('paper 80.51' in said) == (suite.compared == 'values')
    assert 'SlowFast' not in said
