//! What the log says with no more asked of it than `info`.

use crate::client::{Running, picture, png};
use std::io::Write;
use std::sync::{Arc, Mutex};
use ufo_serve::ModelConfig;

/// What was written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_first_request_of_some_tasks_tells_which_modules_ran() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .init();
    // Other tests of this process may log, too.
    let server = Running::start(|config| {
        let told = &config.models[0];
        config.models[0] = ModelConfig { name: "logged".into(), ..told.clone() };
    });
    let file = png(&picture(20, 20, 1));
    let said = || -> Vec<String> {
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let ours = |line: &&str| line.contains("logged") && line.contains("first request");
        text.lines().filter(ours).map(str::to_string).collect()
    };
    for tasks in ["faces", "faces", "colors,faces", "faces,colors"] {
        assert_eq!(server.post(&format!("/v1/predict?tasks={tasks}"), &file).status, 200);
    }
    let all = said();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].contains("INFO") && all[0].contains("tasks=\"faces\""), "{}", all[0]);
    assert!(all[0].contains("shared.blocks.1.attn") && !all[0].contains("tasks.colors"));
    assert!(all[1].contains("tasks=\"colors,faces\"") && all[1].contains("tasks.colors.blocks.1"));
    server.post("/v1/predict/colors", &file);
    let all = said();
    assert!(all.len() == 3 && !all[2].contains("shared.blocks"), "{all:?}");
}
