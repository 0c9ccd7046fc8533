"""Figures and tables: a Record, Runs or arrays and an optional `ax` go in, the `ax` comes out; a table is HTML.

Nothing here computes a diagnostic, knows torch or touches rcParams; the look is `unstuck.mplstyle`, applied with
`plt.style.use("unstuck.unstuck")`. Labels, units, logarithmic axes and healthy bands come from `QUANTITIES`.
Each layer, each activation and each initialisation has one colour, the same in every figure.
"""

from unstuck.plots.colours import AMBER, BAND, BLUE, GREEN, GREY, INK, MAROON, PAPER, PINE, PLUM, RUST, SKY, VIOLET
from unstuck.plots.comparisons import activation, dots
from unstuck.plots.curves import by_step, layer_curve, spread
from unstuck.plots.distributions import histograms
from unstuck.plots.images import images
from unstuck.plots.maps import grid_map, unit_heatmap
from unstuck.plots.panels import label_curves, panels, reference
from unstuck.plots.style import PALETTE, axis_label, healthy_band, label_of, layer_colour, style_of
from unstuck.plots.tables import Table, table
