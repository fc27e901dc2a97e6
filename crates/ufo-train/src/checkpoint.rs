//! Atomic checkpoints: files beside, fsynced, renamed; a hash for each in a manifest; `latest` last.

use crate::{Ema, Identity, Learner, Optimizer};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use ufo_model::state_of;

const EMA: &str = "ema.safetensors";
const UNFINISHED: &str = "unfinished";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Steps done.
    step: u64,
    /// Seconds of training so far.
    seconds: f64,
    /// What the weights belong to.
    identity: Identity,
    /// File name and blake3.
    files: Vec<(String, String)>,
}

/// Writes `bytes` beside `path`, fsyncs and renames, so that a crash leaves the old file.
///
/// # Errors
/// Names the file, such as on a full disk.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // What the umask leaves of it: results are for others to read.
        use std::os::unix::fs::PermissionsExt;
        beside.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file =
        beside.tempfile_in(folder).with_context(|| format!("writing {}", path.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .with_context(|| format!("writing {}", path.display()))?;
    file.persist(path).with_context(|| format!("writing {}", path.display()))?;
    File::open(folder).and_then(|folder| folder.sync_all()).context("syncing a folder")
}

/// Where a run stands, besides its weights.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Seconds of training so far, over all resumptions.
    pub seconds: f64,
    /// State of the optimizer.
    pub optimizer: Optimizer,
    /// Averaged weights, when the run keeps them.
    pub ema: Option<Ema>,
}

/// Writes a checkpoint, keeps the one before it, removes older ones; other folders are let alone.
///
/// # Errors
/// When a file cannot be written; earlier checkpoints are untouched.
pub fn save<L: Learner>(
    run: &Path,
    identity: &Identity,
    net: &L,
    progress: &Progress,
) -> Result<()> {
    let Progress { step, seconds, .. } = *progress;
    let name = format!("step-{step:08}");
    let whole = run.join("checkpoints").join(&name);
    // Renamed when it is whole: what a killed save leaves is not a checkpoint.
    let folder = run.join("checkpoints").join(UNFINISHED);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut states = vec![
        (L::FILE, state_of(&mut net.clone(), "")),
        ("optimizer.safetensors", progress.optimizer.state()),
    ];
    states.extend(progress.ema.as_ref().map(|ema| (EMA, ema.state())));
    let mut files = Vec::new();
    for (file, state) in states {
        let bytes = ufo_weights::to_bytes(&state, &[("step", step.to_string())])?;
        write_atomic(&folder.join(file), &bytes)?;
        files.push((file.to_string(), blake3::hash(&bytes).to_hex().to_string()));
    }
    let manifest = Manifest { step, seconds, identity: identity.clone(), files };
    write_atomic(&folder.join("manifest.json"), &serde_json::to_vec_pretty(&manifest)?)?;
    if whole.exists() {
        fs::remove_dir_all(&whole).with_context(|| format!("removing {}", whole.display()))?;
    }
    fs::rename(&folder, &whole).with_context(|| format!("renaming to {}", whole.display()))?;
    write_atomic(&run.join("checkpoints/latest"), name.as_bytes())?;
    // Later ones can only be damaged, or this would not be the newest.
    let earlier = list(run)?.into_iter().filter(|folder| *folder < whole);
    for old in earlier.rev().skip(1) {
        fs::remove_dir_all(&old).with_context(|| format!("removing {}", old.display()))?;
    }
    Ok(())
}

/// Loads the newest sound checkpoint into `net`; a damaged one is reported and the previous
/// one is taken. None when there is no checkpoint.
///
/// # Errors
/// A checkpoint of another configuration, or none that is sound.
pub fn load_latest<L: Learner>(
    run: &Path,
    identity: &Identity,
    net: &mut L,
) -> Result<Option<Progress>> {
    let folders = list(run)?;
    let mut damage = Vec::new();
    for folder in folders.iter().rev() {
        match load(folder, identity, net) {
            Ok(loaded) => return Ok(Some(loaded)),
            Err(error) if error.is::<OtherConfig>() => return Err(error),
            Err(error) => {
                eprintln!("skipping a damaged checkpoint: {error:#}");
                damage.push(format!("{error:#}"));
            }
        }
    }
    if damage.is_empty() { Ok(None) } else { bail!("no sound checkpoint: {}", damage.join("; ")) }
}

#[derive(Debug, thiserror::Error)]
#[error("{folder}: made with {key} = {made}, now it is {now}; use another run folder")]
struct OtherConfig {
    folder: String,
    key: String,
    made: String,
    now: String,
}

fn load<L: Learner>(folder: &Path, identity: &Identity, net: &mut L) -> Result<Progress> {
    let place = folder.join("manifest.json");
    let text = fs::read(&place).with_context(|| format!("reading {}", place.display()))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).with_context(|| format!("in {}", place.display()))?;
    if let Some(other) = difference(folder, &manifest.identity, identity) {
        return Err(other.into());
    }
    let mut progress =
        Progress { step: manifest.step, seconds: manifest.seconds, ..Progress::default() };
    let mut weights = None;
    for (name, hash) in &manifest.files {
        let place = folder.join(name);
        let bytes = fs::read(&place).with_context(|| format!("reading {}", place.display()))?;
        if blake3::hash(&bytes).to_hex().as_str() != hash {
            bail!("{}: its hash is not the manifest's, the file is damaged", place.display());
        }
        let state = ufo_weights::from_bytes(&bytes, &place.display().to_string())?;
        match name.as_str() {
            name if name == L::FILE => weights = Some(state),
            EMA => progress.ema = Some(Ema::from_state(state)),
            _ => progress.optimizer = Optimizer::from_state(state),
        }
    }
    let weights = weights.with_context(|| format!("{}: no {} in it", place.display(), L::FILE))?;
    ufo_model::weights::load(net, weights, &folder.display().to_string())?;
    Ok(progress)
}

/// The first key of `now` that the checkpoint was made with another value of.
fn difference(folder: &Path, made: &Identity, now: &Identity) -> Option<OtherConfig> {
    let value = |identity: &Identity, key: &str| {
        let found = identity.iter().find(|(name, _)| name == key);
        found.map_or("missing".to_string(), |(_, value)| value.clone())
    };
    let differs = |(key, now): &&(String, String)| value(made, key) != *now;
    now.iter().find(differs).map(|(key, now)| OtherConfig {
        folder: folder.display().to_string(),
        key: key.clone(),
        made: value(made, key),
        now: now.clone(),
    })
}

fn list(run: &Path) -> Result<Vec<PathBuf>> {
    let folder = run.join("checkpoints");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let step = name.strip_prefix("step-").is_some_and(|step| step.parse::<u64>().is_ok());
        if step && path.join("manifest.json").exists() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
