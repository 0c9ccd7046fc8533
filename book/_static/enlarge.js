// A figure that is drawn smaller than it was made, as on a phone, opens in its own size: tap it, or press its button.
addEventListener("DOMContentLoaded", () => {
  const images = [...document.querySelectorAll(".bd-article :is(figure > img, .cell_output img)")];
  if (!images.length || !window.HTMLDialogElement) return;

  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.innerHTML = '<button type="button" autofocus>Close</button><div tabindex="0"></div>';
  const [close, box] = dialog.children;
  document.body.append(dialog);
  close.addEventListener("click", () => dialog.close());
  box.addEventListener("click", () => dialog.close());

  const open = (image) => {
    const copy = new Image(image.naturalWidth, image.naturalHeight);
    copy.src = image.src;
    copy.alt = image.alt;
    box.replaceChildren(copy);
    dialog.setAttribute("aria-label", "Figure in its own size");
    dialog.showModal();
  };

  for (const image of images) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.textContent = "Enlarge";
    button.setAttribute("aria-label", "Enlarge the figure");
    button.hidden = true;
    const isSmall = () => image.naturalWidth > 1.15 * image.clientWidth && image.clientWidth > 0;
    button.addEventListener("click", () => open(image));
    image.addEventListener("click", () => isSmall() && open(image));
    image.after(button);
    const show = () => {
      button.hidden = !isSmall();
      image.classList.toggle("can-enlarge", isSmall());
    };
    new ResizeObserver(show).observe(image);
    image.addEventListener("load", show);
  }
});
