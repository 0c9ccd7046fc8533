"""Explorables: what answers a reader's hand, with or without a kernel.

One object serves everybody. In Jupyter it is a widget; on the static page `anymount.js` mounts the state that
the notebook stores; GitHub and a page without JavaScript show its picture or its plain page, the PDF its picture or
its text; nbval compares its text. So what it says must not depend on training, while its pictures may.

`Frames` shows figures that were computed beforehand, `Predict` asks for a guess before it shows what was measured,
`Valley` computes in the page. Another one is another subclass of `Explorable`, with a JavaScript module of its own.
"""

from unstuck.explore.explorable import Explorable
from unstuck.explore.frames import Frames, Slider
from unstuck.explore.predict import Predict
from unstuck.explore.valley import Valley
