//! `ufo serve`: the numbers of `ufo predict`, and how it starts and stops.

use crate::{config, succeeds, train, ufo};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use ufo_data::{Image, encode_png};

/// A server, killed when the test fails.
struct Serving {
    child: Child,
    address: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn serve(arguments: &[&str]) -> Serving {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ufo"))
        .args(["serve", "--set", "listen=127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap().to_string();
    Serving { child, address }
}

impl Serving {
    fn post(&self, path: &str, body: &[u8]) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{reply}");
        serde_json::from_str(body).unwrap()
    }
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

#[test]
fn served_models_give_the_numbers_of_predict_and_stop_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = config(folder.path(), "one.toml", 1, "digits");
    let run = folder.path().join("run");
    succeeds(&train(&tasks, &run).output().unwrap());
    let model = folder.path().join("both").display().to_string();
    let place = run.display().to_string();
    succeeds(&ufo(&["extract", "--run", &place, "--tasks", "digits,emoji", "--out", &model]));
    let images = [3, 8].map(|seed| {
        let rgb = (0..33 * 40 * 3).map(|at| (at * seed / 5) as u8).collect();
        let file = folder.path().join(format!("{seed}.png"));
        std::fs::write(&file, encode_png(&Image { width: 33, height: 40, rgb }).unwrap()).unwrap();
        file
    });
    for precision in ["f32", "int8"] {
        let mut arguments = vec!["predict", &model, "--json", "--precision", precision];
        arguments.extend(images.iter().map(|file| file.to_str().unwrap()));
        let output = ufo(&arguments);
        succeeds(&output);
        let predicted: Value = serde_json::from_slice(&output.stdout).unwrap();
        let named = format!("two={model}");
        let mut serving = serve(&[&named, "--precision", precision]);
        for (file, expected) in images.iter().zip(predicted.as_array().unwrap()) {
            let path = "/v1/predict?tasks=digits,emoji&logits=true&model=two";
            let reply = serving.post(path, &std::fs::read(file).unwrap());
            let [digits, emoji] = [0, 1].map(|index| &reply["tasks"][index]);
            let expected = &expected["tasks"];
            assert_eq!(numbers(&digits["logits"]), numbers(&expected[0]["logits"]));
            assert_eq!(numbers(&emoji["embedding"]), numbers(&expected[1]["embedding"]));
            assert_eq!(digits["top"][0]["class"], expected[0]["top"][0]["class"]);
        }
        #[cfg(unix)]
        {
            let id = serving.child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
            assert!(serving.child.wait().unwrap().success(), "SIGTERM ends it well");
        }
    }
    // A taken address, an unknown key, nothing to serve, no such folder.
    let serving = serve(&[&model]);
    let listen = format!("listen={}", serving.address);
    for (arguments, word) in [
        (vec![model.as_str(), "--set", &listen], "listening on"),
        (vec![model.as_str(), "--set", "limits.body=1"], "unknown field `body`"),
        (vec![], "no model"),
        (vec!["missing"], "model `missing`: reading missing/config.json"),
        (vec!["a/b=missing"], "model.0.name is a/b"),
    ] {
        let output = ufo(&[vec!["serve"], arguments].concat());
        crate::bad_input::fails(&output, &[word]);
    }
}
