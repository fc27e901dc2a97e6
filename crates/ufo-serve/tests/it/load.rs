//! More than the server can take.

use crate::client::{Running, picture, png};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

#[test]
fn a_full_server_refuses_at_once_recovers_and_loses_nothing() {
    let server = Running::start(|config| {
        config.batch.max_images = 2;
        config.batch.queue_images = 2;
        // A batch that is not full waits long enough for the queue to fill.
        config.batch.max_delay_ms = 50;
        config.models.truncate(1);
    });
    let file = png(&picture(20, 20, 1));
    let alone = server.post("/v1/predict/colors?logits=true", &file);
    assert_eq!(alone.status, 200);
    let (mut answered, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let ask = || {
            let ask = || server.post("/v1/predict/colors?logits=true", &file);
            (0..5).map(|_| ask()).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        for reply in clients.into_iter().flat_map(|client| client.join().unwrap()) {
            if reply.status == 200 {
                assert_eq!(reply.body, alone.body);
                answered += 1;
            } else {
                reply.refused(429, "queue");
                assert!(reply.head.contains("retry-after: 1"), "{}", reply.head);
                refused += 1;
            }
        }
    });
    assert!(answered >= 2 && refused >= 1, "{answered} answered, {refused} refused");
    assert_eq!(server.count("ufo_queue_images{model=\"first\"}"), 0);
    assert_eq!(server.count("ufo_refused_total{reason=\"queue_full\"}"), refused);
    assert_eq!(server.post("/v1/predict/colors?logits=true", &file).body, alone.body);
}

#[test]
fn memory_for_bodies_is_bounded_and_given_back() {
    let server = Running::start(|config| {
        config.limits.body_bytes = 4 << 10;
        config.limits.bodies_bytes = 6 << 10;
    });
    let file = png(&picture(8, 8, 1));
    let mut slow = server.connect();
    let head = "POST /v1/predict/colors HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    while server.count("ufo_body_bytes") < 4096 {
        std::thread::yield_now();
    }
    server.post("/v1/predict/colors", &vec![0; 3 << 10]).refused(429, "bodies");
    assert_eq!(server.post("/v1/predict/colors", &file).status, 200);
    drop(slow);
    while server.count("ufo_body_bytes") > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn slow_clients_are_cut_off_and_deadlines_hold() {
    let server = Running::start(|config| {
        config.limits.deadline_ms = 200;
        config.limits.head_ms = 200;
        config.batch.max_delay_ms = 2000;
    });
    let started = Instant::now();
    let mut slow_head = server.connect();
    slow_head.write_all(b"POST /v1/predict/colors HTTP/1.1\r\nHost:").unwrap();
    let mut slow_body = server.connect();
    let head = "POST /v1/predict/colors HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc";
    slow_body.write_all(head.as_bytes()).unwrap();
    for (stream, status) in [(&mut slow_head, ""), (&mut slow_body, "HTTP/1.1 408")] {
        let mut reply = String::new();
        let _reset = stream.read_to_string(&mut reply);
        assert!(reply.starts_with(status), "{reply}");
    }
    // The batch waits for longer than the deadline.
    let file = png(&picture(20, 20, 1));
    server.post("/v1/predict/colors", &file).refused(504, "deadline");
    server.post("/v1/predict/colors?timeout_ms=1", &file).refused(504, "deadline");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn clients_that_take_no_answer_are_cut_off_and_hold_up_nobody() {
    let server = Running::start(|config| {
        config.limits.head_ms = 300;
        config.limits.connections = 2;
    });
    // Requests for far more than lies in the buffers of a connection; no answer is read.
    let request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let started = Instant::now();
    for _ in 0..2 {
        let mut deaf = server.connect();
        deaf.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let ended = (0..1000).find_map(|_| deaf.write_all(&request).err());
        let kind = ended.map(|error| error.kind());
        let closed = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(kind.is_some_and(|kind| closed.contains(&kind)), "{kind:?}");
    }
    assert_eq!(server.get("/v2/health/live").status, 200);
    assert!(started.elapsed() < Duration::from_secs(15));
}
