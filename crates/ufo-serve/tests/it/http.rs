//! Each address, asked well.

use crate::client::{Running, picture, png};
use crate::folder::{CLASSES, EMBEDDING, IMAGE, SIDE};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use ufo_runtime::{Answer, Model, Precision};

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

#[test]
fn predictions_are_the_bits_of_the_folder_and_an_image_is_decoded_once() {
    let server = Running::start(|_| {});
    let image = picture(40, 30, 3);
    let file = png(&image);
    let expected = |name: &str, task: usize| {
        let model = Model::open(&server.folder.path().join(name), Precision::F32).unwrap();
        let row = model.outputs(task, &model.described.preprocess.apply(&image)).unwrap();
        (model.described.tasks[task].answer(&row, model.described.arch.image_size, 2), row)
    };
    let reply = server.post("/v1/predict?tasks=colors,faces&top=2&logits=true", &file).json();
    assert_eq!([&reply["width"], &reply["height"]], [40, 30]);
    let (Answer::Classes { top, .. }, logits) = expected("first", 0) else { panic!("classes") };
    let said = &reply["tasks"][0];
    assert_eq!(said["name"], "colors");
    assert_eq!(numbers(&said["logits"]), logits);
    for (said, told) in said["top"].as_array().unwrap().iter().zip(&top) {
        assert_eq!(said["class"], told.class);
        assert_eq!(said["probability"].to_string(), told.probability.to_string());
    }
    assert_eq!(said["top"].as_array().unwrap().len(), 2);
    assert_eq!(numbers(&reply["tasks"][1]["embedding"]), expected("first", 1).1);
    assert_eq!(reply["tasks"][1]["model"], "first");

    // The second model, and one task of its two.
    let before = server.count("ufo_task_images_total{model=\"second\",task=\"colors\"}");
    let reply = server.post("/v1/predict/faces?model=second", &file).json();
    assert_eq!(numbers(&reply["tasks"][0]["embedding"]), expected("second", 1).1);
    assert_ne!(expected("second", 1).1, expected("first", 1).1);
    assert_eq!(server.count("ufo_task_images_total{model=\"second\",task=\"colors\"}"), before);
    assert_eq!(server.count("ufo_task_images_total{model=\"second\",task=\"faces\"}"), 1);
    assert_eq!(server.count("ufo_decoded_images_total"), 2);
    // Logits only where they are asked for.
    assert_eq!(server.post("/v1/predict/colors", &file).json()["tasks"][0]["logits"], Value::Null);
}

#[test]
fn the_protocol_infers_floats_and_files_in_json_and_binary() {
    let server = Running::start(|_| {});
    let images = crate::folder::values(5, 2 * IMAGE);
    let model = Model::open(&server.folder.path().join("second"), Precision::F32).unwrap();
    let expected = [0, 1].map(|task| model.outputs(task, &images).unwrap());
    let shape = json!([2, 3, SIDE, SIDE]);
    let input = |extra: &Value| {
        let mut input = json!({"name": "image", "shape": shape, "datatype": "FP32"});
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        input
    };
    let infer = "/v2/models/second/infer";
    let text = json!({"id": "a", "inputs": [input(&json!({"data": images}))]}).to_string();
    let reply = server.post(infer, text.as_bytes()).json();
    assert_eq!((&reply["id"], &reply["model_name"]), (&json!("a"), &json!("second")));
    assert_eq!(reply["outputs"][0]["shape"], json!([2, CLASSES.len()]));
    for (output, rows) in reply["outputs"].as_array().unwrap().iter().zip(&expected) {
        assert_eq!(&numbers(&output["data"]), rows);
    }
    // Binary in and out, one output.
    let raw: Vec<u8> = images.iter().flat_map(|value| value.to_le_bytes()).collect();
    let binary = input(&json!({"parameters": {"binary_data_size": raw.len()}}));
    let asked = json!([{"name": "faces", "parameters": {"binary_data": true}}]);
    let text = json!({"inputs": [binary], "outputs": asked}).to_string();
    let header = format!("Inference-Header-Content-Length: {}\r\n", text.len());
    let body = [text.as_bytes(), &raw].concat();
    let reply = server.send("POST", "/v2/models/second/versions/1/infer", &header, &body);
    let line = reply.head.lines().find_map(|l| l.strip_prefix("inference-header-content-length: "));
    let (text, rest) = reply.body.split_at(line.unwrap().parse().unwrap());
    let text: Value = serde_json::from_slice(text).unwrap();
    assert_eq!(text["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(text["outputs"][0]["shape"], json!([2, EMBEDDING]));
    let bytes: Vec<u8> = expected[1].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(rest, bytes);
    // Files of images.
    let image = picture(9, 20, 2);
    let file = png(&image);
    let raw = [&(file.len() as u32).to_le_bytes()[..], &file].concat();
    let binary = json!({"binary_data_size": raw.len()});
    let input = json!({"name": "image", "shape": [1], "datatype": "BYTES", "parameters": binary});
    let text = json!({"inputs": [input], "outputs": [{"name": "colors"}]}).to_string();
    let header = format!("Inference-Header-Content-Length: {}\r\n", text.len());
    let reply = server.send("POST", infer, &header, &[text.as_bytes(), &raw].concat()).json();
    let rows = model.outputs(0, &model.described.preprocess.apply(&image)).unwrap();
    assert_eq!(numbers(&reply["outputs"][0]["data"]), rows);
}

#[test]
fn every_address_of_the_description_is_there() {
    let server = Running::start(|config| {
        let root = config.models[0].path.parent().unwrap();
        config.galleries = Some(root.join("galleries"));
    });
    let told = server.get("/openapi.json").json();
    let mut addresses = 0;
    for (path, methods) in told["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path
                .replace("{model}", "first")
                .replace("{version}", "1")
                .replace("{task}", "faces")
                .replace("{id}", "x")
                .replace("{project}", "pets")
                .replace("{split}", "train")
                .replace("{label}", "ann")
                .replace("{file}", "model.onnx");
            let reply = server.send(&method.to_uppercase(), &path, "", &[]);
            let reason = String::from_utf8_lossy(&reply.body);
            assert!(reply.status != 405 && !reason.contains("no such address"), "{method} {path}");
            let routed = server
                .count(&format!("ufo_requests_total{{route=\"other\",code=\"{}\"}}", reply.status));
            assert_eq!(routed, 0, "{path}");
            addresses += 1;
        }
    }
    assert!(addresses >= 14, "{addresses}");
    let models = server.get("/v1/models").json();
    // What is told is what is described.
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let described = &told["components"]["schemas"]["Models"]["properties"];
    let model = &described["models"]["items"]["properties"];
    assert_eq!(keys(&models), keys(described));
    assert_eq!(keys(&models["models"][0]), keys(model));
    assert_eq!(keys(&models["models"][0]["papers"]), keys(&model["papers"]["properties"]));
    let task = &model["tasks"]["items"]["properties"];
    assert_eq!(keys(&models["models"][0]["tasks"][0]), keys(task));
    assert_eq!(models["models"][1]["tasks"][0]["classes"], json!(CLASSES));
    assert_eq!(models["models"][1]["tasks"][1]["kind"], "embedding");
    server.get("/v2/models/third").refused(404, "there are: first, second");
    server.get("/v2/models/first/versions/2").refused(404, "has version 1");
    server.get("/v1/predict/colors").refused(405, "openapi");
}

#[test]
fn keys_are_asked_for_but_by_probes() {
    let server = Running::start(|config| {
        let file = config.models[0].path.with_file_name("keys");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        config.api_keys = Some(file);
    });
    server.get("/v1/models").refused(401, "X-API-Key");
    server.send("GET", "/metrics", "X-API-Key: 0123456789abcdeF\r\n", &[]).refused(401, "key");
    let key = "Authorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(server.send("GET", "/v1/models", key, &[]).status, 200);
    assert_eq!(server.get("/v2/health/ready").status, 200);
    assert_eq!(server.get("/v2/health/live").status, 200);
}

#[test]
fn what_is_under_way_is_finished_when_the_server_stops() {
    let mut server = Running::start(|_| {});
    let file = png(&picture(20, 20, 1));
    let mut slow = server.connect();
    let idle = server.connect();
    let mut head = String::new();
    write!(
        head,
        "POST /v1/predict/colors HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        file.len()
    )
    .unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    slow.write_all(&file[..10]).unwrap();
    // So that the server has it before it stops.
    while server.count("ufo_body_bytes") == 0 {
        std::thread::yield_now();
    }
    server.stop();
    let refused = || std::net::TcpStream::connect(server.address).is_err();
    while !refused() {
        std::thread::yield_now();
    }
    slow.write_all(&file[10..]).unwrap();
    let mut reply = String::new();
    slow.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("probability"), "{reply}");
    drop(idle);
}
