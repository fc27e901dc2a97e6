//! From an archive to a project's images: every one is read once, repeated ones are left out, a fifth is kept
//! for the test.

use super::StudioConfig;
use super::archive::{Placed, placed};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use ufo_data::{Zip, ZipError, decode_within, encode_png, fitted};

/// Longer side of the images that are kept: larger ones, such as a phone's, would be decoded anew in each epoch.
const SIDE: usize = 512;
/// One of so many images of a class is for the test.
const TEST_SHARE: usize = 5;
/// Names that are told of a kind of trouble.
const TOLD: usize = 20;
/// Images of a class below which accuracy says little.
const FEW: usize = 10;
/// Identities below which little is learned of others.
const FEW_IDENTITIES: usize = 20;
/// How many times the smallest class the largest may be.
const UNEVEN: usize = 10;

/// Why an archive is refused.
#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    /// What is in it.
    Content(String),
    /// More than the limits.
    TooLarge(String),
    /// The disk.
    Disk(String),
}

/// What the folders of an archive are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Folders {
    /// Classes: the task says of which one an image is.
    #[default]
    Classes,
    /// Persons or things, each in several images: the task says which images show the same one, also of those
    /// that it was not trained on.
    Identities,
}

/// What was found in an archive (`checks.json`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checks {
    /// What its folders are.
    #[serde(default)]
    pub(crate) folders: Folders,
    /// Classes with their images for training and test.
    pub(crate) classes: Vec<ClassChecks>,
    /// Images that cannot be read, with the reason; at most 20 are named.
    pub(crate) unreadable: Named,
    /// Images whose pixels repeat another of their class; left out.
    pub(crate) repeated: Named,
    /// Images whose pixels are in several classes; all of them are left out.
    pub(crate) contradicting: Named,
    /// Images that are in no folder.
    pub(crate) unlabeled: Named,
    /// What may spoil the result, in words.
    pub(crate) warnings: Vec<String>,
    /// Whether the archive had a test split of its own.
    pub(crate) own_test: bool,
}

/// How many, and the first few names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) count: usize,
    pub(crate) first: Vec<String>,
}

impl Named {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < TOLD {
            let plain = |c: char| if c.is_control() { ' ' } else { c };
            self.first.push(name().chars().take(200).map(plain).collect());
        }
    }
}

/// A class's images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClassChecks {
    pub(crate) name: String,
    pub(crate) train: usize,
    pub(crate) test: usize,
}

/// An image that was read.
struct Read {
    placed: Placed,
    hash: [u8; 32],
    /// Its file's ending, where it lies under the number of its place.
    ending: &'static str,
}

/// Unpacks an archive: `train/CLASS/NUMBER.png` and `test/…` under `to`, whose names are all of this program.
pub(super) fn unpack(
    archive: &Path,
    to: &Path,
    config: &StudioConfig,
    (folders, pixels): (Folders, u64),
) -> Result<Checks, Refused> {
    let file = File::open(archive).map_err(|error| Refused::Disk(error.to_string()))?;
    let mut zip = Zip::open(BufReader::new(file), 2 * config.images + 1000).map_err(refused)?;
    let names: Vec<String> = zip.entries().iter().map(|entry| entry.name.clone()).collect();
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    let (found, left_out) = placed(&texts).map_err(Refused::Content)?;
    if found.len() > config.images {
        let (got, most) = (found.len(), config.images);
        return Err(Refused::TooLarge(format!("{got} images; allowed: {most}")));
    }
    let own_test = found.iter().any(|one| one.test.is_some());
    let mut checks = Checks { folders, own_test, ..Checks::default() };
    for index in left_out {
        checks.unlabeled.add(|| names[index].clone());
    }
    let staged = to.join("staged");
    fs::create_dir_all(&staged).map_err(disk)?;
    let mut all = Vec::new();
    for placed in found {
        let name = || names[placed.index].clone();
        let bytes = match zip.read(placed.index, config.image_bytes) {
            Ok(bytes) => bytes,
            Err(ZipError::Io(error)) => return Err(disk(error)),
            Err(error) => {
                checks.unreadable.add(|| format!("{}: {error}", name()));
                continue;
            }
        };
        match stage(&bytes, &staged.join(placed.index.to_string()), pixels)? {
            Ok((hash, ending)) => all.push(Read { placed, hash, ending }),
            Err(reason) => checks.unreadable.add(|| format!("{}: {reason}", name())),
        }
    }
    let kept = distinct(all, &names, &mut checks);
    sort_out(kept, to, &staged, &mut checks)?;
    fs::remove_dir_all(&staged).map_err(disk)?;
    judge(&mut checks, config)?;
    Ok(checks)
}

fn disk(error: impl std::fmt::Display) -> Refused {
    Refused::Disk(error.to_string())
}

fn refused(error: ZipError) -> Refused {
    match error {
        ZipError::Io(error) => disk(error),
        ZipError::Entries { .. } => Refused::TooLarge(error.to_string()),
        error => Refused::Content(error.to_string()),
    }
}

/// Decodes an image and keeps its file, or a smaller one of it; the hash is of its pixels.
fn stage(
    bytes: &[u8],
    place: &Path,
    pixels: u64,
) -> Result<Result<([u8; 32], &'static str), String>, Refused> {
    let ending = match bytes {
        [0xFF, 0xD8, 0xFF, ..] => "jpg",
        [0x89, b'P', b'N', b'G', ..] => "png",
        [_, _, _, _, _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        _ => return Ok(Err("no JPEG, PNG or WebP".into())),
    };
    let image = match decode_within(bytes, pixels) {
        Ok(image) => image,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(image.width as u64).to_le_bytes()).update(&image.rgb);
    let hash = *hasher.finalize().as_bytes();
    if image.width.max(image.height) <= SIDE {
        fs::write(place, bytes).map_err(disk)?;
        return Ok(Ok((hash, ending)));
    }
    let png = match encode_png(&fitted(&image, SIDE)) {
        Ok(png) => png,
        Err(error) => return Ok(Err(error.to_string())),
    };
    fs::write(place, png).map_err(disk)?;
    Ok(Ok((hash, "png")))
}

/// One image of each content, of those that are in one class only; the test's is left out where training has it.
fn distinct(all: Vec<Read>, names: &[String], checks: &mut Checks) -> Vec<Read> {
    let mut by_hash: HashMap<[u8; 32], (String, bool)> = HashMap::new();
    for read in &all {
        let known = by_hash.entry(read.hash).or_insert((read.placed.class.clone(), true));
        known.1 &= known.0 == read.placed.class;
    }
    let mut seen = std::collections::HashSet::new();
    // Training's first.
    let (test, train): (Vec<Read>, Vec<Read>) =
        all.into_iter().partition(|read| read.placed.test == Some(true));
    let mut kept = Vec::new();
    for read in train.into_iter().chain(test) {
        let name = || names[read.placed.index].clone();
        if !by_hash[&read.hash].1 {
            checks.contradicting.add(name);
        } else if seen.insert(read.hash) {
            kept.push(read);
        } else {
            checks.repeated.add(name);
        }
    }
    kept
}

/// Moves images to their split and class, and counts them.
fn sort_out(all: Vec<Read>, to: &Path, staged: &Path, checks: &mut Checks) -> Result<(), Refused> {
    let mut classes: BTreeMap<String, Vec<Read>> = BTreeMap::new();
    for read in all {
        classes.entry(read.placed.class.clone()).or_default().push(read);
    }
    let whole = match checks.folders {
        Folders::Classes => BTreeSet::new(),
        Folders::Identities => tested(&classes),
    };
    for (name, mut images) in classes {
        // An order that the content alone decides.
        images.sort_by_key(|read| read.hash);
        let tested = match checks.folders {
            Folders::Classes => images.len().div_ceil(TEST_SHARE),
            Folders::Identities => {
                if whole.contains(&name) {
                    images.len()
                } else {
                    0
                }
            }
        };
        let mut counts = [0; 2];
        for (place, read) in images.iter().enumerate() {
            let test = read.placed.test.unwrap_or(place < tested);
            let folder = to.join(if test { "test" } else { "train" }).join(&name);
            fs::create_dir_all(&folder).map_err(disk)?;
            let index = read.placed.index;
            let file = folder.join(format!("{index:06}.{}", read.ending));
            fs::rename(staged.join(index.to_string()), file).map_err(disk)?;
            counts[usize::from(test)] += 1;
        }
        checks.classes.push(ClassChecks { name, train: counts[0], test: counts[1] });
    }
    Ok(())
}

/// A fifth of the identities that have several images, but at least two: all of their images are for the test, so
/// that it asks about identities that were not trained on. Hashes of names decide which.
fn tested(classes: &BTreeMap<String, Vec<Read>>) -> BTreeSet<String> {
    let several = classes.iter().filter(|(_, images)| images.len() > 1);
    let mut names: Vec<&String> = several.map(|(name, _)| name).collect();
    names.sort_by_key(|name| *blake3::hash(name.as_bytes()).as_bytes());
    names.truncate(names.len().div_ceil(TEST_SHARE).max(2));
    names.into_iter().cloned().collect()
}

impl Checks {
    /// Classes or identities with images to train on.
    pub(super) fn trained(&self) -> usize {
        self.classes.iter().filter(|class| class.train > 0).count()
    }
}

/// Refuses identities that cannot be trained on or tested with, and warns of what may spoil the result.
fn judge_identities(checks: &mut Checks) -> Result<(), Refused> {
    let several =
        |images: fn(&ClassChecks) -> usize| checks.classes.iter().filter(|c| images(c) > 1).count();
    let (train, test) = (several(|c| c.train), several(|c| c.test));
    if train < 2 || test < 2 {
        return Err(Refused::Content(format!(
            "{train} identities with several images to train on and {test} to test with; both need at least 2"
        )));
    }
    let alone = checks.classes.iter().filter(|c| c.train + c.test == 1).count();
    if alone > 0 {
        checks
            .warnings
            .push(format!("{alone} identities have a single image: little is learned of them"));
    }
    if train < FEW_IDENTITIES {
        checks.warnings.push(format!("{train} identities to train on: expect little of others"));
    }
    Ok(())
}

/// Refuses what cannot be trained on, and warns of what may spoil the result.
fn judge(checks: &mut Checks, config: &StudioConfig) -> Result<(), Refused> {
    let classes = &checks.classes;
    if classes.len() > config.classes {
        let (got, most) = (classes.len(), config.classes);
        return Err(Refused::TooLarge(format!("{got} classes; allowed: {most}")));
    }
    if classes.len() < 2 {
        let trouble = checks.unreadable.first.first().map_or(String::new(), |n| format!("; {n}"));
        return Err(Refused::Content(format!(
            "{} classes with readable images; at least 2 are needed, each a folder of JPEG, PNG or WebP files{trouble}",
            classes.len()
        )));
    }
    let tested: usize = classes.iter().map(|class| class.test).sum();
    if checks.folders == Folders::Identities {
        judge_identities(checks)?;
    } else {
        judge_classes(checks)?;
    }
    if tested < 50 {
        let said = format!("{tested} test images: accuracy is uncertain by several points");
        checks.warnings.push(said);
    }
    Ok(())
}

fn judge_classes(checks: &mut Checks) -> Result<(), Refused> {
    let classes = &checks.classes;
    if let Some(class) = classes.iter().find(|class| class.train == 0 || class.test == 0) {
        let ClassChecks { name, train, test } = class;
        return Err(Refused::Content(format!(
            "class `{name}` has {train} different images to train on and {test} to test with; both need at least 1"
        )));
    }
    let few = classes.iter().filter(|class| class.train + class.test < FEW).count();
    if few > 0 {
        checks.warnings.push(format!("{few} classes have fewer than {FEW} images: expect little"));
    }
    let sizes = || classes.iter().map(|class| class.train);
    if sizes().max() > sizes().min().map(|least| least * UNEVEN) {
        let said = format!("the largest class is more than {UNEVEN} times the smallest");
        checks.warnings.push(said);
    }
    Ok(())
}
