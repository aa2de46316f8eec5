"""What setup.cfg cannot say: a wheel takes along the configs and suites, which lie beside
the package."""
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ('configs/**/*.py', 'benchmarks/suites/*.yaml')


class CarryProject(build_py):
    """Puts them into ``vita_mm/project``, where ``vita_mm.io.files.ROOT`` finds them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # they are found where they lie
            return
        project = Path(self.build_lib, 'vita_mm', 'project')
        shutil.rmtree(project, ignore_errors=True)
        for pattern in CARRIED:
            for file in sorted(Path().glob(pattern)):
                target = project / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


setup(cmdclass={'build_py': CarryProject})
