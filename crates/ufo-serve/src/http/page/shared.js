"use strict";
// What the pages share: they ask this server's own addresses, and nothing else.

const get = (id) => document.getElementById(id);
let key = sessionStorage.getItem("key") ?? "";

/** Text in a new element. */
function element(name, text = "", ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

/** Rows of a table; each cell knows the name of its column, which a narrow window shows beside it. */
function fill(body, rows) {
  const names = [...body.closest("table").tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const row of rows) [...row.cells].forEach((cell, at) => (cell.dataset.label = names[at]));
  body.replaceChildren(...rows);
}

/** Shows text, as an error or not. */
function say(place, text, error = false) {
  if (place.textContent !== text) place.textContent = text;
  place.classList.toggle("error", error);
}

/** Asks the server for JSON; refusals become errors with the server's words. */
async function ask(path, options = {}) {
  const headers = key ? { "X-API-Key": key } : {};
  const reply = await fetch(path, { ...options, headers });
  if (reply.status === 401) get("key").hidden = false;
  const told = await reply.json();
  if (!reply.ok) throw new Error(told.error);
  return told;
}

/** Sends a value as JSON. */
const send = (method, path, value) => ask(path, { method, body: value && JSON.stringify(value) });

/** The form that asks for a key, and what is done with it. */
function onKey(work) {
  get("key").addEventListener("submit", (event) => {
    event.preventDefault();
    key = event.target.querySelector("input").value;
    sessionStorage.setItem("key", key);
    event.target.hidden = true;
    work();
  });
}

const percent = (value) => (value == null ? "–" : `${(100 * value).toFixed(1)} %`);
const count = (n, word, many = `${word}s`) => `${n.toLocaleString("en")} ${n === 1 ? word : many}`;

function size(bytes) {
  if (bytes == null) return "–";
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function ms(times) {
  if (!times) return "–";
  const digits = times[1] < 10 ? 2 : 1;
  return `${times[1].toFixed(digits)} ms (${times[0].toFixed(digits)} – ${times[2].toFixed(digits)})`;
}

/** What a task says of an image: bars of the likeliest classes, what it sees where, or the beginning of its numbers. */
function answer(task, image) {
  const title = element("h3", `${task.name} `, element("small", task.model));
  const card = element("article", "", title);
  card.className = "answer";
  for (const { class: name, probability } of task.top ?? []) {
    const bar = element("progress");
    bar.value = probability;
    bar.setAttribute("aria-label", name);
    const row = element("div", "", element("span", name), element("span", percent(probability)), bar);
    row.className = "row";
    card.append(row);
  }
  if (task.mask || task.boxes) card.append(...seen(task, image));
  const numbers = task.embedding ?? task.output;
  if (numbers) {
    const first = numbers.slice(0, 8).map((value) => value.toFixed(2)).join(", ");
    card.append(element("p", `${numbers.length} numbers: ${first}, …`));
  }
  return card;
}

/** An element of a picture. */
function shape(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Round numbers between two values. */
function ticks(low, high, many = 4) {
  const rough = (high - low || Math.abs(high) || 1) / many;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((n) => n * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(6)));
}

/** A picture of curves: `series` of `{name, points, kind}`, where kind is a class and points are pairs. */
function chart({ series, x, y, label, dots = false }) {
  const [width, height, left, bottom, top, right] = [440, 230, 52, 36, 26, 14];
  const all = series.flatMap((one) => one.points);
  const picture = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "chart" });
  if (!all.length) return picture;
  const span = (at) => {
    const values = all.map((point) => point[at]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    return dots || at === 1 ? [low - room, high + room] : [low, high || 1];
  };
  const [[x0, x1], [y0, y1]] = [span(0), span(1)];
  const across = (value) => left + ((value - x0) / (x1 - x0 || 1)) * (width - left - right);
  const up = (value) => height - bottom - ((value - y0) / (y1 - y0 || 1)) * (height - bottom - top);
  for (const tick of ticks(y0, y1)) {
    picture.append(
      shape("line", { x1: left, x2: width - right, y1: up(tick), y2: up(tick), class: "grid" }),
      shape("text", { x: left - 6, y: up(tick) + 4, "text-anchor": "end" }, y.format(tick)),
    );
  }
  for (const tick of ticks(x0, x1)) {
    picture.append(shape("text", { x: across(tick), y: height - bottom + 16, "text-anchor": "middle" }, x.format(tick)));
  }
  picture.append(shape("text", { x: width - right, y: height - 4, "text-anchor": "end", class: "axis" }, x.name));
  picture.append(shape("text", { x: left, y: top - 12, class: "axis" }, y.name));
  for (const { name, points, kind } of series) {
    const line = points.map(([a, b]) => `${across(a).toFixed(1)},${up(b).toFixed(1)}`).join(" ");
    if (points.length > 1) picture.append(shape("polyline", { points: line, class: `line ${kind}` }));
    if (!dots && points.length > 1) continue;
    for (const [a, b, title, chosen, marked] of points) {
      const dot = shape("circle", { cx: across(a), cy: up(b), r: chosen || marked ? 7 : 4.5, class: `dot ${kind}${chosen ? " chosen" : ""}${marked ? " marked" : ""}` });
      dot.append(shape("title", {}, title ?? name));
      picture.append(dot);
    }
  }
  return picture;
}

/** A point of a front in words. */
const pointSaid = (point) => `${percent(point.accuracy)}, ${point.latency_ms.toFixed(2)} ms, ${count(point.params, "parameter")}`;

/** A front of accuracy and latency; points that are chosen are large, one may be marked. */
function frontChart(front, chosen, marked) {
  const points = front.points.map((point, at) =>
    [point.latency_ms, point.accuracy, pointSaid(point), chosen(point, at), at === marked]);
  return chart({
    series: [{ name: front.task, points, kind: "a" }],
    x: { name: "ms of an image", format: (value) => value },
    y: { name: `${front.metric} (${front.split} images)`, format: (value) => `${(100 * value).toFixed(0)} %` },
    label: `${front.task}: ${count(points.length, "network")} from ${percent(Math.min(...points.map((p) => p[1])))} to ${percent(Math.max(...points.map((p) => p[1])))}`,
    dots: true,
  });
}

/** A choice among the points of a front, by pointer, finger or keyboard; tells which is chosen. */
function pointChoices(front, name, chosen, tell, more = () => "") {
  return front.points.map((point, place) => {
    const button = element("input");
    Object.assign(button, { type: "radio", name, value: place, checked: place === chosen });
    button.addEventListener("change", () => tell(place));
    return element("label", "", button, ` ${pointSaid(point)}${more(point)}`);
  });
}

/** Rows of a table of models side by side. */
function comparedRow(row) {
  const numbers = row.precision ?? "ONNX";
  const cells = [row.model, row.task, numbers, size(row.bytes), row.params?.toLocaleString("en") ?? "–"];
  const scored = row.value == null ? "–" : `${percent(row.value)} ${row.metric}`;
  return element("tr", "", ...[...cells, scored, ms(row.latency_ms)].map((text) => element("td", text)));
}
