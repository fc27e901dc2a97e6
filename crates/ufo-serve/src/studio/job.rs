//! Work of the studio: commands one after the other, each a child process that outlives the page that asked.

use super::commands::Step;
use super::parent::SERVER;
use super::{Project, StudioConfig};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a command may take to save and end when it is asked to.
const GRACE: Duration = Duration::from_secs(20);
/// How often is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(30);
/// Longest training, in seconds.
const LONGEST: u64 = 24 * 3600;

/// What kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Training of the task, and its model.
    Train,
    /// Smaller networks of it, and a search among them.
    Sizes,
    /// The model of a point of the search's front.
    Pick,
    /// A small network that learns from the trained one.
    Student,
}

/// Work to do, as a request tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    /// How long it trains.
    #[serde(default = "a_minute")]
    pub(crate) seconds: u64,
    /// What of the task is trained, as `ufo expand --update`.
    #[serde(default = "last_block")]
    pub(crate) update: String,
    /// Place on the front, for [`Kind::Pick`].
    #[serde(default)]
    pub(crate) point: Option<usize>,
    /// Network of the student.
    #[serde(default = "small_network")]
    pub(crate) network: String,
    /// Whether training goes on where it was cancelled.
    #[serde(default)]
    pub(crate) resume: bool,
}

fn a_minute() -> u64 {
    60
}

fn last_block() -> String {
    "last-1".to_string()
}

fn small_network() -> String {
    "mobilenet_v3_small".to_string()
}

const UPDATES: [&str; 6] = ["head", "norms", "last-1", "last-2", "expert", "all"];
const NETWORKS: [&str; 3] = ["mobilenet_v3_small", "mobilenet_v3_large", "resnet18"];

impl Wanted {
    /// Checks every value.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let known = |key: &str, value: &String, allowed: &[&str]| {
            let said = || format!("{key} is `{value}`; allowed: {}", allowed.join(", "));
            if allowed.contains(&value.as_str()) { Ok(()) } else { Err(said()) }
        };
        known("update", &self.update, &UPDATES)?;
        known("network", &self.network, &NETWORKS)?;
        if !(1..=LONGEST).contains(&self.seconds) {
            return Err(format!("seconds is {}; allowed: 1 to {LONGEST}", self.seconds));
        }
        Ok(())
    }
}

/// How far work is (`job.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) wanted: Wanted,
    pub(crate) state: State,
    /// What is done at the moment, or was last.
    pub(crate) what: String,
    /// The command that runs, from 1, and how many there are.
    pub(crate) step: usize,
    pub(crate) steps: usize,
    /// How long the command has run, and how long it trains.
    pub(crate) seconds: f64,
    pub(crate) budget: Option<u64>,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

/// Whether work goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Running,
    Done,
    Failed,
    Cancelled,
    /// The server ended meanwhile.
    Interrupted,
}

/// Work that was started.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) project: String,
    progress: Mutex<(Progress, Instant)>,
    cancelled: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    /// Starts commands on a project, when folders of earlier work are removed.
    pub(super) fn start(
        config: &StudioConfig,
        project: &Project,
        wanted: Wanted,
        (steps, anew): (Vec<Step>, Vec<PathBuf>),
    ) -> Result<Arc<Self>, String> {
        for folder in anew.into_iter().filter(|folder| folder.exists()) {
            fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        let log = project.folder.join("job.log");
        File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let progress = Progress {
            wanted,
            state: State::Running,
            what: steps.first().map_or("", |step| step.what).to_string(),
            step: 1,
            steps: steps.len(),
            seconds: 0.0,
            budget: steps.first().and_then(|step| step.budget),
            error: None,
        };
        let job = Arc::new(Self {
            project: project.name.clone(),
            progress: Mutex::new((progress, Instant::now())),
            cancelled: AtomicBool::new(false),
            thread: Mutex::default(),
        });
        let (worker, program, folder) =
            (Arc::clone(&job), config.program.clone(), project.folder.clone());
        worker.save(&folder);
        let thread = std::thread::Builder::new()
            .name("ufo-studio".into())
            .spawn(move || worker.run(&program, &folder, &steps))
            .map_err(|error| error.to_string())?;
        *lock(&job.thread) = Some(thread);
        Ok(job)
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        let (mut progress, since) = lock(&self.progress).clone();
        if progress.state == State::Running {
            progress.seconds = since.elapsed().as_secs_f64();
        }
        progress
    }

    pub(crate) fn is_running(&self) -> bool {
        lock(&self.progress).0.state == State::Running
    }

    /// Asks it to stop.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Waits for its end.
    pub(super) fn wait(&self) {
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(project = self.project, "the work's thread had panicked");
        }
    }

    fn run(&self, program: &Path, folder: &Path, steps: &[Step]) {
        for (index, step) in steps.iter().enumerate() {
            {
                let mut progress = lock(&self.progress);
                progress.1 = Instant::now();
                progress.0.step = index + 1;
                progress.0.what = step.what.to_string();
                progress.0.budget = step.budget;
            }
            tracing::info!(project = self.project, what = step.what, "studio");
            let ended = self.command(program, folder, step);
            let state = match ended {
                _ if self.cancelled.load(Ordering::Relaxed) => Some((State::Cancelled, None)),
                Ok(()) if index + 1 == steps.len() => Some((State::Done, None)),
                Ok(()) => None,
                Err(reason) => Some((State::Failed, Some(reason))),
            };
            if let Some((state, error)) = state {
                tracing::info!(project = self.project, ?state, error, "studio");
                let mut progress = lock(&self.progress);
                progress.0.seconds = progress.1.elapsed().as_secs_f64();
                (progress.0.state, progress.0.error) = (state, error);
                drop(progress);
                self.save(folder);
                return;
            }
        }
    }

    fn save(&self, folder: &Path) {
        let text = serde_json::to_vec_pretty(&lock(&self.progress).0).unwrap_or_default();
        if let Err(error) = super::project::write(&folder.join("job.json"), &text) {
            tracing::error!(project = self.project, %error, "job.json");
        }
    }

    /// Runs a command to its end, or until it is cancelled.
    fn command(&self, program: &Path, folder: &Path, step: &Step) -> Result<(), String> {
        let place = folder.join("job.log");
        let open = || File::options().append(true).open(&place);
        let both = open().and_then(|out| Ok((out, open()?)));
        let (out, err) = both.map_err(|error| format!("{}: {error}", place.display()))?;
        let mut command = Command::new(program);
        command.args(&step.words).stdin(Stdio::null()).stdout(out).stderr(err);
        // This thread waits for it, so that to the system it is the one that started it.
        command.env(SERVER, std::process::id().to_string());
        // Ctrl-C in the server's terminal is for the server, which then asks once.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let failed = |error: std::io::Error| format!("{}: {error}", program.display());
        let mut child = command.spawn().map_err(failed)?;
        let mut asked: Option<Instant> = None;
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return if status.success() { Ok(()) } else { Err(last_words(&place)) };
            }
            match asked {
                None if self.cancelled.load(Ordering::Relaxed) => {
                    interrupt(&mut child);
                    asked = Some(Instant::now());
                }
                Some(since) if since.elapsed() > GRACE => child.kill().map_err(failed)?,
                _ => {}
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Asks a process to save and end. It is not waited for yet, so its number is its own.
#[cfg(unix)]
fn interrupt(child: &mut Child) {
    use nix::sys::signal::{Signal, kill};
    let id = nix::unistd::Pid::from_raw(child.id() as i32);
    if let Err(error) = kill(id, Signal::SIGTERM) {
        tracing::warn!(%error, "asking a command to stop");
    }
}

#[cfg(not(unix))]
fn interrupt(child: &mut Child) {
    if let Err(error) = child.kill() {
        tracing::warn!(%error, "stopping a command");
    }
}

/// The last line that a command logged.
fn last_words(log: &Path) -> String {
    let text = tail(log, 4096);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("the command failed and said nothing").trim_start_matches("error: ").to_string()
}

/// The end of a text file.
pub(super) fn tail(file: &Path, bytes: u64) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let mut text = Vec::new();
    let read = File::open(file).and_then(|mut opened| {
        let length = opened.metadata()?.len();
        opened.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        opened.take(bytes).read_to_end(&mut text)
    });
    // A log that cannot be read is no reason to tell nothing else.
    if read.is_err() { String::new() } else { String::from_utf8_lossy(&text).into_owned() }
}
