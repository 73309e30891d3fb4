"use strict";
// Pressing a class lays its activation map over the picture; pressing it again takes it off.
document.documentElement.classList.add("scripted");
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const colors = bytes(document.body.dataset.colors);
const draw = (button, canvas) => {
  const columns = Number(button.dataset.columns);
  const levels = bytes(button.dataset.levels);
  const map = new ImageData(columns, levels.length / columns);
  const alpha = 255 * Number(canvas.dataset.weight);
  levels.forEach((level, i) => {
    map.data.set([...colors.subarray(3 * level, 3 * level + 3), alpha], 4 * i);
  });
  canvas.width = map.width;
  canvas.height = map.height;
  canvas.getContext("2d").putImageData(map, 0, 0);
};
for (const figure of document.querySelectorAll("figure.picture")) {
  const canvas = figure.querySelector("canvas");
  const buttons = figure.querySelectorAll("button[data-levels]");
  for (const button of buttons) {
    button.disabled = false;
    button.addEventListener("click", () => {
      const show = button.getAttribute("aria-pressed") !== "true";
      for (const other of buttons) {
        other.setAttribute("aria-pressed", String(show && other === button));
      }
      canvas.hidden = !show;
      figure.classList.toggle("mapped", show);
      if (show) draw(button, canvas);
    });
  }
}
