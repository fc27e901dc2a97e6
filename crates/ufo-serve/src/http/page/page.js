"use strict";
// The page of `ufo serve`: it asks this server's own addresses, and nothing else.

let image = null;
let asked = 0;
/** Classes of tasks by model and task. */
const classes = new Map();

async function showModels() {
  let told;
  try {
    told = await ask("/v1/models");
  } catch (error) {
    say(get("server"), error.message, true);
    return;
  }
  const { models, threads, galleries } = told;
  get("to-studio").hidden = !told.studio;
  say(get("server"), `${count(models.length, "model")}, ${count(threads, "thread")}`);
  const rows = models.flatMap((model) => model.tasks.map((task) => modelRow(model, task)));
  fill(get("models"), rows);
  showFronts(models);
  for (const model of models) for (const task of model.tasks) classes.set(`${model.name} ${task.name}`, task.classes ?? []);
  showTasks(models.filter((model) => model.preprocess));
  const usable = models.filter((model) => model.preprocess).flatMap((model) => model.tasks);
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

/** The searches that models are points of, each once, with those points. */
function showFronts(models) {
  const fronts = new Map();
  for (const model of models) {
    const slices = model.tasks.map((task) => task.slice);
    for (const front of model.papers.fronts) {
      const known = fronts.get(JSON.stringify(front)) ?? { front, slices: new Set() };
      slices.forEach((slice) => known.slices.add(slice));
      fronts.set(JSON.stringify(front), known);
    }
  }
  // Not drawn anew while nothing changes, which would take the focus from a point.
  const text = JSON.stringify([...fronts.values()].map(({ front, slices }) => [front, [...slices]]));
  if (get("fronts").dataset.shown === text) return;
  get("fronts").dataset.shown = text;
  get("fronts").replaceChildren(...[...fronts.values()].map(frontFigure));
}

/** A front with its points as a list: each is marked in the picture when it is chosen. */
function frontFigure({ front, slices }, number) {
  const served = (point) => slices.has(point.slice);
  const picture = element("div");
  const draw = (marked) => picture.replaceChildren(frontChart(front, served, marked));
  const said = `${front.task}: ${count(front.points.length, "network")} that no other beats in accuracy and time, where they were measured; large: served here`;
  const choices = pointChoices(front, `front-${number}`, -1, draw, (point) => (served(point) ? ", served here" : ""));
  const list = element("div", "", ...choices);
  list.className = "points";
  const points = element("fieldset", "", element("legend", `Points of ${front.task}`), list);
  draw();
  return element("figure", "", picture, element("figcaption", said), points);
}

async function compareAll() {
  const place = get("compared-said");
  get("compare").disabled = true;
  say(place, "measuring …");
  try {
    const { rows, threads } = await send("POST", "/v1/compare");
    rows.sort((a, b) => a.task.localeCompare(b.task) || a.latency_ms[1] - b.latency_ms[1]);
    fill(get("compared"), rows.map(comparedRow));
    get("compared").closest(".scroll").hidden = false;
    say(place, `One image on ${count(threads, "thread")} of this machine: the median, and in brackets what a tenth and nine tenths of the runs stayed below.`);
  } catch (error) {
    say(place, error.message, true);
  }
  get("compare").disabled = false;
}

/** The tasks to ask, each with the models that have it where there are several; what was chosen stays so. */
function showTasks(models) {
  const owners = new Map();
  for (const model of models) for (const { name } of model.tasks) owners.set(name, [...(owners.get(name) ?? []), model.name]);
  const text = JSON.stringify([...owners]);
  if (get("tasks").dataset.shown === text) return;
  get("tasks").dataset.shown = text;
  const before = new Map(choices().map((choice) => [choice.task, choice]));
  get("tasks").replaceChildren(get("tasks").querySelector("legend"), ...[...owners].map(([name, of]) => taskChoice(name, of, before.get(name))));
}

/** A task's box, and the choice of who answers for it: the first model, or another. */
function taskChoice(name, models, before) {
  const box = element("input");
  Object.assign(box, { type: "checkbox", value: name, checked: before?.chosen ?? true });
  box.addEventListener("change", predict);
  const made = element("span", "", element("label", "", box, ` ${name}`));
  if (models.length === 1) return made;
  const choice = element("select", "", ...models.map((model) => new Option(model)));
  choice.setAttribute("aria-label", `Model that answers for ${name}`);
  if (models.includes(before?.model)) choice.value = before.model;
  choice.addEventListener("change", predict);
  made.append(" by ", choice);
  return made;
}

/** What is chosen of each task; no model is that which the server asks by itself. */
const choices = () =>
  [...document.querySelectorAll("#tasks input")].map((box) => {
    const choice = box.closest("#tasks > span").querySelector("select");
    return { task: box.value, chosen: box.checked, model: choice && choice.selectedIndex > 0 ? choice.value : "" };
  });

/** Asks the tasks that are chosen, those of the same model at once. */
async function askChosen(chosen) {
  const models = [...new Set(chosen.map(({ model }) => model))];
  const replies = models.map((model) => {
    const tasks = chosen.filter((one) => one.model === model).map(({ task }) => task);
    const query = new URLSearchParams({ tasks: tasks.join(","), top: 5, ...(model && { model }) });
    return ask(`/v1/predict?${query}`, { method: "POST", body: image });
  });
  const told = await Promise.all(replies);
  const answers = told.flatMap(({ tasks }) => tasks);
  const order = (answer) => chosen.findIndex(({ task }) => task === answer.name);
  return { ...told[0], tasks: answers.sort((a, b) => order(a) - order(b)) };
}

async function predict() {
  const chosen = choices().filter((choice) => choice.chosen);
  if (!image) return;
  if (!chosen.length) {
    get("answers").replaceChildren();
    say(get("said"), "No task is chosen.");
    return;
  }
  const turn = ++asked;
  const started = performance.now();
  say(get("said"), "asking …");
  try {
    const told = await askChosen(chosen);
    const ms = (performance.now() - started).toFixed(0);
    const draws = told.tasks.some((task) => task.mask || task.boxes);
    const picture = draws ? await createImageBitmap(image) : null;
    if (turn !== asked) return;
    const shown = (task) => answer(task, { picture, classes: classes.get(`${task.model} ${task.name}`) ?? [] });
    get("answers").replaceChildren(...told.tasks.map(shown));
    say(get("said"), `${told.width} × ${told.height} pixels, ${ms} ms with the way to the server`);
    showModels();
  } catch (error) {
    if (turn !== asked) return;
    get("answers").replaceChildren();
    say(get("said"), error.message, true);
  }
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
get("compare").addEventListener("click", compareAll);
onKey(showModels);
showModels();
