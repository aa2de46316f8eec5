"""Transforms that open and decode videos: only the frames that are used, each once."""
from mmaction.datasets.transforms import ArrayDecode, RawFrameDecode
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from vita_mm.errors import UserError

from .frame_cache import MAX_CACHED, FrameCache
from .readers import DecordReader, PyAVReader

DECODERS = dict(pyav=PyAVReader, decord=DecordReader)
PYAV_OPTIONS = dict(strict=bool, max_pixels=int, max_held=int)


@TRANSFORMS.register_module()
class OpenVideo(BaseTransform):
    """Opens a video, so that its frames can be sampled.

    Required key: ``filename``. Added: ``video_reader``, ``total_frames``, ``avg_fps``.
    A sample that comes as frames, see :class:`DecodeFrames`, passes as it is.

    Args:
        decoder: ``'pyav'`` or ``'decord'``, whose frames are not always those asked for:
            see docs/decoding.md.
        num_threads: of the decoder. One, for data workers are processes.
        cache: keep all frames of each video on disk, see :class:`FrameCache` and
            docs/decoding.md: for small videos that are read often. Not with decord.
        max_cached: bytes that the frames of all videos may take there.
        options: of :class:`PyAVReader`, by their names: ``strict``, ``max_pixels`` and
            ``max_held``. decord has none of them.
    """

    def __init__(self, decoder: str = 'pyav', num_threads: int = 1, cache: bool = False,
                 max_cached: int = MAX_CACHED, **options) -> None:
        if decoder not in DECODERS:
            raise UserError(f'OpenVideo: decoder must be one of {", ".join(DECODERS)}, '
                            f'not {decoder!r}')
        check_option('cache', cache, bool)
        check_option('max_cached', max_cached, int)
        if cache and decoder != 'pyav':
            raise UserError(f'OpenVideo: decoder={decoder!r} does not give a frame the '
                            "same each time: take cache=True out, or decoder='pyav'")
        known = PYAV_OPTIONS if decoder == 'pyav' else {}
        for name, value in options.items():
            if name not in known:
                raise UserError(f'OpenVideo: decoder={decoder!r} has no option {name}; '
                                f'it has {", ".join(known) or "none"}')
            check_option(name, value, known[name])
        self.decoder = decoder
        self.num_threads = num_threads
        self.options = options
        self.cache = FrameCache(options, max_cached) if cache else None

    def transform(self, results: dict) -> dict:
        if is_frames(results):
            return results
        path = results['filename']
        reader = (self.cache.reader(path, self.num_threads) if self.cache else
                  DECODERS[self.decoder](path, self.num_threads, **self.options))
        results.update(video_reader=reader, total_frames=len(reader),
                       avg_fps=reader.frame_rate)
        return results

    def __repr__(self) -> str:
        cache = dict(cache=True, max_cached=self.cache.max_cached) if self.cache else {}
        options = ''.join(f', {name}={value}'
                          for name, value in {**cache, **self.options}.items())
        return (f'{type(self).__name__}(decoder={self.decoder!r}, '
                f'num_threads={self.num_threads}{options})')


def check_option(name: str, value, kind: type) -> None:
    """Raises UserError if a value is not of its kind; a number is at least 1."""
    if type(value) is not kind or kind is int and value < 1:
        wanted = 'True or False' if kind is bool else 'a whole number of at least 1'
        raise UserError(f'OpenVideo: {name} must be {wanted}, not {value!r}')


def is_frames(sample: dict) -> bool:
    """Whether a sample is not of a video file but of frames."""
    return 'filename' not in sample and ('array' in sample or 'frame_dir' in sample)


@TRANSFORMS.register_module()
class DecodeFrames(BaseTransform):
    """Decodes the sampled frames; those of several clips that are the same, once.

    Required keys: ``video_reader``, ``frame_inds``. Added: ``imgs``, a list of (H, W, 3)
    uint8 RGB frames, ``original_shape`` and ``img_shape``.

    A sample may come as frames too, in MMAction2's ways: with an ``array`` (T, H, W, 3),
    or with a ``frame_dir`` and a ``filename_tmpl``.
    """

    def transform(self, results: dict) -> dict:
        if is_frames(results):
            decode = ArrayDecode if 'array' in results else RawFrameDecode
            return decode().transform(results)
        reader = results.pop('video_reader')
        frames = reader.get_batch(results['frame_inds']).frames
        reader.close()
        shape = frames[0].shape[:2]
        results.update(imgs=frames, original_shape=shape, img_shape=shape)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
