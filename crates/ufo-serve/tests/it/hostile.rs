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

/// A chunk of a PNG file.
fn chunk(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let body = [&kind[..], content].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    [&(content.len() as u32).to_be_bytes()[..], &body, &crc.sum().to_be_bytes()].concat()
}

#[test]
fn bombs_beside_the_pixels_are_left_packed() {
    let server = Running::start(|_| {});
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..400 << 6 {
        encoder.write_all(&[0; 1 << 14]).unwrap();
    }
    let packed = encoder.finish().unwrap();
    let sound = png(&picture(20, 20, 1));
    let answer = server.post("/v1/predict/colors", &sound);
    let before = server.count("process_resident_memory_bytes");
    // Behind the header, 33 bytes: 400 MB of text, and of a color profile.
    for kind in [*b"zTXt", *b"iCCP"] {
        let bomb = chunk(kind, &[b"x\0\0", &packed[..]].concat());
        let file = [&sound[..33], &bomb, &sound[33..]].concat();
        let reply = server.post("/v1/predict/colors", &file);
        assert!(reply.status == 400 || reply.body == answer.body, "{}", reply.status);
        assert!(server.count("process_resident_memory_bytes") < before + 150_000_000);
    }
    // A WebP canvas of 16,777,216 x 16,777,216, and one of 16,383 x 16,383.
    for side in [[0xFF; 3], [0xFE, 0x3F, 0]] {
        let canvas = [&b"VP8X\x0a\0\0\0\0\0\0\0"[..], &side, &side].concat();
        let rest = [&b"WEBP"[..], &canvas, &WEBP[12..]].concat();
        let file = [&b"RIFF"[..], &(rest.len() as u32).to_le_bytes(), &rest].concat();
        let reply = server.post("/v1/predict/colors", &file);
        assert!([400, 413].contains(&reply.status), "{}", reply.status);
    }
    assert!(server.count("process_resident_memory_bytes") < before + 150_000_000);
    alive(&server);
}

#[test]
fn five_hundred_mutated_tensors_give_an_answer_or_a_refusal_each() {
    let server = Running::start(|_| {});
    let head = |datatype: &str, shape: &str, bytes: usize| {
        format!(
            "{{\"inputs\": [{{\"name\": \"image\", \"shape\": {shape}, \"datatype\": \"{datatype}\", \
             \"parameters\": {{\"binary_data_size\": {bytes}}}}}]}}"
        )
    };
    let floats: Vec<u8> = values(1, IMAGE).iter().flat_map(|v| v.to_le_bytes()).collect();
    let file = png(&picture(20, 20, 1));
    let files = [&(file.len() as u32).to_le_bytes()[..], &file].concat();
    let sound = [
        (head("FP32", &format!("[1, 3, {SIDE}, {SIDE}]"), floats.len()), floats),
        (head("BYTES", "[1]", files.len()), files),
    ];
    let infer = |head: &str, length: usize, body: &[u8]| {
        let told = format!("Inference-Header-Content-Length: {length}\r\n");
        server.send("POST", "/v2/models/first/infer", &told, &[head.as_bytes(), body].concat())
    };
    for (head, body) in &sound {
        assert_eq!(infer(head, head.len(), body).status, 200);
    }
    let mut draws = stream(12, Purpose::Subset, &[]);
    let mut refused = 0;
    for round in 0..500 {
        let (head, mut body) = sound[round % 2].clone();
        let (mut head, mut length) = (head.into_bytes(), sound[round % 2].0.len());
        match draws.random_range(0..4) {
            0 => length = draws.random_range(0..2 * length),
            1 => body.truncate(draws.random_range(0..body.len())),
            2 => {
                let at = draws.random_range(0..head.len());
                head[at] = draws.random_range(32..127);
            }
            _ => {
                let at = draws.random_range(0..body.len().min(40));
                body[at] = draws.random();
            }
        }
        let reply = infer(std::str::from_utf8(&head).unwrap(), length, &body);
        let fine = [200, 400, 404, 413, 415].contains(&reply.status);
        assert!(fine, "round {round}: {} {}", reply.status, String::from_utf8_lossy(&reply.body));
        refused += usize::from(reply.status != 200);
    }
    assert!(refused > 200, "{refused}");
    // Deep nesting is no deep recursion.
    let deep = format!("{{\"inputs\": {}", "[".repeat(100_000));
    server.post("/v2/models/first/infer", deep.as_bytes()).refused(400, "JSON");
    alive(&server);
    assert_eq!(server.count("ufo_body_bytes"), 0);
    assert_eq!(server.count("ufo_queue_images{model=\"first\"}"), 0);
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
