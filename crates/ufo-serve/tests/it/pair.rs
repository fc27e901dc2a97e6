//! How alike two images are.

use crate::client::{Reply, Running, picture, png};
use serde_json::json;

/// A form of files, as curl sends it.
fn form(files: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let head = format!(
            "--xyz\r\nContent-Disposition: form-data; name=\"f{at}\"; filename=\"{at}.png\"\r\nContent-Type: image/png\r\n\r\n"
        );
        body.extend(head.as_bytes());
        body.extend(*file);
        body.extend(b"\r\n");
    }
    body.extend(b"--xyz--\r\n");
    body
}

fn ask(server: &Running, path: &str, body: &[u8]) -> Reply {
    let kind = "Content-Type: multipart/form-data; boundary=xyz\r\n";
    server.send("POST", &format!("/v1/pair/{path}"), kind, body)
}

#[test]
fn a_pair_scores_the_cosine_of_its_embeddings_in_either_order() {
    let server = Running::start(|_| {});
    let [a, b] = [(30, 20, 1), (16, 25, 7)].map(|(w, h, seed)| png(&picture(w, h, seed)));
    for (query, model) in [("", "first"), ("?model=second", "second")] {
        let embedding = |file: &[u8]| -> Vec<f64> {
            let reply = server.post(&format!("/v1/predict/faces{query}"), file).json();
            let row = reply["tasks"][0]["embedding"].as_array().unwrap();
            row.iter().map(|value| value.as_f64().unwrap()).collect()
        };
        let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let [x, y] = [embedding(&a), embedding(&b)];
        let expected = sum(&x, &y) / (sum(&x, &x) * sum(&y, &y)).sqrt();
        let score = |files: &[&[u8]]| {
            let told = ask(&server, &format!("faces{query}"), &form(files)).json();
            assert_eq!((&told["task"], &told["model"]), (&json!("faces"), &json!(model)));
            told["cosine"].as_f64().unwrap()
        };
        let got = score(&[&a, &b]);
        assert!((got - expected).abs() < 1e-6 && expected < 0.99999, "{got} {expected}");
        assert_eq!(got.to_bits(), score(&[&b, &a]).to_bits());
        assert!((score(&[&a, &a]) - 1.0).abs() < 1e-6);
    }
}

#[test]
fn what_is_no_pair_is_refused() {
    let server = Running::start(|config| config.limits.body_bytes = 20_000);
    let image = png(&picture(20, 20, 1));
    let pair = form(&[&image, &image]);
    ask(&server, "colors", &pair).refused(400, "no embedding");
    ask(&server, "none", &pair).refused(404, "no task `none`");
    ask(&server, "faces?model=third", &pair).refused(404, "no model `third`");
    ask(&server, "faces?top=1", &pair).refused(400, "top");
    ask(&server, "faces", &form(&[&image])).refused(400, "1 files in the form; allowed: 2");
    ask(&server, "faces", &form(&[&image[..]; 3])).refused(400, "3 files in the form; allowed: 2");
    ask(&server, "faces", &form(&[&image, b"no image"])).refused(415, "JPEG, PNG, WebP");
    ask(&server, "faces", &form(&[&image, &image[..60]])).refused(400, "image");
    ask(&server, "faces", &pair[..pair.len() - 10]).refused(400, "its end is missing");
    ask(&server, "faces", &vec![0; 20_001]).refused(413, "20000 bytes");
    server.post("/v1/pair/faces", &image).refused(415, "multipart/form-data");
    server.get("/v1/pair/faces").refused(405, "openapi");
    assert_eq!(ask(&server, "faces", &pair).status, 200);
}
