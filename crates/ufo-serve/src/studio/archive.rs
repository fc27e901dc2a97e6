//! What the names in an archive say: which class each image is of, and which split.

use std::collections::BTreeSet;

/// Longest name of a class, in bytes.
const MAX_CLASS: usize = 100;

/// Which images a file is among, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Placed {
    /// The file's place in the archive.
    pub(super) index: usize,
    /// Its class.
    pub(super) class: String,
    /// Whether the archive keeps it for the test; none where the archive says nothing of that.
    pub(super) test: Option<bool>,
}

/// Names of folders that are splits.
const TRAIN: [&str; 5] = ["train", "training", "val", "valid", "validation"];
const TEST: [&str; 2] = ["test", "testing"];

/// What the names say of all files, and which are left out: hidden ones, and those in no folder.
pub(super) fn placed(names: &[&str]) -> Result<(Vec<Placed>, Vec<usize>), String> {
    let mut left_out = Vec::new();
    let mut files: Vec<(usize, Vec<&str>)> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
        let hidden = parts.iter().any(|part| part.starts_with('.') || *part == "__MACOSX");
        if hidden || !has_ending(name) {
            continue;
        }
        files.push((index, parts));
    }
    // Folders around all others.
    while let Some(first) = files.first().and_then(|(_, parts)| parts.first().copied()) {
        let around = files.iter().all(|(_, parts)| parts[0] == first)
            && files.iter().any(|(_, parts)| parts.len() > 2);
        if !around || is_split(first) {
            break;
        }
        for (_, parts) in &mut files {
            parts.remove(0);
        }
    }
    let roots: BTreeSet<&str> =
        files.iter().filter(|(_, parts)| parts.len() > 1).map(|(_, parts)| parts[0]).collect();
    let any = |known: &[&str]| roots.iter().any(|root| is_of(root, known));
    let split = any(&TRAIN) && any(&TEST) && roots.iter().all(|root| is_split(root));
    let mut placed = Vec::new();
    for (index, mut parts) in files {
        let test = split.then(|| is_of(parts.remove(0), &TEST));
        if parts.len() < 2 {
            left_out.push(index);
            continue;
        }
        let class = parts[0].trim_matches(' ');
        check_class(class)?;
        placed.push(Placed { index, class: class.to_string(), test });
    }
    Ok((placed, left_out))
}

fn is_of(name: &str, known: &[&str]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn is_split(name: &str) -> bool {
    is_of(name, &TRAIN) || is_of(name, &TEST)
}

fn has_ending(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    is_of(ending, &["png", "jpg", "jpeg", "jfif", "webp"])
}

/// A class becomes a folder.
fn check_class(class: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_alphanumeric() || " _-+&(),'!#@=~".contains(c) || c == '.';
    let sound = (1..=MAX_CLASS).contains(&class.len())
        && class.chars().all(allowed)
        && !class.starts_with('.')
        && !class.ends_with('.');
    if sound {
        return Ok(());
    }
    let shown: String = class.chars().filter(|c| !c.is_control()).take(60).collect();
    Err(format!(
        "the folder `{shown}` names no class; allowed: up to {MAX_CLASS} bytes of letters, digits, spaces and _-+&(),'!#@=~."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class and split of each file, and how many are left out.
    fn said(names: &[&str]) -> (Vec<String>, usize) {
        let (placed, left_out) = placed(names).unwrap();
        let text = |one: &Placed| {
            let split = one.test.map_or("", |test| if test { " test" } else { " train" });
            format!("{} {}{split}", one.index, one.class)
        };
        (placed.iter().map(text).collect(), left_out.len())
    }

    #[test]
    fn folders_are_classes_whatever_is_around_them() {
        let names = ["pets/all/cat/1.png", "pets/all/dog/more/2.JPG", "__MACOSX/pets/._1.png"];
        assert_eq!(said(&names), (vec!["0 cat".into(), "1 dog".into()], 0));
        let names = ["cat/1.png", "dog/2.webp", "3.png", "cat/notes.txt", "dog/.hidden.png"];
        assert_eq!(said(&names), (vec!["0 cat".into(), "1 dog".into()], 1));
        let names = ["x/train/cat/1.png", "x/Test/cat/2.png", "x/val/dog/3.png"];
        let expected = ["0 cat train", "1 cat test", "2 dog train"].map(String::from);
        assert_eq!(said(&names), (expected.to_vec(), 0));
        // Classes that are called like splits.
        let names = ["train/1.png", "bus/2.png"];
        assert_eq!(said(&names), (vec!["0 train".into(), "1 bus".into()], 0));
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        for name in ["a/../b/1.png", "../../etc/1.png", "a/..", "/etc/x.png"] {
            // Parts that begin with a dot are hidden; the rest is a class by its own name.
            let (placed, _) = placed(&[name, "ok/2.png"]).unwrap();
            assert!(placed.iter().all(|one| !one.class.contains(['/', '.'])), "{name}");
        }
        for name in ["C:/1.png", "a\u{0}b/1.png", "a\n/1.png", "x./1.png", "a|b/1.png"] {
            let names = [name, "ok/2.png"];
            assert!(placed(&names).unwrap_err().contains("names no class"), "{name}");
        }
        let long = format!("{}/1.png", "x".repeat(101));
        assert!(placed(&[&long, "ok/2.png"]).is_err());
    }
}
