//! The studio's archives and work, with a program in the place of `ufo` that does nothing and takes long.
#![cfg(unix)]

use crate::archive::zip;
use crate::client::{Reply, Running, picture, png};
use crate::folder;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use ufo_serve::{Limits, StudioConfig};

/// Trains until it is told to stop, but with `--update all`, which fails.
const PROGRAM: &str = "#!/bin/sh
trap 'echo saved >&2; exit 130' TERM
case \"$*\" in
*' all '*) echo 'error: nothing to learn from' >&2; exit 1;;
esac
mkdir -p \"$7\"
echo '{\"step\": 5, \"kind\": \"train\", \"loss\": {\"pets\": 0.5}}' > \"$7/metrics.jsonl\"
while :; do sleep 0.02; done
";

pub(crate) fn start(change: impl FnOnce(&mut StudioConfig)) -> Running {
    start_with(|studio, _| change(studio))
}

pub(crate) fn start_with(change: impl FnOnce(&mut StudioConfig, &mut Limits)) -> Running {
    Running::start(|config| {
        let root = config.models[0].path.parent().unwrap();
        let (run, program) = (root.join("base"), root.join("program"));
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("config.toml"), "[[task]]\nname = \"digits\"\n").unwrap();
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut studio = StudioConfig::new(root.join("studio"), run, program);
        change(&mut studio, &mut config.limits);
        config.studio = Some(studio);
    })
}

pub(crate) fn image(seed: usize) -> Vec<u8> {
    png(&picture(12, 10, seed))
}

/// Images of cats and dogs.
pub(crate) fn pets() -> Vec<(String, Vec<u8>)> {
    let file = |at: usize| (format!("pets/{}/{at}.png", ["cat", "dog"][at % 2]), image(at + 1));
    (0..24).map(file).collect()
}

pub(crate) fn put(server: &Running, name: &str, body: &[u8]) -> Reply {
    server.send("PUT", &format!("/v1/studio/{name}"), "", body)
}

#[test]
fn an_archive_becomes_a_project_and_what_is_wrong_with_it_is_told() {
    let server = start(|_| {});
    let mut files = pets();
    let other = |name: &str, bytes: Vec<u8>| (format!("pets/{name}"), bytes);
    files.push(other("cat/again.png", image(1)));
    files.push(other("dog/also-a-cat.png", image(3)));
    files.push(other("cat/broken.png", image(1)[..40].to_vec()));
    files.push(other("dog/text.jpg", b"no image".to_vec()));
    files.push(other("nowhere.png", image(90)));
    files.push(other("cat/notes.txt", b"left out".to_vec()));
    files.push(other("cat/phone.png", png(&picture(1500, 700, 8))));
    let reply = put(&server, "pets", &zip(&files));
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    let checks = &reply.json()["checks"];
    let count = |kind: &str| checks[kind]["count"].as_u64().unwrap();
    let counts = ["repeated", "contradicting", "unreadable", "unlabeled"].map(count);
    // Of three cats one is a dog, too: both are left out.
    assert_eq!(counts, [1, 2, 2, 1], "{checks}");
    let classes =
        json!([{"name": "cat", "train": 9, "test": 3}, {"name": "dog", "train": 9, "test": 3}]);
    assert_eq!(checks["classes"], classes);
    assert!(checks["warnings"][0].as_str().unwrap().contains("uncertain"), "{checks}");
    let named = checks["unreadable"]["first"].to_string();
    assert!(named.contains("broken.png") && named.contains("text.jpg"), "{named}");
    let sheet = ufo_data::decode(&server.get("/v1/studio/pets/sheet.png").body).unwrap();
    assert_eq!((sheet.width, sheet.height), (768, 384));
    let project = server.folder.path().join("studio/pets");
    let task = fs::read_to_string(project.join("task.toml")).unwrap();
    assert!(task.contains("name = \"pets\"") && task.contains("validation = 0.0"), "{task}");
    // Large images are kept small.
    let side = |path: &Path| ufo_data::decode(&fs::read(path).unwrap()).unwrap().width;
    let all = ["train", "test"].map(|split| project.join("images").join(split).join("cat"));
    let sides = all.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    assert_eq!(sides.map(|entry| side(&entry.unwrap().path())).max(), Some(512));
    put(&server, "pets", &zip(&pets())).refused(409, "exists already");
    put(&server, "digits", &zip(&pets())).refused(409, "exists already");
    let listed = server.get("/v1/studio").json();
    assert_eq!(
        (&listed["projects"][0]["name"], &listed["tasks"]),
        (&json!("pets"), &json!(["digits"]))
    );
    assert_eq!(server.send("DELETE", "/v1/studio/pets", "", &[]).status, 200);
    server.get("/v1/studio/pets").refused(404, "no project");
    assert!(!project.exists());
}

#[test]
fn identities_are_held_out_whole_and_their_images_are_found_again() {
    let server = start(|_| {});
    let put = |name: &str, query: &str, files: &[(String, Vec<u8>)]| {
        server.send("PUT", &format!("/v1/studio/{name}{query}"), "", &zip(files))
    };
    let file = |at: usize| (format!("person {}/{at}.png", at / 3), image(at + 1));
    let mut files: Vec<_> = (0..36).map(file).collect();
    files.push(("alone/1.png".into(), image(99)));
    let reply = put("faces", "?folders=identities", &files);
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    let checks = &reply.json()["checks"];
    assert_eq!((&checks["folders"], &checks["own_test"]), (&json!("identities"), &json!(false)));
    let counts: Vec<[u64; 2]> = checks["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| ["train", "test"].map(|split| one[split].as_u64().unwrap()))
        .collect();
    // A fifth of twelve, each with all of its images; the one that is alone tells nothing in a test.
    let of = |wanted: [u64; 2]| counts.iter().filter(|found| **found == wanted).count();
    assert_eq!((of([3, 0]), of([0, 3]), of([1, 0])), (9, 3, 1), "{counts:?}");
    let warnings = checks["warnings"].to_string();
    assert!(warnings.contains("1 identities have a single image"), "{warnings}");
    let task = server.folder.path().join("studio/faces/task.toml");
    let task = fs::read_to_string(task).unwrap();
    for part in ["kind = \"embedding\"", "per_identity = 2", "batch = 20", "\"retrieval\""] {
        assert!(task.contains(part), "{part}: {task}");
    }
    put("few", "?folders=identities", &files[..7]).refused(400, "at least 2");
    put("other", "?folders=species", &files).refused(400, "classes");

    // The images of a task `faces`, by a model of it that is served.
    let missing = "/v1/studio/faces/similar/faces";
    server.post(missing, &image(2)).refused(404, "no model `faces` of `faces` is served");
    let model = server.folder.path().join("studio/faces/models/whole");
    folder::write(&model, 5);
    fs::write(model.join("results.json"), "[]").unwrap();
    fs::write(model.join("model.int8.onnx"), "").unwrap();
    let served = server.post("/v1/studio/faces/models/whole", b"{\"form\": \"f32\"}");
    assert_eq!(served.status, 200, "{}", String::from_utf8_lossy(&served.body));
    // All ask for the first time, at once.
    let all = std::thread::scope(|scope| {
        let ask = || server.post(missing, &image(30)).json();
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(all[0]["matches"].as_array().unwrap().len(), 12);
    assert!(all.iter().all(|one| *one == all[0]));
    for seed in [2, 30] {
        let found = server.post(missing, &image(seed)).json()["matches"].clone();
        assert_eq!(found.as_array().unwrap().len(), 12);
        let person = format!("person {}", (seed - 1) / 3);
        assert_eq!(found[0]["label"], json!(person), "{found}");
        assert!(found[0]["similarity"].as_f64().unwrap() > 0.9999, "{found}");
        let place = found[0]["image"].as_str().unwrap().replace(' ', "%20");
        let shown = server.get(&format!("/v1/studio/faces/images/{place}"));
        assert_eq!(shown.body, image(seed));
        assert!(shown.head.contains("image/png"), "{}", shown.head);
    }
    for place in ["train/..%2f..%2f../checks.json", "%2e%2e/%2e%2e/task.toml", "train/alone/x.png"]
    {
        assert_eq!(server.get(&format!("/v1/studio/faces/images/{place}")).status, 404, "{place}");
    }
    server.post(missing, b"no image").refused(415, "JPEG, PNG, WebP");
    server.post("/v1/studio/faces/similar/first", &image(2)).refused(404, "is served");
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing_behind() {
    let server = start(|studio| {
        studio.images = 30;
        studio.classes = 5;
        studio.image_bytes = 100_000;
        studio.upload_bytes = 1 << 20;
    });
    let with = |name: &str, bytes: Vec<u8>| {
        let mut files = pets();
        files.push((name.to_string(), bytes));
        zip(&files)
    };
    // A bomb is one unreadable image: no more of it is unpacked than an image may have.
    let bomb = put(&server, "bomb", &with("pets/cat/bomb.png", vec![0; 50 << 20])).json();
    let said = bomb["checks"]["unreadable"]["first"][0].as_str().unwrap().to_string();
    assert!(said.contains("bomb.png: larger than 100000 bytes"), "{said}");
    // Names that lead out of the folder lead nowhere; those of classes are names.
    for (name, status) in [
        ("../../../../tmp/cat/x.png", 201),
        ("/etc/cat/x.png", 400),
        ("..\\..\\cat\\x.png", 201),
        ("a\0b/x.png", 400),
        ("C:/x.png", 400),
        ("a\n/x.png", 400),
    ] {
        let project = format!("p{}", name.len());
        let reply = put(&server, &project, &with(name, image(70)));
        assert_eq!(reply.status, status, "{name}: {}", String::from_utf8_lossy(&reply.body));
        if status == 201 {
            assert_eq!(
                server.send("DELETE", &format!("/v1/studio/{project}"), "", &[]).status,
                200
            );
        }
    }
    let many: Vec<_> = (0..31).map(|at| (format!("c{}/{at}.png", at % 2), image(at))).collect();
    put(&server, "many", &zip(&many)).refused(413, "31 images; allowed: 30");
    let wide: Vec<_> = (0..24).map(|at| (format!("c{}/{at}.png", at % 6), image(at + 1))).collect();
    put(&server, "wide", &zip(&wide)).refused(413, "6 classes; allowed: 5");
    put(&server, "large", &vec![0; (1 << 20) + 1]).refused(413, "1048576 bytes");
    put(&server, "none", b"PK no archive").refused(400, "zip");
    put(&server, "none", &[]).refused(400, "zip");
    let whole = zip(&pets());
    put(&server, "cut", &whole[..whole.len() - 30]).refused(400, "zip");
    put(&server, "one", &zip(&pets()[..1])).refused(400, "at least 2");
    let single = [("a/1.png".into(), image(1)), ("b/1.png".into(), image(2))];
    put(&server, "single", &zip(&single)).refused(400, "at least 1");
    for name in ["..", "%2e%2e%2fup", "a.b", "A", "-a", "a%00"] {
        let status = put(&server, name, &whole).status;
        assert!([400, 404].contains(&status), "{name}: {status}");
    }
    let kept = fs::read_dir(server.folder.path().join("studio")).unwrap();
    let mut kept: Vec<String> =
        kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    kept.sort();
    assert_eq!(kept, [".lock", "bomb", "served.json"]);
}

fn job(server: &Running) -> Value {
    server.get("/v1/studio/pets").json()["job"].clone()
}

pub(crate) fn ends(server: &Running) -> Value {
    loop {
        let job = job(server);
        if job["state"] != "running" {
            return job;
        }
        std::thread::yield_now();
    }
}

#[test]
fn work_is_one_at_a_time_told_cancelled_and_outlives_nothing() {
    let mut server = start(|_| {});
    assert_eq!(put(&server, "pets", &zip(&pets())).status, 201);
    let begin = |wanted: Value| server.post("/v1/studio/pets/job", wanted.to_string().as_bytes());
    for (wanted, word) in [
        (json!({"kind": "train", "seconds": 0}), "seconds is 0"),
        (json!({"kind": "train", "update": "--out"}), "update is `--out`"),
        (json!({"kind": "student", "network": "../x"}), "network is"),
        (json!({"kind": "steal"}), "steal"),
        (json!({"kind": "train", "more": 1}), "more"),
    ] {
        begin(wanted).refused(400, word);
    }
    begin(json!({"kind": "sizes"})).refused(409, "train the task first");
    begin(json!({"kind": "pick", "point": 0})).refused(409, "search");
    server.send("DELETE", "/v1/studio/pets/job", "", &[]).refused(409, "no work");
    assert_eq!(begin(json!({"kind": "train", "update": "all"})).status, 200);
    let failed = ends(&server);
    assert_eq!(
        (&failed["state"], &failed["error"]),
        (&json!("failed"), &json!("nothing to learn from"))
    );

    assert_eq!(begin(json!({"kind": "train", "seconds": 9})).status, 200);
    begin(json!({"kind": "train"})).refused(409, "work on `pets` goes on");
    server.send("DELETE", "/v1/studio/pets", "", &[]).refused(409, "cancel");
    let curves = || server.get("/v1/studio/pets").json()["curves"]["loss"].clone();
    while curves() != json!([[5, 0.5]]) {
        std::thread::yield_now();
    }
    let running = job(&server);
    assert_eq!((&running["what"], &running["budget"]), (&json!("training"), &json!(9)));
    assert_eq!(server.send("DELETE", "/v1/studio/pets/job", "", &[]).status, 200);
    assert_eq!(ends(&server)["state"], "cancelled");
    assert_eq!(server.get("/v1/studio/pets").json()["log"], "saved\n");

    // The server's end is asked of the work, too.
    assert_eq!(begin(json!({"kind": "train", "resume": true})).status, 200);
    while !server.folder.path().join("studio/pets/run/metrics.jsonl").exists() {
        std::thread::yield_now();
    }
    server.stop();
    let told = server.folder.path().join("studio/pets/job.json");
    let text = loop {
        let text = fs::read_to_string(&told).unwrap();
        if !text.contains("running") {
            break text;
        }
        std::thread::yield_now();
    };
    assert!(text.contains("cancelled"), "{text}");
}

#[test]
fn a_studio_is_for_this_machine_or_for_those_with_a_key() {
    let server = start(|_| {});
    let ask = |headers: &str| server.send("POST", "/v1/studio/pets/job", headers, b"{}");
    ask("Origin: http://elsewhere.example\r\n").refused(403, "other sites");
    let raw =
        server.raw(b"GET /v1/studio HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(raw.starts_with(b"HTTP/1.1 403"));
    Running::start(|_| {}).get("/v1/studio").refused(404, "ufo studio");
    let folder = tempfile::tempdir().unwrap();
    let path = || folder.path().to_path_buf();
    let config = ufo_serve::Config {
        listen: "0.0.0.0:0".into(),
        studio: Some(StudioConfig::new(path(), path(), "ufo".into())),
        ..ufo_serve::Config::default()
    };
    let said = ufo_serve::Server::open(&config).err().unwrap().to_string();
    assert!(said.contains("api_keys"), "{said}");
}
