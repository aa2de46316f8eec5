"""An estimate with its interval."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float
    p: float
    seeds: int
    videos: int
    sd_seed: float = 0.
    sd_video: float = 0.
    sd_rest: float = 0.
    needed_seeds: int | None = None
