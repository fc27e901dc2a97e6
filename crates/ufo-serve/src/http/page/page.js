"use strict";
// The page of `ufo serve`: it asks this server's own addresses, and nothing else.

const get = (id) => document.getElementById(id);
let key = "";
let image = null;
let asked = 0;

/** Text in a new element. */
function element(name, text = "", ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

/** Shows text, as an error or not. */
function say(place, text, error = false) {
  place.textContent = text;
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

async function showModels() {
  let told;
  try {
    told = await ask("/v1/models");
  } catch (error) {
    say(get("server"), error.message, true);
    return;
  }
  const { models, threads, galleries } = told;
  const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  say(get("server"), `${count(models.length, "model")}, ${count(threads, "thread")}`);
  const rows = models.flatMap((model) => model.tasks.map((task) => modelRow(model, task)));
  get("models").replaceChildren(...rows);
  // The first model that has a task answers for it.
  const usable = models.filter((model) => model.preprocess).flatMap((model) => model.tasks);
  const names = [...new Set(usable.map((task) => task.name))];
  if (!document.querySelector("#tasks input")) get("tasks").append(...names.map(taskChoice));
  const embeddings = new Set(usable.filter((task) => task.kind === "embedding").map((t) => t.name));
  get("search").hidden = !galleries || embeddings.size === 0;
  if (!get("gallery").options.length) {
    get("gallery").append(...[...embeddings].map((name) => new Option(name)));
    if (!get("search").hidden) await showCount();
  }
}

function modelRow(model, task) {
  const answers = task.kind === "classes" ? `${task.classes.length} classes` : `${task.kind} of ${task.shape.join(" × ")}`;
  const path = element("td", "", element("code", task.path ?? "–"));
  const cells = [model.name, task.name, answers, model.input.shape.join(" × "), model.precision ?? "own"];
  return element("tr", "", ...cells.map((text) => element("td", text)), path, element("td", task.images));
}

function taskChoice(name) {
  const box = document.createElement("input");
  Object.assign(box, { type: "checkbox", value: name, checked: true });
  box.addEventListener("change", predict);
  return element("label", "", box, ` ${name}`);
}

async function predict() {
  const tasks = [...document.querySelectorAll("#tasks input:checked")].map((box) => box.value);
  if (!image) return;
  if (!tasks.length) {
    get("answers").replaceChildren();
    say(get("said"), "No task is chosen.");
    return;
  }
  const turn = ++asked;
  const started = performance.now();
  say(get("said"), "asking …");
  try {
    const query = new URLSearchParams({ tasks: tasks.join(","), top: 5 });
    const told = await ask(`/v1/predict?${query}`, { method: "POST", body: image });
    if (turn !== asked) return;
    get("answers").replaceChildren(...told.tasks.map(answer));
    const ms = (performance.now() - started).toFixed(0);
    say(get("said"), `${told.width} × ${told.height} pixels, ${ms} ms with the way to the server`);
    showModels();
  } catch (error) {
    if (turn !== asked) return;
    get("answers").replaceChildren();
    say(get("said"), error.message, true);
  }
}

/** What a task says: bars of the likeliest classes, or the beginning of its numbers. */
function answer(task) {
  const title = element("h3", `${task.name} `, element("small", task.model));
  const card = element("article", "", title);
  card.className = "answer";
  for (const { class: name, probability } of task.top ?? []) {
    const bar = element("progress");
    bar.value = probability;
    bar.setAttribute("aria-label", name);
    const row = element("div", "", element("span", name), element("span", `${(100 * probability).toFixed(1)} %`), bar);
    row.className = "row";
    card.append(row);
  }
  const numbers = task.embedding ?? task.output;
  if (numbers) {
    const first = numbers.slice(0, 8).map((value) => value.toFixed(2)).join(", ");
    card.append(element("p", `${numbers.length} numbers: ${first}, …`));
  }
  return card;
}

function take(file) {
  if (!file) return;
  image = file;
  const shown = get("shown");
  if (shown.src) URL.revokeObjectURL(shown.src);
  shown.src = URL.createObjectURL(file);
  shown.alt = file.name || "the chosen image";
  shown.hidden = false;
  predict();
}

const gallery = () => encodeURIComponent(get("gallery").value);

async function showCount() {
  try {
    const { images } = await ask(`/v1/gallery/${gallery()}?limit=0`);
    say(get("count"), `${images} images`);
  } catch (error) {
    say(get("count"), error.message, true);
  }
}

/** Work with the chosen image, its outcome told beneath the buttons. */
async function withImage(work) {
  const place = get("found-said");
  if (!image) return say(place, "Choose an image first.", true);
  try {
    say(place, await work());
  } catch (error) {
    say(place, error.message, true);
  }
}

get("add").addEventListener("submit", (event) => {
  event.preventDefault();
  withImage(async () => {
    const id = get("name").value;
    await ask(`/v1/gallery/${gallery()}/${encodeURIComponent(id)}`, { method: "PUT", body: image });
    await showCount();
    get("name").value = "";
    return `“${id}” is in the gallery.`;
  });
});

get("find").addEventListener("click", () =>
  withImage(async () => {
    const { matches } = await ask(`/v1/search/${gallery()}?top=10`, { method: "POST", body: image });
    get("found").replaceChildren(...matches.map((m) => element("li", `${m.id}: ${m.similarity.toFixed(3)}`)));
    return matches.length ? "Most similar first, cosine:" : "The gallery is empty.";
  }));

get("gallery").addEventListener("change", showCount);
get("file").addEventListener("change", (event) => take(event.target.files[0]));
document.addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  get("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    get("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}
get("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key = event.target.querySelector("input").value;
  event.target.hidden = true;
  showModels();
});
showModels();
