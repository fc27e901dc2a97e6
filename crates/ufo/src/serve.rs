//! `ufo serve`: extracted models over HTTP.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;
use ufo_runtime::Precision;
use ufo_serve::{Config, ModelConfig, Server, StudioConfig};
use ufo_train::set_value;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folders that `ufo extract` wrote, or ONNX files; NAME=PATH gives another name than the file's.
    #[arg(value_name = "[NAME=]PATH")]
    models: Vec<String>,
    /// Configuration (TOML): models, limits, batching; see docs/serving.md.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Change one value of the configuration, such as listen=0.0.0.0:9000 or `limits.deadline_ms=500`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Numbers that layers of the folders named here multiply in.
    #[arg(long, default_value = "f32", value_parser = crate::folder::precision)]
    precision: Precision,
    /// What is logged: error, warn, info, debug (every request).
    #[arg(long, default_value = "info")]
    log: LevelFilter,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    start(args, None)
}

/// Serves, with a studio or without.
pub(crate) fn start(args: &Args, studio: Option<StudioConfig>) -> Result<ExitCode> {
    let page = if studio.is_some() { "/studio" } else { "" };
    let config = config(args, studio)?;
    tracing_subscriber::fmt()
        .with_max_level(args.log)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let server = Server::open(&config)?;
    let address = server.address();
    if !address.ip().is_loopback() && config.api_keys.is_none() {
        tracing::warn!(%address, "everybody who reaches this address may ask: api_keys is not set");
    }
    let mut out = std::io::stdout();
    writeln!(out, "listening on http://{address}{page}").and_then(|()| out.flush())?;
    server.run()?;
    Ok(ExitCode::SUCCESS)
}

fn config(args: &Args, studio: Option<StudioConfig>) -> Result<Config> {
    let mut config = match &args.config {
        Some(file) => read(file)?,
        None => Config::default(),
    };
    let named = |text: &String| model(text, args.precision);
    config.models.extend(args.models.iter().map(named).collect::<Result<Vec<_>>>()?);
    config.studio = studio.or(config.studio);
    let config = changed(config, &args.set)?;
    if config.models.is_empty() && config.studio.is_none() && config.updates.is_none() {
        bail!("no model: name folders that `ufo extract` wrote, or [[model]] in --config");
    }
    config.validate()?;
    Ok(config)
}

/// Reads a file, to whose folder its paths are relative.
fn read(file: &Path) -> Result<Config> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut config: Config =
        toml::from_str(&text).with_context(|| format!("in {}", file.display()))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let Config { models, api_keys, galleries, updates, onnxruntime, studio, .. } = &mut config;
    let paths = models.iter_mut().map(|model| &mut model.path);
    let studio = studio.iter_mut().flat_map(|studio| [&mut studio.folder, &mut studio.run]);
    let places = [api_keys, galleries, updates, onnxruntime].into_iter().flatten();
    for path in paths.chain(places).chain(studio) {
        *path = folder.join(&*path);
    }
    Ok(config)
}

fn changed(config: Config, sets: &[String]) -> Result<Config> {
    if sets.is_empty() {
        return Ok(config);
    }
    let mut table = toml::Table::try_from(config)?;
    for set in sets {
        set_value(&mut table, set).with_context(|| format!("--set {set}"))?;
    }
    table.try_into().context("in --set")
}

/// `NAME=PATH`, or a path whose last part without `.onnx` is the name.
fn model(text: &str, precision: Precision) -> Result<ModelConfig> {
    let (name, path) = if let Some((name, path)) = text.split_once('=') {
        (name.to_string(), PathBuf::from(path))
    } else {
        let path = PathBuf::from(text);
        let name = path.file_name().with_context(|| format!("`{text}` names no folder"))?;
        let name = name.to_string_lossy();
        (name.strip_suffix(".onnx").unwrap_or(&name).to_string(), path)
    };
    let onnx = path.extension().is_some_and(|ending| ending == "onnx");
    let precision = if onnx { Precision::F32 } else { precision };
    Ok(ModelConfig::new(name, path, precision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_by_their_path_or_before_it() {
        let named = |text| {
            let told = model(text, Precision::Int8).unwrap();
            (told.name, told.path.display().to_string(), told.precision)
        };
        let of = |name: &str, path: &str, precision: &str| {
            (name.to_string(), path.to_string(), precision.to_string())
        };
        assert_eq!(named("runs/a+b/"), of("a+b", "runs/a+b/", "int8"));
        assert_eq!(named("shoes=runs/x"), of("shoes", "runs/x", "int8"));
        assert_eq!(named("runs/x/cut.onnx"), of("cut", "runs/x/cut.onnx", "f32"));
    }

    #[test]
    fn a_file_is_read_changed_and_its_paths_are_relative_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serve.toml");
        std::fs::write(&file, "api_keys = \"k\"\n[[model]]\nname = \"a\"\npath = \"b\"").unwrap();
        let sets = ["model.a.precision=int8", "limits.deadline_ms=7", "galleries=here"];
        let config = changed(read(&file).unwrap(), &sets.map(String::from)).unwrap();
        assert_eq!(config.models[0].path, folder.path().join("b"));
        assert_eq!(config.api_keys, Some(folder.path().join("k")));
        assert_eq!(config.galleries, Some(PathBuf::from("here")));
        assert_eq!((config.models[0].precision.as_str(), config.limits.deadline_ms), ("int8", 7));
        for (set, said) in [("limits.body=3", "unknown field `body`"), ("threads=x", "threads")] {
            let error = format!("{:#}", changed(Config::default(), &[set.into()]).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
        std::fs::write(&file, "listen = 3").unwrap();
        let error = format!("{:#}", read(&file).unwrap_err());
        assert!(error.contains("serve.toml") && error.contains("line 1"), "{error}");
    }
}
