"use strict";
// What a task sees in an image: the classes of its pixels and boxes, drawn over it.

/** Longest side of a drawing. */
const DRAWN = 640;
/** Boxes that are told in words. */
const TOLD = 12;

/** The color of a class: neighbors are far apart. */
const color = (id) => `hsl(${Math.round((id * 137.508) % 360)} 80% ${[48, 36, 62][id % 3]}%)`;

/** A canvas with the image, as large as is drawn, and how much smaller that is than the image. */
function canvasOf(picture) {
  const scale = Math.min(1, DRAWN / Math.max(picture.width, picture.height));
  const canvas = element("canvas");
  Object.assign(canvas, { width: Math.max(1, Math.round(picture.width * scale)), height: Math.max(1, Math.round(picture.height * scale)) });
  canvas.className = "seen";
  canvas.setAttribute("role", "img");
  const paint = canvas.getContext("2d");
  paint.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return { canvas, paint, scale };
}

/** Red, green and blue of a color. */
function rgb(text) {
  const paint = Object.assign(element("canvas"), { width: 1, height: 1 }).getContext("2d");
  paint.fillStyle = text;
  paint.fillRect(0, 0, 1, 1);
  return paint.getImageData(0, 0, 1, 1).data;
}

/** Lays the classes of a mask over the image that was squashed to it. */
function drawMask({ mask, size }, { canvas, paint }) {
  const layer = Object.assign(element("canvas"), size);
  const pixels = layer.getContext("2d").createImageData(size.width, size.height);
  const colors = [...new Set(mask)].reduce((all, id) => all.set(id, rgb(color(id))), new Map());
  mask.forEach((id, at) => {
    pixels.data.set(colors.get(id), 4 * at);
    pixels.data[4 * at + 3] = 150;
  });
  layer.getContext("2d").putImageData(pixels, 0, 0);
  paint.imageSmoothingEnabled = false;
  paint.drawImage(layer, 0, 0, canvas.width, canvas.height);
}

/** Draws boxes, which are in pixels of the image, the surest last. */
function drawBoxes(boxes, ids, { canvas, paint, scale }) {
  const text = Math.max(11, Math.round(canvas.width / 32));
  Object.assign(paint, { lineWidth: Math.max(2, canvas.width / 200), font: `${text}px system-ui, sans-serif`, textBaseline: "top" });
  for (const { class: name, score, left, top, right, bottom } of boxes.toReversed()) {
    const [x, y] = [left * scale, top * scale];
    Object.assign(paint, { strokeStyle: color(ids(name)), fillStyle: color(ids(name)) });
    paint.strokeRect(x, y, (right - left) * scale, (bottom - top) * scale);
    const said = `${name} ${percent(score)}`;
    const room = paint.measureText(said).width + 6;
    const [atX, atY] = [Math.max(0, Math.min(x, canvas.width - room)), Math.max(0, y - text - 4)];
    paint.fillRect(atX, atY, room, text + 4);
    paint.fillStyle = "#fff";
    paint.fillText(said, atX + 3, atY + 2);
  }
}

/** A row of a name with the color that it is drawn in, and what is said of it. */
function colored(name, id, said) {
  const swatch = element("span");
  swatch.className = "swatch";
  swatch.style.backgroundColor = color(id);
  const row = element("div", "", element("span", "", swatch, ` ${name}`), element("span", said));
  row.className = "row";
  return row;
}

/** The mask or the boxes of an answer over its image, and what they are in words. */
function seen(task, { picture, classes }) {
  const ids = (name) => Math.max(0, classes.indexOf(name));
  const drawn = canvasOf(picture);
  if (task.mask) {
    drawMask(task, drawn);
    const said = task.shares.map(({ class: name, share }) => [name, percent(share)]);
    drawn.canvas.setAttribute("aria-label", `The image with the classes of its pixels: ${said.map((one) => one.join(" ")).join(", ")}`);
    return [drawn.canvas, ...said.map(([name, share]) => colored(name, ids(name), share))];
  }
  drawBoxes(task.boxes, ids, drawn);
  const { boxes } = task;
  drawn.canvas.setAttribute("aria-label", `The image with ${count(boxes.length, "box", "boxes")}`);
  const rows = boxes.slice(0, TOLD).map(({ class: name, score }) => colored(name, ids(name), percent(score)));
  const more = boxes.length > TOLD ? [element("p", `and ${boxes.length - TOLD} that are less sure`)] : [];
  return [drawn.canvas, ...rows, ...(boxes.length ? more : [element("p", "nothing found")])];
}
