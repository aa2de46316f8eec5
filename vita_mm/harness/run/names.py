"""Names of runs: for people, unique, and saying what differs.

What a run is, its content decides; each has several names to choose from, the shortest
first, and a folder that holds it already keeps its name.
"""
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LONGEST = 100  # bytes
DIGITS = 8  # of a digest that is the last resort


@dataclass
class Names:
    """What a run may be called.

    Attributes:
        choices: the first one that is unique is taken.
        spellings: how other rows that are the same run would call it.
    """
    choices: list[str]
    spellings: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        return list(dict.fromkeys([*self.choices, *self.spellings]))


def names_of_training(path: str, changes: dict, content: str) -> Names:
    """Of a config and what a row changes in it.

    Args:
        path: of the config.
        changes: dotted key to value.
        content: digest of what the run is.
    """
    short = folder_name(config_name(path), last_words(changes))
    return Names([short, *(folder_name(name, changes.items())
                           for name in longer_names(path)),
                  f'{short},{content[:DIGITS]}', f'{short},{content}'])


def names_of_test(path: str | None, changes: dict, content: str) -> Names:
    """Of an evaluation, without those of its training.

    Args:
        path: of its config; None for the test set of the training's.
        changes: variants of that, and what the row changes in the training's test set.
        content: as above.
    """
    names = ['test', folder_name('test', changes.items())] if path is None else \
        [folder_name(name, changes.items()) for name in longer_names(path)]
    return Names([*names, f'{names[0]},{content[:DIGITS]}', f'{names[0]},{content}'])


def longer_names(path: str) -> list[str]:
    """The config's name, then with more and more of the folders that it is in."""
    name, parts = config_name(path), Path(path).with_suffix('').parts
    start = len(parts) - len(below_configs(path)) - 1
    more = '-'.join(parts[max(start, 0):])
    return [name, more, '-'.join(parts).lstrip('/-')]


def config_name(path: str) -> str:
    """``configs/zero_shot/mini_k600.py`` becomes ``zero_shot-mini_k600``."""
    return '-'.join(below_configs(path))


def below_configs(path: str) -> tuple[str, ...]:
    parts = Path(path).with_suffix('').parts
    if 'configs' not in parts:
        return parts[-1:]
    return parts[len(parts) - parts[::-1].index('configs'):]


def last_words(changes: dict) -> list[tuple[str, object]]:
    return [(key.rpartition('.')[2], value) for key, value in sorted(changes.items())]


def folder_name(name: str, changes) -> str:
    """A config's name and what differs from it; of what is long, only the keys."""
    changes = list(changes)
    text = ','.join([name, *(f'{key}={value}' for key, value in changes)])
    text = text.replace('/', '-').replace(' ', '_')
    if len(text.encode()) <= LONGEST and text.isprintable():
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    keys = ','.join([name, *(key for key, _ in changes)]).replace('/', '-')
    keys = ''.join(letter for letter in keys if letter.isprintable() and letter.isascii())
    return f'{keys[:LONGEST - 13]},{digest}'


def choose(asked: list[Names], taken: set[str], holds: Callable[[int, str], bool],
           exists: Callable[[str], bool]) -> list[str]:
    """A name for each run.

    Args:
        asked: by run.
        taken: names that are gone; those given here are added.
        holds: whether a run, by its number, is what is in the folder of this name.
        exists: whether there is a folder of this name.
    """
    chosen: dict[int, str] = {}

    def give(number: int, name: str) -> None:
        chosen[number] = name
        taken.add(name)

    first = Counter(names.choices[0] for names in asked)
    for number, names in enumerate(asked):
        found = [name for name in names.all() if exists(name)]
        if found and (found != names.choices[:1] or first[found[0]] > 1):
            held = next((name for name in found
                         if name not in taken and holds(number, name)), None)
            if held is not None:
                give(number, held)
    for level in range(max((len(names.choices) for names in asked), default=0)):
        left = {number: names.choices[min(level, len(names.choices) - 1)]
                for number, names in enumerate(asked) if number not in chosen}
        wanted = Counter(left.values())
        for number, name in left.items():
            if wanted[name] == 1 and name not in taken:
                give(number, name)
    return [chosen[number] for number in range(len(asked))]
