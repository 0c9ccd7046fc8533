"""What training leaves behind: `Record`, the one table `QUANTITIES`, and `Run` and `Runs`, records with settings.

Nothing here knows torch or matplotlib: NumPy runs and torch runs fill the same Record, and one set of figures and
checks reads it.
"""

from unstuck.record.quantities import QUANTITIES, Quantity, of_scope
from unstuck.record.record import FORMAT, FORMAT_VERSION, Record
from unstuck.record.runs import Run, Runs
