"""What can be wrong with a page in a browser: each check returns a list of faults, empty when all is well."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

QUIET_KINDS = ("log", "info", "debug")

MATHEMATICS = """() => {
  const faults = [];
  for (const source of document.querySelectorAll('.math')) {
    const drawn = source.querySelector('mjx-container');
    if (!drawn || drawn.getBoundingClientRect().width < 2) faults.push('not drawn: ' + source.textContent);
    else if (!drawn.querySelector('mjx-assistive-mml')) faults.push('not read aloud: ' + source.textContent);
  }
  for (const error of document.querySelectorAll('mjx-merror')) faults.push('error: ' + error.textContent);
  return faults;
}"""

WIDGETS = """() => [...document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')]
  .filter(view => !(view.nextElementSibling?.getBoundingClientRect().height > 50))
  .map(view => 'not mounted: ' + view.textContent.trim())"""

CLIPPED = """() => [...document.querySelectorAll('article .cell_input pre')]
  .filter(code => code.scrollWidth > code.clientWidth + 1)
  .map(code => 'clipped: ' + code.textContent.split('\\n').reduce((a, b) => a.length < b.length ? b : a))"""

CUT_FIGURES = """() => [...document.querySelectorAll('article :is(figure, .cell_output) img')].filter(image => {
  const own = image.getBoundingClientRect();
  for (let box = image.parentElement; box; box = box.parentElement) {
    const edge = box.getBoundingClientRect();
    const wider = own.left < edge.left - 1 || own.right > edge.right + 1;
    if (wider && (box === document.documentElement || getComputedStyle(box).overflowX !== 'visible')) return true;
  }
}).map(image => 'cut: ' + image.alt)"""

CUT_FORMULAS = """() => [...document.querySelectorAll('article mjx-container[display="true"]')]
  .filter(formula => formula.scrollWidth > formula.clientWidth + 1)
  .map(formula => 'cut: ' + formula.textContent.trim())"""

CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const luminance = colour => {
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
      .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const style = getComputedStyle(document.body);
  return [luminance(style.backgroundColor), luminance(style.color)];
}"""


class Visit:
    """A page opened in a fresh profile, with what it asked for and what it wrote to the console."""

    def __init__(self, browser: Browser, url: str, *, width: int = 1280, mode: str = "light"):
        self.home = url.split("/", 3)[2] if url.startswith("http") else "file"
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=mode)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", self._listen)
        self.page.goto(url)
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate("window.MathJax?.startup?.promise")

    def _listen(self, message) -> None:
        if message.type not in QUIET_KINDS:
            self.complaints.append(f"{message.type}: {message.text}")

    def close(self) -> None:
        self.context.close()

    def foreign_requests(self) -> list[str]:
        """Requests that left the site."""
        own = ("data:", "blob:", "file://") if self.home == "file" else ("data:", "blob:", f"http://{self.home}/")
        return [url for url in self.requests if not url.startswith(own)]

    def unrendered(self) -> list[str]:
        """Mathematics and widgets that are not there."""
        return self.page.evaluate(MATHEMATICS) + self.page.evaluate(WIDGETS)

    def open_folds(self) -> None:
        """Open all that is folded."""
        self.page.evaluate("document.querySelectorAll('article details').forEach(fold => { fold.open = true })")
        self.page.evaluate(
            "document.querySelectorAll('.toggle-hidden').forEach(fold => fold.classList.remove('toggle-hidden'))"
        )

    def clipped(self) -> list[str]:
        """The longest line of each code cell that is wider than its box; folded ones are opened first."""
        self.open_folds()
        return self.page.evaluate(CLIPPED)

    def overflow(self) -> list[str]:
        """Whether the page scrolls sideways."""
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        seen = self.page.evaluate("document.documentElement.clientWidth")
        return [f"{wide} pixels in a window of {seen}"] if wide > seen else []

    def cut_figures(self) -> list[str]:
        """Figures wider than a box that hides or scrolls what does not fit."""
        return self.page.evaluate(CUT_FIGURES)

    def cut_formulas(self) -> list[str]:
        """Display formulas that scroll sideways in their box; folded ones are opened first."""
        self.open_folds()
        return self.page.evaluate(CUT_FORMULAS)

    def luminances(self) -> tuple[float, float]:
        """Relative luminance (WCAG) of the body's background and of its text."""
        background, text = self.page.evaluate(CONTRAST)
        return background, text

    def axe_violations(self) -> list[str]:
        """What axe-core calls serious or critical."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
