"""Vita-CLIP as plug-ins for MMAction2.

Importing this package registers the recognizer ``VitaCLIP``, the backbone
``VitaCLIPVisionTransformer``, the head ``VitaCLIPTextHead`` and everything the
configs name besides.
"""
from . import compat

compat.apply()

from . import data, engine, models, tracking  # noqa: E402,F401
from .version import __version__  # noqa: E402,F401
