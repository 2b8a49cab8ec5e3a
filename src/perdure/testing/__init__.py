"""For the tests of training scripts: kill them at any point and compare bits, make the disk fail, hold time still.

Nothing here is loaded by `import perdure`. docs/testing.md shows each at work.
"""

from perdure.testing.clock import FakeClock
from perdure.testing.faults import Failing, failing
from perdure.testing.kills import survives_every_kill
from perdure.testing.script import Ended, Script, digest

__all__ = ["Ended", "Failing", "FakeClock", "Script", "digest", "failing", "survives_every_kill"]
