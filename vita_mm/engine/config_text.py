"""The text of a config, formatted once."""
from mmengine.config import Config


class OnceFormatted(Config):
    """A config whose text is made once for as long as it stays as it is.

    MMEngine (0.10.7) logs the config of a run, writes it to files and into every
    checkpoint, and formats it anew each time, for which yapf takes a quarter of a second.
    """

    @classmethod
    def of(cls, config: Config) -> 'OnceFormatted':
        """The same config: what is changed in one is changed in the other."""
        same = cls.__new__(cls)
        same.__setstate__(config.__getstate__())
        return same

    @property
    def pretty_text(self) -> str:
        content = repr(self.to_dict())
        known, text = self.__dict__.get('_formatted', (None, ''))
        if content != known:
            text = super().pretty_text
            # Not by Config's own way to set an attribute, which makes it a key.
            object.__setattr__(self, '_formatted', (content, text))
        return text
