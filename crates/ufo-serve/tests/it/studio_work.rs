//! The studio's work beside the models that it serves.
#![cfg(unix)]

use crate::archive::zip;
use crate::client::Running;
use crate::folder;
use crate::studio::{ends, pets, put, start, start_with};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A model of the project `pets`, as work would leave it.
fn model(server: &Running, place: &str) {
    let folder = server.folder.path().join("studio/pets").join(place);
    folder::write(&folder, 5);
    fs::write(folder.join("results.json"), "[]").unwrap();
    fs::write(folder.join("model.int8.onnx"), "").unwrap();
}

/// Names under which models of `pets` are served, by the page and by the server.
fn served(server: &Running) -> [Vec<String>; 2] {
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        let names = list.map(|one| one["name"].as_str().unwrap().to_string());
        names.filter(|name| name.starts_with("pets")).collect()
    };
    let page = server.get("/v1/studio/pets").json()["served"].clone();
    [names(&page), names(&server.get("/v1/models").json()["models"])]
}

#[test]
fn a_model_that_is_made_anew_is_not_served_meanwhile() {
    let server = start(|_| {});
    assert_eq!(put(&server, "pets", &zip(&pets())).status, 201);
    let project = server.folder.path().join("studio/pets");
    let front = json!({"task": "pets", "metric": "top1", "split": "test", "points": [
        {"slice": "full", "params": 1, "macs": 1, "measured": {"accuracy": 0.5, "latency_ms": 1.0}}]});
    let serve = |name: &str| {
        let reply = server.post(&format!("/v1/studio/pets/models/{name}"), b"{\"form\": \"f32\"}");
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    };
    let work = |wanted: Value| {
        let reply = server.post("/v1/studio/pets/job", wanted.to_string().as_bytes());
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let now = served(&server);
        assert_eq!(now[0], now[1], "the page and the server, {wanted}");
        server.send("DELETE", "/v1/studio/pets/job", "", &[]);
        ends(&server);
        now[0].clone()
    };
    for place in ["models/whole", "models/size-0", "student/model"] {
        model(&server, place);
    }
    fs::create_dir_all(project.join("run")).unwrap();
    fs::write(project.join("run/expand.json"), "{}").unwrap();
    fs::create_dir_all(project.join("chip/search")).unwrap();
    fs::write(project.join("chip/search/pareto.json"), front.to_string()).unwrap();
    for name in ["whole", "size-0", "student"] {
        serve(name);
    }
    assert_eq!(served(&server)[0], ["pets", "pets-size-0", "pets-student"]);
    assert_eq!(work(json!({"kind": "pick", "point": 0})), ["pets", "pets-student"]);
    assert_eq!(work(json!({"kind": "sizes"})), ["pets", "pets-student"]);
    assert_eq!(work(json!({"kind": "student", "resume": true})), ["pets"]);
    model(&server, "student/model");
    serve("student");
    assert_eq!(work(json!({"kind": "student"})), ["pets"]);
    assert_eq!(work(json!({"kind": "train", "resume": true})), [""; 0]);
    model(&server, "models/whole");
    model(&server, "student/model");
    serve("whole");
    serve("student");
    // What cannot begin takes nothing out.
    let refused = server.post("/v1/studio/pets/job", b"{\"kind\": \"pick\", \"point\": 0}");
    refused.refused(409, "search");
    assert_eq!(served(&server)[0], ["pets", "pets-student"]);
    assert_eq!(work(json!({"kind": "train"})), [""; 0]);
    let kept = fs::read_to_string(server.folder.path().join("studio/served.json")).unwrap();
    assert_eq!(kept, "[]");
    assert_eq!(server.get("/v1/models").json()["models"].as_array().unwrap().len(), 2);
}

#[test]
fn work_is_told_whose_it_is() {
    let server = start(|studio| {
        let program = "#!/bin/sh\necho \"$UFO_STUDIO_SERVER started by $PPID\"\n";
        fs::write(&studio.program, program).unwrap();
    });
    assert_eq!(put(&server, "pets", &zip(&pets())).status, 201);
    assert_eq!(server.post("/v1/studio/pets/job", b"{\"kind\": \"train\"}").status, 200);
    assert_eq!(ends(&server)["state"], "done");
    let log = server.get("/v1/studio/pets").json()["log"].clone();
    let id = std::process::id();
    assert_eq!(log, json!(format!("{id} started by {id}\n").repeat(3)));
}

/// This test is also the work: run by a shell that is killed, in the place of the server.
#[cfg(target_os = "linux")]
#[test]
fn work_ends_with_a_server_that_is_killed() {
    const LONG: Duration = Duration::from_secs(20);
    if std::env::var_os("UFO_STUDIO_SERVER").is_some() {
        ufo_serve::end_with_studio();
        println!("working");
        std::thread::sleep(LONG);
        println!("outlived");
        return;
    }
    let itself = "studio_work::work_ends_with_a_server_that_is_killed";
    let line = format!("UFO_STUDIO_SERVER=$$ \"$0\" --exact {itself} --nocapture & wait");
    let mut server = Command::new("sh")
        .args(["-c", &line])
        .arg(std::env::current_exe().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("working") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the work did not begin");
    }
    server.kill().unwrap();
    server.wait().unwrap();
    // The end of what it says is its own end.
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("outlived"), "{rest}");
}

/// Sends a head and then a byte every `pause` until there is an answer.
fn dripped(server: &Running, head: &str, pause: Duration) -> String {
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    let mut sending = stream.try_clone().unwrap();
    let (end, stop) = std::sync::mpsc::channel();
    let since = Instant::now();
    let drip = std::thread::spawn(move || {
        while stop.recv_timeout(pause).is_err() && since.elapsed() < Duration::from_secs(20) {
            if sending.write_all(b"x").is_err() {
                break;
            }
        }
    });
    let mut reply = [0; 4096];
    let read = stream.read(&mut reply).unwrap_or(0);
    end.send(()).ok();
    drip.join().unwrap();
    String::from_utf8_lossy(&reply[..read]).into_owned()
}

#[test]
fn what_is_sent_slowly_to_the_studio_is_given_up() {
    let head = |method: &str, path: &str| {
        format!(
            "{method} /v1/studio/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"
        )
    };
    let refused = |reply: &str| {
        assert!(reply.starts_with("HTTP/1.1 408") && reply.contains("slow_body"), "{reply}");
    };
    let (often, never) = (Duration::from_millis(20), Duration::from_mins(1));
    // Nothing more comes.
    let server = start_with(|_, limits| (limits.head_ms, limits.deadline_ms) = (500, 500));
    refused(&dripped(&server, &head("PUT", "slow"), never));
    refused(&dripped(&server, &head("POST", "slow/job"), never));
    refused(&dripped(&server, &head("POST", "slow/models/whole"), never));
    assert_eq!(put(&server, "slow", &zip(&pets())).status, 201);
    drop(server);
    // A little comes all the time.
    let server = start_with(|studio, limits| {
        (studio.upload_ms, limits.deadline_ms) = (500, 500);
    });
    refused(&dripped(&server, &head("PUT", "slow"), often));
    refused(&dripped(&server, &head("POST", "slow/job"), often));
    let kept = fs::read_dir(server.folder.path().join("studio")).unwrap();
    let names = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), [".lock"]);
}
