"""Digests: contents count, are read once, and a change is never missed."""
import os
import time
from types import SimpleNamespace

import pytest
from vita_mm.io import digests
from vita_mm.io.digests import TRUSTED, digest_dataset, digest_file, digest_files


class Videos:
    """A dataset of the files that its list names."""

    def __init__(self, ann_file):
        self.ann_file = ann_file
        self.names = ann_file.read_text().split()

    def __len__(self):
        return len(self.names)

    def get_data_info(self, index):
        return dict(filename=str(self.ann_file.parent / self.names[index]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('VITA_MM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.delenv('VITA_MM_TRUST_DATA', raising=False)
    monkeypatch.setattr(digests, 'FRESH', 0)
    for name in ('a', 'b'):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    (tmp_path / 'list').write_text('a b')
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """The paths that are read."""
    seen = []
    plain = digests.read_version

    def read_version(path):
        seen.append(path)
        return plain(path)

    monkeypatch.setattr(digests, 'read_version', read_version)
    return seen


def test_a_video_of_the_same_length_is_another(folder):
    before = digest_dataset(Videos(folder / 'list'))
    status = os.stat(folder / 'a')
    (folder / 'a').write_bytes(b'x' * 1000)
    os.utime(folder / 'a', ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_dataset(Videos(folder / 'list')) != before
    (folder / 'a').write_bytes(b'a' * 1000)
    assert digest_dataset(Videos(folder / 'list')) == before


def test_order_and_missing_videos_count(folder):
    found = {digest_dataset(Videos(folder / 'list'))}
    (folder / 'list').write_text('b a')
    found.add(digest_dataset(Videos(folder / 'list')))
    (folder / 'b').unlink()
    found.add(digest_dataset(Videos(folder / 'list')))
    (folder / 'b').mkdir()  # nothing that can be read
    found.add(digest_dataset(Videos(folder / 'list')))
    assert len(found) == 3


def test_wrappers_have_the_digest_of_what_they_hold(folder):
    plain = Videos(folder / 'list')
    both = SimpleNamespace(datasets=[plain, plain])
    assert digest_dataset(SimpleNamespace(dataset=plain)) == digest_dataset(plain)
    assert digest_dataset(both) != digest_dataset(plain)


def test_files_are_read_once_until_they_change(folder, reads):
    paths = [str(folder / 'a'), str(folder / 'b')]
    first = digest_files([*paths, *paths, str(folder / 'missing')])
    assert first == {path: digest_file(path) for path in paths}
    assert sorted(reads) == paths
    assert digest_files(paths) == first and len(reads) == 2
    (folder / 'new').write_bytes(b'c' * 1000)
    os.replace(folder / 'new', folder / 'a')
    assert digest_files(paths)[paths[0]] == digest_file(paths[0]) != first[paths[0]]
    assert reads[2:] == paths[:1]


def test_what_a_link_points_to_counts(folder):
    link = folder / 'link'
    link.symlink_to(folder / 'a')
    first = digest_files([str(link)])
    link.unlink()
    link.symlink_to(folder / 'b')
    assert digest_files([str(link)]) != first


def test_a_file_of_this_moment_is_read_again(folder, reads, monkeypatch):
    """Its next change may have the same time."""
    monkeypatch.setattr(digests, 'FRESH', 10**12)
    for _ in range(2):
        digest_files([str(folder / 'a')])
    assert len(reads) == 2


@pytest.mark.parametrize('spoil', ['file', 'locked'])
def test_without_a_cache_all_is_read(folder, reads, spoil, monkeypatch):
    if spoil == 'file':
        (folder / 'cache').write_text('')
    else:
        monkeypatch.setattr(digests.sqlite3, 'connect', locked)
    for _ in range(2):
        assert digest_files([str(folder / 'a')]) == {
            str(folder / 'a'): digest_file(folder / 'a')}
    assert len(reads) == 2


def test_a_damaged_cache_is_made_anew(folder, reads):
    (folder / 'cache').mkdir()
    (folder / 'cache' / 'digests.sqlite').write_bytes(b'no database' * 100)
    for _ in range(3):
        digest_files([str(folder / 'a')])
    assert len(reads) == 2


def locked(*args, **kwargs):
    raise digests.sqlite3.OperationalError('database is locked')


def test_an_odd_name_is_remembered(folder, reads):
    path = os.fsdecode(os.fsencode(folder) + b'/\xff\n[red].mp4')
    with open(path, 'wb') as file:
        file.write(b'a')
    for _ in range(2):
        assert digest_files([path]) == {path: digest_file(path)}
    assert reads == [path]


def test_trusted_digests_take_sizes_and_times(folder, reads, monkeypatch):
    data = Videos(folder / 'list')
    full = digest_dataset(data)
    trusted = digest_dataset(data, trust=True)
    assert trusted.startswith(TRUSTED) and not full.startswith(TRUSTED)
    monkeypatch.setenv('VITA_MM_TRUST_DATA', '1')
    assert digest_dataset(data) == trusted and len(reads) == 2
    os.utime(folder / 'a', ns=(0, time.time_ns() + 10**9))
    assert digest_dataset(data) not in (trusted, full)
