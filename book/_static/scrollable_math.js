// A display formula wider than the page scrolls in its own box: let the keyboard reach it there.
addEventListener("DOMContentLoaded", async () => {
  if (!window.MathJax?.startup) return;
  await MathJax.startup.promise;
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const formula of document.querySelectorAll('mjx-container[display="true"]')) observer.observe(formula);
});
