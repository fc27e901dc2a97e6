//! Galleries over HTTP.

use crate::client::{Running, picture, png};
use serde_json::{Value, json};

fn with_galleries() -> Running {
    Running::start(|config| {
        config.galleries = Some(config.models[0].path.with_file_name("galleries"));
        config.limits.gallery_images = 3;
    })
}

fn embedding(server: &Running, file: &[u8]) -> Vec<f64> {
    let reply = server.post("/v1/predict/faces", file).json();
    let numbers = reply["tasks"][0]["embedding"].as_array().unwrap();
    numbers.iter().map(|v| v.as_f64().unwrap()).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    sum(a, b) / (sum(a, a) * sum(b, b)).sqrt()
}

#[test]
fn images_are_added_found_by_cosine_and_removed() {
    let server = with_galleries();
    let files = [1, 5, 9].map(|seed| png(&picture(20, 20, seed)));
    for (id, file) in ["a", "b%2F..%2Fb", "c"].iter().zip(&files) {
        let added = server.send("PUT", &format!("/v1/gallery/faces/{id}"), "", file);
        assert_eq!(added.status, 201, "{id}");
    }
    assert_eq!(server.send("PUT", "/v1/gallery/faces/a", "", &files[0]).status, 200);
    let refused = server.send("PUT", "/v1/gallery/faces/d", "", &files[0]);
    refused.refused(507, "most images");
    assert_eq!(
        server.get("/v1/gallery/faces").json(),
        json!({"images": 3, "ids": ["a", "b/../b", "c"]})
    );
    assert_eq!(server.get("/v1/gallery/faces?after=a&limit=1").json()["ids"], json!(["b/../b"]));

    let query = png(&picture(20, 20, 6));
    let rows = files.each_ref().map(|file| embedding(&server, file));
    let asked = embedding(&server, &query);
    let mut expected: Vec<(f64, &str)> =
        rows.iter().map(|row| cosine(&asked, row)).zip(["a", "b/../b", "c"]).collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    let reply = server.post("/v1/search/faces?top=2", &query).json();
    let matches = reply["matches"].as_array().unwrap();
    assert_eq!(matches.len(), 2);
    for (found, (similarity, id)) in matches.iter().zip(expected) {
        assert_eq!(found["id"], id);
        assert!((found["similarity"].as_f64().unwrap() - similarity).abs() < 1e-5);
    }
    let own = server.post("/v1/search/faces?top=1", &files[2]).json();
    assert_eq!(own["matches"][0]["id"], "c");

    // The other model has its own.
    let other = server.get("/v1/gallery/faces?model=second").json();
    assert_eq!(other["images"], 0);
    assert_eq!(server.send("DELETE", "/v1/gallery/faces/b%2F..%2Fb", "", &[]).status, 200);
    server.send("DELETE", "/v1/gallery/faces/b%2F..%2Fb", "", &[]).refused(404, "no image");
    assert_eq!(server.get("/v1/gallery/faces").json()["ids"], json!(["a", "c"]));
}

#[test]
fn wrong_galleries_and_names_are_refused() {
    let server = with_galleries();
    let file = png(&picture(20, 20, 1));
    let put = |path: &str, body: &[u8]| server.send("PUT", path, "", body);
    put("/v1/gallery/colors/a", &file).refused(400, "no embedding");
    put("/v1/gallery/none/a", &file).refused(404, "no task");
    put("/v1/gallery/faces/a%0Ab", &file).refused(400, "control characters");
    put(&format!("/v1/gallery/faces/{}", "x".repeat(257)), &file).refused(400, "256 bytes");
    put("/v1/gallery/faces/a", b"no image").refused(415, "JPEG");
    server.post("/v1/search/faces?top=10001", &file).refused(400, "10000");
    assert_eq!(server.get("/v1/gallery/faces").json()["images"], 0);
    // Names reach no file.
    let files = std::fs::read_dir(server.folder.path().join("galleries")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [".lock", "first.faces.gallery", "second.faces.gallery"]);
    let without = Running::start(|_| {});
    without.post("/v1/search/faces", &file).refused(404, "keeps no galleries");
}

#[test]
fn galleries_outlive_the_server_and_belong_to_their_model() {
    let kept = tempfile::tempdir().unwrap();
    let galleries = kept.path().to_path_buf();
    let start = |switch: bool| {
        let galleries = galleries.clone();
        Running::start(move |config| {
            config.galleries = Some(galleries);
            if switch {
                let [a, b] = [0, 1].map(|index| config.models[index].path.clone());
                (config.models[0].path, config.models[1].path) = (b, a);
            }
        })
    };
    let file = png(&picture(20, 20, 1));
    let server = start(false);
    assert_eq!(server.send("PUT", "/v1/gallery/faces/a", "", &file).status, 201);
    let busy = std::panic::catch_unwind(|| start(false).address);
    assert!(busy.is_err(), "two servers of one folder");
    drop(server);
    let server = start(false);
    let found: Value = server.post("/v1/search/faces", &file).json();
    assert_eq!((&found["images"], &found["matches"][0]["id"]), (&json!(1), &json!("a")));
    drop(server);
    assert!(std::panic::catch_unwind(|| start(true).address).is_err(), "another model");
}
