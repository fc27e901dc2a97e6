//! Models that change while the server runs.

use crate::client::{Running, picture, png};
use crate::folder;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use ufo_onnx::{Dim, Graph};

/// A server whose models may change, with a third folder, `third`, to change to.
fn changing() -> Running {
    Running::start(|config| {
        let root = config.models[0].path.parent().unwrap();
        folder::write(&root.join("third"), 77);
        config.updates = Some(root.to_path_buf());
        config.galleries = Some(root.join("galleries"));
    })
}

fn put(server: &Running, name: &str, path: &str) -> crate::client::Reply {
    let body = json!({"path": path}).to_string();
    server.send("PUT", &format!("/v1/models/{name}"), "", body.as_bytes())
}

const ASK: &str = "/v1/predict/colors?logits=true&model=second";

#[test]
fn a_model_is_replaced_under_load_and_every_answer_is_of_one_or_the_other() {
    let server = Running::start(|config| {
        let root = config.models[0].path.parent().unwrap();
        folder::write(&root.join("third"), 77);
        config.updates = Some(root.to_path_buf());
    });
    let file = png(&picture(20, 20, 1));
    let before = server.post(ASK, &file);
    let done = AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        let ask = || {
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) {
                answers.push(server.post(ASK, &file));
            }
            answers
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        for _ in 0..3 {
            for path in ["third", "second"] {
                let reply = put(&server, "second", path);
                assert_eq!(reply.json()["replaced"], true, "{reply:?}");
            }
        }
        assert_eq!(put(&server, "second", "third").status, 200);
        done.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let after = server.post(ASK, &file);
    assert_ne!(before.body, after.body);
    assert!(answers.len() > 10);
    for answer in answers {
        assert_eq!(answer.status, 200);
        assert!(answer.body == before.body || answer.body == after.body);
    }
    // Counts go on; what was asked is not lost with the model.
    assert!(server.count("ufo_task_images_total{model=\"second\",task=\"colors\"}") > 10);

    // Added and taken out.
    assert_eq!(put(&server, "new", "first").json()["replaced"], false);
    assert_eq!(server.post("/v1/predict/faces?model=new", &file).status, 200);
    assert_eq!(server.send("DELETE", "/v1/models/new", "", &[]).status, 200);
    server.post("/v1/predict/faces?model=new", &file).refused(404, "no model `new`");
    server.send("DELETE", "/v1/models/new", "", &[]).refused(404, "no model `new`");
}

#[test]
fn what_cannot_be_served_changes_nothing() {
    let server = changing();
    let file = png(&picture(20, 20, 1));
    let before = server.post(ASK, &file).body;
    let root = server.folder.path();
    std::fs::create_dir(root.join("empty")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
    put(&server, "second", "empty").refused(409, "config.json");
    for path in ["../x", "/etc", "missing", ".", "first/../first", "link"] {
        put(&server, "second", path).refused(400, "under `updates`");
    }
    put(&server, "..%2fx", "first").refused(400, "name");
    put(&server, ".x", "first").refused(400, "name");
    let send = |body: &str| server.send("PUT", "/v1/models/x", "", body.as_bytes());
    send("{\"path\": \"first\", \"precision\": \"f64\"}").refused(400, "f32, bf16, int8");
    send("{\"path\": \"first\", \"more\": 1}").refused(400, "more");
    send("").refused(400, "body");
    // A gallery is of the weights that made it.
    assert_eq!(server.send("PUT", "/v1/gallery/faces/a?model=second", "", &file).status, 201);
    put(&server, "second", "third").refused(409, "another model");
    assert_eq!(put(&server, "second", "second").status, 200);
    let listed = server.get("/v1/gallery/faces?model=second").json();
    assert_eq!(listed["ids"], json!(["a"]));
    assert_eq!(server.post(ASK, &file).body, before);
    assert_eq!(server.get("/v1/models").json()["models"].as_array().unwrap().len(), 2);
}

/// An embedding of 2 numbers for one image at a time: it fails on a larger batch.
fn write_failing(file: &std::path::Path) {
    let mut graph = Graph::new("failing");
    let sides = [3, folder::SIDE, folder::SIDE].map(Dim::Fixed);
    let image = graph.input("image", &[&[Dim::Named("n".into())], &sides[..]].concat());
    let shape = graph.ints("shape", &[2], &[1, folder::IMAGE as i64]).unwrap();
    let flat = graph.node("Reshape", &[&image, &shape], &[]);
    let weight = graph.weight("w", &[folder::IMAGE, 2], &[0.5; 2 * folder::IMAGE]).unwrap();
    let two = graph.node("MatMul", &[&flat, &weight], &[]);
    graph.output("faces", &two, &[Dim::Named("n".into()), Dim::Fixed(2)]);
    let config: Value = serde_json::from_slice(
        &std::fs::read(file.with_file_name("first").join(ufo_runtime::CONFIG)).unwrap(),
    )
    .unwrap();
    let mut faces = config["tasks"][1].clone();
    faces["head"]["dim"] = json!(2);
    graph.metadata("tasks", &json!([faces]).to_string());
    graph.metadata("preprocess", &config["preprocess"].to_string());
    graph.save(file).unwrap();
}

#[test]
fn a_model_of_embeddings_is_replaced_while_its_gallery_is_empty() {
    let server = changing();
    let file = png(&picture(20, 20, 1));
    let image = "/v1/gallery/faces/a?model=second";
    let search = || server.post("/v1/search/faces?model=second", &file).json();
    let add = || assert_eq!(server.send("PUT", image, "", &file).status, 201);
    write_failing(&server.folder.path().join("failing.onnx"));
    // A model that fails when it is warmed leaves the gallery to the one that is there.
    put(&server, "second", "failing.onnx").refused(409, "faces");
    add();
    assert_eq!(search()["matches"][0]["id"], "a");
    put(&server, "second", "third").refused(409, "another model");
    assert_eq!(server.send("DELETE", image, "", &[]).status, 200);
    let before = server.post("/v1/predict/faces?model=second", &file).body;
    assert_eq!(put(&server, "second", "third").status, 200);
    assert_ne!(server.post("/v1/predict/faces?model=second", &file).body, before);
    add();
    let found = search();
    assert_eq!((&found["images"], &found["matches"][0]["id"]), (&json!(1), &json!("a")));
    assert!(found["matches"][0]["similarity"].as_f64().unwrap() > 0.9999, "{found}");
    // Now it is of the weights of `third`.
    put(&server, "second", "second").refused(409, "another model");
    assert_eq!(put(&server, "second", "third").status, 200);
    assert_eq!(search()["images"], 1);
}

#[test]
fn models_change_only_where_it_is_allowed_and_for_no_other_site() {
    let server = Running::start(|_| {});
    put(&server, "second", "first").refused(404, "do not change");
    server.send("DELETE", "/v1/models/second", "", &[]).refused(404, "do not change");
    let server = changing();
    let body = json!({"path": "first"}).to_string();
    let ask = |headers: &str| server.send("PUT", "/v1/models/x", headers, body.as_bytes());
    ask("Origin: http://elsewhere.example\r\n").refused(403, "other sites");
    ask("Sec-Fetch-Site: cross-site\r\n").refused(403, "other sites");
    let raw = format!(
        "PUT /v1/models/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = String::from_utf8(server.raw(raw.as_bytes())).unwrap();
    assert!(reply.starts_with("HTTP/1.1 403") && reply.contains("localhost"), "{reply}");
    assert_eq!(ask("Origin: http://127.0.0.1\r\n").status, 403);
    assert_eq!(ask("Sec-Fetch-Site: same-origin\r\n").status, 200);
}

#[test]
fn shared_modules_are_named_once_and_count_what_ran() {
    let server = Running::start(|_| {});
    let file = png(&picture(20, 20, 1));
    for task in ["colors", "faces", "faces"] {
        server.post(&format!("/v1/predict/{task}"), &file);
    }
    let told = server.get("/v2/models/first").json();
    let modules = told["modules"].as_array().unwrap();
    let named = |name: &str| modules.iter().find(|module| module["name"] == name).unwrap();
    assert_eq!(named("tasks.colors.blocks.1.attn")["images"], 1);
    assert_eq!(named("shared.blocks.1.mlp")["images"], 2);
    assert_eq!(named("shared.norm")["tasks"], json!(["faces"]));
    assert_eq!(modules.len(), 2 * (1 + 4 + 1 + 1));
}

#[test]
fn models_are_compared_by_what_their_folders_say_and_what_is_measured() {
    let server = Running::start(|config| {
        let results = json!([{"as": "f32", "task": "colors", "metric": "top1", "value": 0.75}]);
        let place = config.models[1].path.join("results.json");
        std::fs::write(place, results.to_string()).unwrap();
    });
    let told = server.post("/v1/compare?task=colors", b"").json();
    let rows = told["rows"].as_array().unwrap();
    let models: Vec<_> = rows.iter().map(|row| row["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["first", "second"]);
    assert_eq!((&rows[0]["value"], &rows[1]["value"]), (&json!(null), &json!(0.75)));
    for row in rows {
        let times: Vec<f64> =
            row["latency_ms"].as_array().unwrap().iter().map(|ms| ms.as_f64().unwrap()).collect();
        assert!(times[0] > 0.0 && times[0] <= times[1] && times[1] <= times[2], "{times:?}");
        assert!(row["bytes"].as_u64().unwrap() > 10_000);
    }
    assert_eq!(server.post("/v1/compare", b"").json()["rows"].as_array().unwrap().len(), 4);
}
