//! Calls of gRPC as bytes, over HTTP/1, where what answers them is the same; `scripts/check-python.sh grpc` has a client.

use crate::client::{Reply, Running, picture, png};
use crate::folder::{IMAGE, SIDE, values};
use rand::RngExt;
use ufo_data::{Purpose, stream};

/// A field of a message whose content has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut length = Vec::new();
    let mut left = content.len();
    while left > 127 {
        length.push(left as u8 | 128);
        left >>= 7;
    }
    length.push(left as u8);
    [&[(number << 3) | 2][..], &length, content].concat()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

fn call(server: &Running, method: &str, body: &[u8]) -> Reply {
    let path = format!("/inference.GRPCInferenceService/{method}");
    server.send("POST", &path, "Content-Type: application/grpc\r\n", body)
}

/// The status of a refusal; of an answer it comes in trailers.
fn refused(reply: &Reply) -> Option<&str> {
    reply.head.lines().find_map(|line| line.strip_prefix("grpc-status: "))
}

#[test]
fn calls_are_answered_and_mutated_ones_answered_or_refused() {
    let server = Running::start(|_| {});
    let live = call(&server, "ServerLive", &framed(&[]));
    assert!(refused(&live).is_none() && live.head.contains("application/grpc"), "{}", live.head);
    assert!(live.body.windows(7).any(|part| part == [0, 0, 0, 0, 2, 8, 1]), "{:?}", live.body);
    assert_eq!(refused(&call(&server, "ModelReady", &framed(&field(1, b"third")))), Some("5"));
    assert_eq!(refused(&call(&server, "ModelDelete", &framed(&[]))), Some("12"));
    assert_eq!(refused(&call(&server, "ServerLive", b"")), Some("3"));
    assert_eq!(refused(&call(&server, "ServerLive", &[1, 0, 0, 0, 0])), Some("3"));
    let floats: Vec<u8> = values(1, IMAGE).iter().flat_map(|v| v.to_le_bytes()).collect();
    let file = png(&picture(20, 20, 1));
    let side = SIDE as u8;
    let request = |datatype: &[u8], shape: &[u8], contents: Vec<u8>| {
        let input = [field(1, b"image"), field(2, datatype), field(3, shape)].concat();
        framed(&[field(1, b"first"), field(5, &input), contents].concat())
    };
    let packed = (file.len() as u32).to_le_bytes();
    let sound = [
        request(b"FP32", &[1, 3, side, side], field(7, &floats)),
        request(b"BYTES", &[1], field(7, &[&packed[..], &file].concat())),
    ];
    for body in &sound {
        let reply = call(&server, "ModelInfer", body);
        assert!(refused(&reply).is_none(), "{}", reply.head);
    }
    let mut draws = stream(13, Purpose::Subset, &[]);
    let mut count = 0;
    for round in 0..500 {
        let mut body = sound[round % 2].clone();
        match draws.random_range(0..3) {
            0 => body.truncate(draws.random_range(0..body.len())),
            _ => {
                let at = draws.random_range(0..body.len().min(60));
                body[at] = draws.random();
            }
        }
        let reply = call(&server, "ModelInfer", &body);
        assert_eq!(reply.status, 200, "round {round}");
        let status = refused(&reply).map_or(0, |status| status.parse::<u8>().unwrap());
        assert!([0, 3, 5].contains(&status), "round {round}: {}", reply.head);
        count += usize::from(status != 0);
    }
    assert!(count > 200, "{count}");
    assert_eq!(server.count("ufo_body_bytes"), 0);
    assert_eq!(server.count("ufo_queue_images{model=\"first\"}"), 0);
}
