//! Bytes that mean harm, or nothing.

use crate::client::{Running, picture, png};
use crate::folder::{IMAGE, SIDE, values};
use rand::RngExt;
use serde_json::{Value, json};
use std::io::Write;
use ufo_data::{Purpose, stream};

/// A JPEG and a WebP of the same small picture (made by Pillow) stand beside PNG in the mutations.
const JPEG: &[u8] = include_bytes!("small.jpg");
const WEBP: &[u8] = include_bytes!("small.webp");

fn alive(server: &Running) {
    assert_eq!(server.post("/v1/predict/colors", &png(&picture(20, 20, 1))).status, 200);
}

#[test]
fn a_thousand_mutated_images_give_an_answer_or_a_refusal_each() {
    let server = Running::start(|_| {});
    let sound = [png(&picture(24, 16, 3)), JPEG.to_vec(), WEBP.to_vec()];
    for file in &sound {
        assert_eq!(server.post("/v1/predict/colors", file).status, 200);
    }
    let mut draws = stream(11, Purpose::Subset, &[]);
    let mut counts = [0; 2];
    for round in 0..1000 {
        let mut file = sound[round % 3].clone();
        match draws.random_range(0..4) {
            0 => file.truncate(draws.random_range(0..file.len())),
            1 => {
                let (from, to) =
                    (draws.random_range(0..file.len()), draws.random_range(0..file.len()));
                file.drain(from.min(to)..from.max(to));
            }
            _ => {
                for _ in 0..draws.random_range(1..20) {
                    let at = draws.random_range(0..file.len());
                    file[at] = draws.random();
                }
            }
        }
        let reply = server.post("/v1/predict/colors", &file);
        let fine = [200, 400, 413, 415].contains(&reply.status);
        assert!(fine, "round {round}: {} {}", reply.status, String::from_utf8_lossy(&reply.body));
        counts[usize::from(reply.status == 200)] += 1;
    }
    assert!(counts[0] > 300 && counts[1] > 50, "{counts:?}");
    alive(&server);
    assert_eq!(server.count("ufo_queue_images{model=\"first\"}"), 0);
    assert_eq!(server.count("ufo_body_bytes"), 0);
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    let server = Running::start(|config| config.limits.pixels = 1_000_000);
    let before = server.count("process_resident_memory_bytes");
    // 36 million pixels of one color in some ten thousand bytes.
    let bomb = png(&ufo_data::Image::filled(6000, 6000, [9; 3]));
    assert!(bomb.len() < 1 << 20);
    let reply = server.post("/v1/predict/colors", &bomb);
    reply.refused(413, "6000 x 6000");
    reply.refused(413, "1000000");
    // A JPEG whose header claims 65535 x 65535.
    let mut jpeg = JPEG.to_vec();
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xFF);
    server.post("/v1/predict/colors", &jpeg).refused(413, "65535 x 65535");
    assert!(server.count("process_resident_memory_bytes") < before + 100_000_000);
    let gzip = server.send("POST", "/v1/predict/colors", "Content-Encoding: gzip\r\n", &bomb[..99]);
    gzip.refused(415, "Content-Encoding");
    alive(&server);
}

#[test]
fn bodies_that_are_too_large_cut_off_or_of_another_kind_are_refused() {
    let server = Running::start(|config| config.limits.body_bytes = 100_000);
    let post = "POST /v1/predict/colors HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let said = |bytes: &[u8]| String::from_utf8_lossy(&server.raw(bytes)).into_owned();
    // Told, and not told but sent.
    let told = said(format!("{post}Content-Length: 99999999999\r\n\r\n").as_bytes());
    assert!(told.starts_with("HTTP/1.1 413") && told.contains("100000"), "{told}");
    let mut chunks = format!("{post}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..20 {
        chunks.extend(format!("{:x}\r\n{}\r\n", 10_000, "x".repeat(10_000)).as_bytes());
    }
    let sent = said(&chunks);
    assert!(sent.starts_with("HTTP/1.1 413"), "{sent}");
    // Cut off.
    let cut = server.cut(format!("{post}Content-Length: 500\r\n\r\nabc").as_bytes());
    let cut = String::from_utf8_lossy(&cut);
    assert!(cut.is_empty() || cut.starts_with("HTTP/1.1 400"), "{cut}");
    let broken = said(format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n").as_bytes());
    assert!(broken.is_empty() || broken.starts_with("HTTP/1.1 400"), "{broken}");
    for body in [&b""[..], b"GIF89a\x01\x00\x01\x00", b"{\"image\": 1}", b"RIFF\0\0\0\0WAVE"] {
        server.post("/v1/predict/colors", body).refused(415, "JPEG, PNG, WebP");
    }
    server.post("/v1/predict/colors", b"\x89PNG\r\n\x1a\n").refused(400, "not a readable image");
    for garbage in [&b"\0\xFF\0\xFF\r\n\r\n"[..], b"GET", b"GET / HTTP/9.9\r\n\r\n"] {
        let reply = server.cut(garbage);
        assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 400"), "{reply:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let reply = said(long.as_bytes());
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431"), "{reply}");
    alive(&server);
}

#[test]
fn names_reach_no_file_and_wrong_parameters_are_named() {
    let server = Running::start(|_| {});
    let file = png(&picture(8, 8, 1));
    for name in ["..%2f..%2fetc%2fpasswd", "..", "%2e%2e%2ffirst", "first%00", "a%0d%0aX:%20y"] {
        for path in [format!("/v2/models/{name}"), format!("/v2/models/first/versions/{name}")] {
            assert_eq!(server.get(&path).status, 404, "{path}");
        }
        assert_eq!(server.post(&format!("/v1/predict/{name}"), &file).status, 404, "{name}");
        assert_eq!(server.post(&format!("/v1/predict/colors?model={name}"), &file).status, 404);
    }
    assert_eq!(server.get("/../../etc/passwd").status, 404);
    server.post("/v1/predict/%FF", &file).refused(400, "UTF-8");
    for (path, word) in [
        ("/v1/predict/colors?topp=1", "topp"),
        ("/v1/predict/colors?top=-1", "top"),
        ("/v1/predict/colors?tasks=faces", "named once"),
        ("/v1/predict?tasks=colors,colors", "twice"),
        ("/v1/predict?tasks=", "colors, faces"),
    ] {
        server.post(path, &file).refused(400, word);
    }
    assert_eq!(server.post("/v1/predict/colors?top=99999999", &file).status, 200);
    alive(&server);
}

fn infer(server: &Running, change: impl FnOnce(&mut Value)) -> crate::client::Reply {
    let input = json!({"name": "image", "shape": [1, 3, SIDE, SIDE], "datatype": "FP32", "data": values(1, IMAGE)});
    let mut text = json!({"inputs": [input]});
    change(&mut text);
    server.post("/v2/models/first/infer", text.to_string().as_bytes())
}

/// A change of a sound request, its status, and a word of the message.
type Case = (fn(&mut Value), u16, &'static str);

#[test]
fn wrong_tensors_are_refused_with_what_is_allowed() {
    let server = Running::start(|config| {
        config.batch.max_images = 4;
        config.batch.queue_images = 8;
    });
    assert_eq!(infer(&server, |_| {}).status, 200);
    let cases: [Case; 11] = [
        (|v| v["inputs"][0]["shape"] = json!([1, 3, 8, 8]), 400, "[n, 3, 16, 16]"),
        (|v| v["inputs"][0]["shape"] = json!([0, 3, 16, 16]), 400, "[n, 3, 16, 16]"),
        (|v| v["inputs"][0]["shape"] = json!([2, 3, 16, 16]), 400, "with 768 values"),
        (|v| v["inputs"][0]["shape"] = json!([5, 3, 16, 16]), 413, "allowed: 4"),
        (|v| v["inputs"][0]["shape"] = json!([u64::MAX, 3, 16, 16]), 413, "allowed: 4"),
        (|v| v["inputs"][0]["shape"] = json!([1.5, 3]), 400, "JSON"),
        (|v| v["inputs"][0]["datatype"] = json!("INT64"), 400, "INT64"),
        (|v| v["inputs"][0]["name"] = json!("pixels"), 400, "allowed: `image`"),
        (|v| v["inputs"] = json!([]), 400, "0 inputs"),
        (|v| v["outputs"] = json!([{"name": "shape"}]), 400, "allowed: colors, faces"),
        (|v| v["inputs"][0]["data"][3] = json!(1e300), 400, "not finite"),
    ];
    for (change, status, word) in cases {
        infer(&server, change).refused(status, word);
    }
    server.post("/v2/models/first/infer", b"\x00").refused(400, "JSON");
    let header = "Inference-Header-Content-Length: 999\r\n";
    server.send("POST", "/v2/models/first/infer", header, b"{}").refused(400, "999");
    alive(&server);
}

#[test]
fn clients_that_leave_early_leave_nothing_behind() {
    let server = Running::start(|config| {
        config.batch.queue_images = 32;
        config.batch.max_delay_ms = 100;
    });
    let file = png(&picture(20, 20, 1));
    for _ in 0..100 {
        let mut stream = server.connect();
        let length = file.len();
        let head = format!(
            "POST /v1/predict/colors HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), &file].concat()).unwrap();
    }
    while server.count("ufo_queue_images{model=\"first\"}") > 0 {
        std::thread::yield_now();
    }
    alive(&server);
}
