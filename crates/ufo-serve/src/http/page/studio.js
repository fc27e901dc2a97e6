"use strict";
// The studio: which task is shown, and how a new one comes to be. The server keeps everything; a page that is
// opened again shows where things are.

let files = [];
let shownProject = null;
let timer = 0;

/** Something that is asked for; trouble is told at the end of the page. */
async function attempt(work) {
  try {
    say(get("trouble"), "");
    await work();
  } catch (error) {
    say(get("trouble"), error.message, true);
  }
}

const current = () => decodeURIComponent(location.hash.slice(1));
const at = (...parts) => ["/v1/studio", current(), ...parts].map((part, i) => (i ? encodeURIComponent(part) : part)).join("/");

async function showProjects() {
  const { projects, tasks } = await ask("/v1/studio");
  say(get("server"), `starts from a run of ${tasks.join(", ")}`);
  const link = ({ name, state }) => {
    const made = element("a", name);
    made.href = `#${name}`;
    if (name === current()) made.setAttribute("aria-current", "page");
    return state === "running" ? element("span", "", made, " …") : made;
  };
  const fresh = element("a", "New task");
  fresh.href = "#";
  if (!current()) fresh.setAttribute("aria-current", "page");
  get("projects").replaceChildren(...projects.map(link), fresh);
}

/** Shows the project that the address names, or the form for a new one; looks again while work goes on. */
async function show() {
  clearTimeout(timer);
  const name = current();
  get("new").hidden = Boolean(name);
  get("project").hidden = !name;
  document.title = name ? `${name} – ufo studio` : "ufo studio";
  await attempt(async () => {
    await showProjects();
    if (!name) return;
    const told = await ask(at());
    if (name !== current()) return;
    if (shownProject !== name) {
      shownProject = name;
      showImages(told);
      forget();
    }
    showWork(told);
    if (told.job?.state === "running") timer = setTimeout(show, 1000);
  });
}

function showImages({ name, checks }) {
  const sum = (split) => checks.classes.reduce((all, one) => all + one[split], 0);
  const identities = checks.folders === "identities";
  const fifth = identities ? "a fifth of the identities is kept for the test" : "a fifth of each class is kept for the test";
  const own = checks.own_test ? "the archive's own test images" : fifth;
  const many = identities ? count(checks.classes.length, "identity", "identities") : count(checks.classes.length, "class", "classes");
  say(get("label"), identities ? "identity" : "class");
  say(get("counts"), `${many}, ${count(sum("train"), "image")} to train on and ${count(sum("test"), "image")} to test with; ${own}.`);
  get("warnings").replaceChildren(...checks.warnings.map((text) => element("li", text)));
  const row = (one) => element("tr", "", element("td", one.name), element("td", one.train), element("td", one.test));
  get("classes").replaceChildren(...checks.classes.map(row));
  const kinds = [
    ["unreadable", "cannot be read"],
    ["repeated", "same as another of the folder"],
    ["contradicting", "the same in several folders"],
    ["unlabeled", "in no folder"],
  ];
  const troubles = kinds.filter(([kind]) => checks[kind].count).map(([kind, words]) => {
    const { count: many, first } = checks[kind];
    const names = element("ul", "", ...first.map((text) => element("li", text)));
    return element("details", "", element("summary", `Left out: ${count(many, "image")}, ${words}`), names);
  });
  get("troubles").replaceChildren(...troubles);
  showSheet(name);
}

/** Shows an image of the server; fetched by hand, since an image's address takes no key. */
async function showFile(place, path, wanted = () => true) {
  const reply = await fetch(path, { headers: key ? { "X-API-Key": key } : {} });
  if (!reply.ok || !wanted()) return false;
  if (place.src) URL.revokeObjectURL(place.src);
  place.src = URL.createObjectURL(await reply.blob());
  return true;
}

/** The contact sheet. */
async function showSheet(name) {
  const sheet = get("sheet");
  if (!(await showFile(sheet, at("sheet.png"), () => name === current()))) return;
  sheet.alt = `Some of the images of ${name}`;
}

/** Takes files to upload: one archive, or `[path, file]` pairs. */
function choose(chosen) {
  files = chosen;
  const bytes = chosen.reduce((all, [, file]) => all + file.size, 0);
  const what = chosen.length === 1 ? chosen[0][0] : count(chosen.length, "file");
  say(get("chosen"), chosen.length ? `${what}, ${size(bytes)}` : "");
  const folder = chosen[0]?.[0].split("/")[0].replace(/\.zip$/i, "") ?? "";
  const name = folder.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^[^a-z]+|-+$/g, "").slice(0, 40);
  if (!get("name").value) get("name").value = name;
}

/** Sends a body and tells how much is sent, which `fetch` does not. */
function upload(path, body) {
  const bar = get("sent");
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PUT", path);
    request.responseType = "json";
    if (key) request.setRequestHeader("X-API-Key", key);
    request.upload.addEventListener("progress", (event) => {
      bar.value = event.loaded / event.total;
      if (event.loaded === event.total) say(get("new-said"), "checking every image …");
    });
    request.addEventListener("load", () =>
      request.status < 300 ? done(request.response) : failed(new Error(request.response?.error ?? `status ${request.status}`)));
    request.addEventListener("error", () => failed(new Error("The server cannot be reached.")));
    request.send(body);
  });
}

async function create(event) {
  event.preventDefault();
  const [said, bar, name] = [get("new-said"), get("sent"), get("name").value];
  if (!files.length) return say(said, "Choose an archive or a folder first.", true);
  get("upload").disabled = true;
  bar.hidden = false;
  bar.value = 0;
  try {
    const single = files.length === 1 && /\.zip$/i.test(files[0][0]);
    const body = single ? files[0][1] : await archive(files, (done) => say(said, `reading ${done} of ${files.length} files …`));
    say(said, "uploading …");
    const folders = get("create").elements.folders.value;
    await upload(`/v1/studio/${encodeURIComponent(name)}?folders=${folders}`, body);
    say(said, "");
    choose([]);
    get("create").reset();
    location.hash = name;
  } catch (error) {
    say(said, error.message, true);
  }
  get("upload").disabled = false;
  bar.hidden = true;
}

get("create").addEventListener("submit", create);
get("zip").addEventListener("change", (event) => choose([...event.target.files].map((file) => [file.name, file])));
get("folder").addEventListener("change", (event) =>
  choose([...event.target.files].map((file) => [file.webkitRelativePath || file.name, file])));
for (const kind of ["dragover", "dragleave", "drop"]) {
  get("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    get("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") attempt(async () => choose(await dropped(event.dataTransfer.items)));
  });
}
get("remove").addEventListener("click", () =>
  attempt(async () => {
    if (!confirm(`Remove ${current()} with its images and models?`)) return;
    await ask(at(), { method: "DELETE" });
    shownProject = null;
    location.hash = "";
  }));
window.addEventListener("hashchange", show);
window.addEventListener("DOMContentLoaded", show);
onKey(show);
