"use strict";
// The studio's work on a task: training, smaller networks, models, and what they say of an image.

let point = null;
let front = "";

/** Leaves behind what another task showed. */
function forget() {
  [point, front] = [null, ""];
  for (const id of ["answers", "compared", "points", "front-chart"]) get(id).replaceChildren();
  for (const id of ["said", "compared-said"]) say(get(id), "");
  get("compared").closest(".scroll").hidden = true;
  get("shown").hidden = true;
}

function showWork(told) {
  const { job, trained, models } = told;
  const running = job?.state === "running";
  for (const button of document.querySelectorAll("#project form button, #project [data-work]")) button.disabled = running;
  get("resume").hidden = !job || job.wanted.kind !== "train" || !["cancelled", "interrupted"].includes(job.state);
  showJob(told, running);
  const result = trained && models.some(({ name }) => name === "whole");
  get("result").replaceChildren();
  if (result) {
    const identities = told.checks.folders === "identities";
    const right = identities ? "find another of their identity, none of which was trained on, first among all others" : "right";
    const sum = told.checks.classes.reduce((all, one) => all + one.test, 0);
    get("result").append(element("strong", percent(trained.value)), ` of ${count(sum, "test image")} ${right} (${trained.metric}); trained on ${count(trained.images, "image")}, ${count(trained.parameters.trained, "parameter")} of ${trained.parameters.path.toLocaleString("en")}.`);
  }
  get("sizes-section").hidden = !result;
  get("models-section").hidden = !models.length;
  get("trying").hidden = !told.served.some(Boolean);
  showFront(told.front);
  showModels(told);
}

function showJob({ job, curves, log }, running) {
  get("job").hidden = !job;
  if (!job) return;
  const ends = { done: "done", failed: `failed: ${job.error}`, cancelled: "cancelled; its last checkpoint is kept", interrupted: "interrupted, since the server ended" };
  const seconds = `${job.seconds.toFixed(0)} s${job.budget ? ` of ${job.budget} s` : ""}`;
  const stage = `${job.what}, ${job.step} of ${job.steps}`;
  // Read out where the stage changes, not each second.
  say(get("job-said"), running ? stage : `${stage}: ${ends[job.state]}`, job.state === "failed");
  say(get("job-seconds"), running ? `· ${seconds}` : "");
  get("cancel").hidden = !running;
  const bar = get("job-bar");
  bar.hidden = !running;
  if (job.budget) bar.value = Math.min(1, job.seconds / job.budget);
  else bar.removeAttribute("value");
  say(get("log"), log.trimEnd());
  const drawn = [];
  const step = { name: "step", format: (value) => value };
  const picture = (points, kind, name, format) => {
    if (points.length) drawn.push(chart({ series: [{ name, points, kind }], x: step, y: { name, format }, label: `${name} by step, last ${points.at(-1)[1].toPrecision(3)}` }));
  };
  if (curves) {
    picture(curves.loss, "a", "loss on training images", (value) => value);
    picture(curves.metric, "b", "right on held-out images", (value) => `${(100 * value).toFixed(0)} %`);
  }
  get("curves").replaceChildren(...drawn);
}

function showFront(told) {
  get("front").hidden = !told;
  const text = JSON.stringify(told);
  if (!told || text === front) return;
  front = text;
  point ??= told.points.length - 1;
  const draw = () => get("front-chart").replaceChildren(frontChart(told, (_, place) => place === point));
  const choose = (place) => {
    point = place;
    draw();
  };
  get("points").replaceChildren(...pointChoices(told, "point", point, choose));
  draw();
}

const NAMES = { f32: "f32", int8: "8-bit integers", onnx: "ONNX", "onnx-int8": "ONNX, 8-bit weights" };

function modelName(name) {
  if (name === "whole") return "The whole network";
  return name === "student" ? "Student" : `Smaller network ${name.slice(5)}`;
}

function showModels({ models, served }) {
  const card = (model) => {
    const rows = model.forms.map(({ form, papers }) => {
      const scored = papers.results[0];
      const own = served.find((one) => one && one.model === model.name && one.form === form);
      const button = element("button", own ? "Served" : "Serve");
      button.dataset.work = "serve";
      button.setAttribute("aria-label", `Serve ${modelName(model.name)}, ${NAMES[form]}`);
      button.disabled = Boolean(own);
      button.addEventListener("click", () => serve(model.name, form));
      const cells = [NAMES[form], scored ? `${percent(scored.value)} ${scored.metric}` : "–"];
      const last = own ? element("td", "", element("code", own.name)) : element("td", "", button);
      return element("tr", "", ...cells.map((text) => element("td", text)), last, element("td", size(papers.bytes)));
    });
    const head = element("tr", "", ...["runs as", "test images", "served as", "weights"].map((text) => element("th", text)));
    const body = element("tbody");
    const table = element("table", "", element("thead", "", head), body);
    fill(body, rows);
    const downloads = model.files.filter((file) => file.startsWith("model.")).map((file) => {
      const button = element("button", file);
      button.setAttribute("aria-label", `Download ${file} of ${modelName(model.name)}`);
      button.addEventListener("click", () => attempt(() => download(model.name, file)));
      return button;
    });
    const line = element("p", "Download: ", ...downloads);
    line.className = "downloads";
    const scroll = element("div", "", table);
    scroll.className = "scroll stack";
    const made = element("article", "", element("h3", modelName(model.name)), scroll, line);
    made.className = "answer";
    return made;
  };
  // Not drawn anew while nothing changes, which would take the focus from a button.
  const text = JSON.stringify([models, served]);
  if (get("cards").dataset.shown === text) return;
  get("cards").dataset.shown = text;
  get("cards").replaceChildren(...models.map(card));
}

const serve = (model, form) =>
  attempt(async () => {
    await send("POST", at("models", model), { form });
    await show();
    get("file").focus();
  });

/** Fetches a file with the key, and hands it to the browser. */
async function download(model, file) {
  const reply = await fetch(at("models", model, file), { headers: key ? { "X-API-Key": key } : {} });
  if (!reply.ok) throw new Error((await reply.json()).error);
  const link = element("a");
  link.href = URL.createObjectURL(await reply.blob());
  link.download = `${current()}-${model}.${file}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Starts work and looks how it goes. */
const work = (wanted) =>
  attempt(async () => {
    await send("POST", at("job"), wanted);
    await show();
    get("job").scrollIntoView({ block: "nearest" });
  });

function onWork(id, wanted) {
  get(id).addEventListener("submit", (event) => {
    event.preventDefault();
    work(wanted());
  });
}

const train = (resume) => ({ kind: "train", seconds: Number(get("train-seconds").value), update: get("update").value, resume });
onWork("train", () => train(false));
get("resume").addEventListener("click", () => work(train(true)));
onWork("sizes", () => ({ kind: "sizes", seconds: Number(get("sizes-seconds").value) }));
onWork("pick", () => ({ kind: "pick", point }));
onWork("student", () => ({ kind: "student", seconds: Number(get("student-seconds").value), network: get("network").value }));
get("cancel").addEventListener("click", () => attempt(async () => say(get("job-said"), `${(await ask(at("job"), { method: "DELETE" })).what}: stopping …`)));

get("compare").addEventListener("click", () =>
  attempt(async () => {
    const place = get("compared-said");
    say(place, "measuring …");
    const { rows, threads } = await send("POST", at("compare"));
    fill(get("compared"), rows.map(comparedRow));
    get("compared").closest(".scroll").hidden = false;
    say(place, `One image on ${count(threads, "thread")} of this machine: the median, and in brackets what a tenth and nine tenths of the runs stayed below.`);
  }));

/** The images that a model finds most similar, the most similar first. */
function lookalikes({ name, model, matches }) {
  const list = element("ol");
  list.className = "lookalikes";
  for (const { image, label, similarity } of matches) {
    const shown = element("img");
    shown.alt = "";
    showFile(shown, at("images", ...image.split("/")));
    list.append(element("li", "", shown, element("span", `${label}, ${similarity.toFixed(2)}`)));
  }
  const card = element("article", "", element("h3", `${name} `, element("small", model)), list);
  card.className = "answer";
  return card;
}

/** Asks all served models of the task. */
const tryImage = (file) =>
  attempt(async () => {
    if (!file) return;
    const shown = get("shown");
    if (shown.src) URL.revokeObjectURL(shown.src);
    Object.assign(shown, { src: URL.createObjectURL(file), alt: file.name, hidden: false });
    get("answers").replaceChildren();
    say(get("said"), "asking …");
    const { served, checks } = await ask(at());
    const answers = [];
    const embeds = checks.folders === "identities";
    for (const one of served.filter(Boolean)) {
      if (embeds) {
        const { matches } = await ask(at("similar", one.name), { method: "POST", body: file });
        answers.push({ name: current(), model: one.name, matches });
        continue;
      }
      const query = new URLSearchParams({ model: one.name, top: 5 });
      answers.push(...(await ask(`/v1/predict?${query}&tasks=${encodeURIComponent(current())}`, { method: "POST", body: file })).tasks);
    }
    get("answers").replaceChildren(...answers.map((one) => (embeds ? lookalikes(one) : answer(one))));
    if (embeds) return say(get("said"), answers[0]?.matches.length ? `most like ${answers[0].matches[0].label}, says ${answers[0].model}` : "");
    say(get("said"), answers[0]?.top ? `${answers[0].top[0].class}, says ${answers[0].model}` : "");
  });

get("file").addEventListener("change", (event) => tryImage(event.target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  get("drop-image").addEventListener(kind, (event) => {
    event.preventDefault();
    get("drop-image").classList.toggle("over", kind === "dragover");
    if (kind === "drop") tryImage(event.dataTransfer.files[0]);
  });
}
