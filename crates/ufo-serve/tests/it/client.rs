//! A server in this process, and requests as bytes on a connection.

use crate::folder;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use ufo_data::{Image, encode_png};
use ufo_runtime::Precision;
use ufo_serve::{Config, ModelConfig, Server};

/// A server of two models of other weights, `first` and `second`, until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Asserts a refusal with a word in its message.
    pub(crate) fn refused(&self, status: u16, word: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert!(self.status == status && text.contains(word), "{} {text}", self.status);
        assert!(self.json()["error"].is_string() && self.json()["reason"].is_string(), "{text}");
    }

    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_lowercase(), body: bytes[end + 4..].to_vec() }
    }
}

impl Running {
    /// With changes of the configuration.
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let models = ["first", "second"].map(|name| {
            let path = folder.path().join(name);
            folder::write(&path, name.len() as u64);
            ModelConfig::new(name, path, Precision::F32)
        });
        let mut config = Config {
            listen: "127.0.0.1:0".into(),
            threads: 2,
            models: models.to_vec(),
            ..Config::default()
        };
        change(&mut config);
        let server = Server::open(&config).unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let run = move || server.run_until(async { drop(stopped.await) }).unwrap();
        let thread = Some(std::thread::spawn(run));
        Self { address, folder, stop: Some(stop), thread }
    }

    /// A connection on which nothing waits for more than 20 s.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes as they are and reads until the server closes the connection.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        Self::reply(self.connect(), bytes, false)
    }

    /// The same, but this side says that nothing more follows.
    pub(crate) fn cut(&self, bytes: &[u8]) -> Vec<u8> {
        Self::reply(self.connect(), bytes, true)
    }

    fn reply(mut stream: TcpStream, bytes: &[u8], cut: bool) -> Vec<u8> {
        // A server that refuses early may close before it has read all.
        let _broken = stream.write_all(bytes);
        if cut {
            let _closed = stream.shutdown(Shutdown::Write);
        }
        let mut reply = Vec::new();
        let _reset = stream.read_to_end(&mut reply);
        reply
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        Reply::parse(&self.raw(&[head.as_bytes(), body].concat()))
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", &[])
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Reply {
        self.send("POST", path, "", body)
    }

    /// Tells the server to stop, without waiting.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// The value of a line of the counts.
    pub(crate) fn count(&self, line: &str) -> u64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// A picture of some colors.
pub(crate) fn picture(width: usize, height: usize, seed: usize) -> Image {
    let rgb = (0..width * height * 3).map(|at| (at * 7 + at / 11 * seed * 13 + seed * 50) as u8);
    Image { width, height, rgb: rgb.collect() }
}

pub(crate) fn png(image: &Image) -> Vec<u8> {
    encode_png(image).unwrap()
}
