"""What the full-size systems cost: our own counts, pinned."""
import pytest
from vita_mm.analysis import costs
from vita_mm.cli.main import run

# Parameters, those trained, MAC of a view, with every token, of the text; bytes of the
# memory of a clip, of the text, of the checkpoint.
COUNTS = {
    'frozen CLIP': (
        149_620_737, 1, 130_784_722_944, 140_507_627_520,
        48_471_843_840, 82_280_448, 0, 250),
    'Vita-CLIP, 8 frames': (
        186_866_689, 37_245_953, 131_861_643_264, 141_625_491_456,
        175_292_309_504, 733_352_640, 1_360_339_776, 148_991_210),
    'Vita-CLIP, 8 frames, Mc = 16': (
        188_505_089, 38_884_353, 131_861_643_264, 141_625_491_456,
        288_916_742_144, 733_352_640, 2_247_594_920, 155_544_810),
    'Vita-CLIP, 16 frames': (
        186_946_561, 37_325_825, 264_038_645_760, 283_604_877_312,
        175_292_309_504, 1_489_523_392, 1_360_339_776, 149_310_698),
    'X-CLIP, 8 frames': (
        194_929_153, 131_501_056, 144_039_247_872, 144_039_247_872,
        48_471_843_840, 1_178_958_640, 0, 526_004_474),
    'X-CLIP, 16 frames': (
        194_933_249, 131_505_152, 285_617_750_016, 285_617_750_016,
        48_471_843_840, 2_311_947_824, 0, 526_020_858),
    'X-CLIP, 32 frames': (
        194_941_441, 131_513_344, 568_782_225_408, 568_782_225_408,
        48_471_843_840, 4_599_763_208, 0, 526_053_626),
    'ActionCLIP, 32 frames': (
        168_574_465, 168_574_465, 523_749_163_008, 562_640_781_312,
        960_457_021_440, 4_251_332_104, 101_208_072, 674_298_106),
    'A6 (Ju et al.), 16 frames': (
        155_973_120, 6_352_384, 261_670_633_472, 281_116_442_624,
        276_970_546_176, 154_877_952, 2_504_793_240, 25_409_782),
    'EVL, 8 frames': (
        119_376_016, 33_183_376, 151_293_480_960, 151_293_480_960,
        0, 264_594_800, 0, 132_740_902),
    'ViFi-CLIP, 16 frames': (
        149_620_737, 124_323_841, 261_569_445_888, 281_015_255_040,
        62_465_183_744, 2_131_573_000, 845_324_192, 497_295_610),
}
QUICK = {'EVL, 8 frames'}


@pytest.mark.parametrize('row', [
    pytest.param(row, id=row.label, marks=[] if row.label in QUICK else pytest.mark.slow)
    for row in costs.ROWS])
def test_counts(row):
    found = costs.count(row)
    assert tuple(vars(found).values()) == COUNTS[row.label]
    text = costs.report([(row, found)])
    assert row.label in text
    if row.label == 'Vita-CLIP, 8 frames':
        assert '| 37.25 | 38.88 |' in text and '| 97 |' in text


def test_a_narrow_console_does_not_cut_the_names(monkeypatch, capsys):
    monkeypatch.setenv('COLUMNS', '80')
    assert run('costs', ['configs/frozen_clip/k400.py']) == 0
    assert '| configs/frozen_clip/k400.py |' in capsys.readouterr().out
