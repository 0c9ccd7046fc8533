"""The book's data: embedded real images, solar cells, two generators, and preprocessing; everything is a `Split`."""

from unstuck.data.embedded import fashion, mnist
from unstuck.data.generated import circle_and_cross, spirals
from unstuck.data.preprocessing import standardise, whiten
from unstuck.data.solar import solar_cells
from unstuck.data.split import Split
