//! Which images of a project look most like another: by embeddings of one of its models that is served.

use super::Project;
use crate::gallery::{Index, Match, unit};
use crate::served::Served;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use ufo_data::{Dataset, Format, eval_batches};

/// Images that go through a model at a time.
const BATCH: usize = 32;

/// The embeddings of all images of a project by one model; those that were asked for last are kept.
#[derive(Debug, Default)]
pub(crate) struct Similar(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    project: PathBuf,
    model: Arc<Served>,
    index: Arc<Index>,
}

impl Similar {
    /// The `top` images most similar to one of an embedding, the best first, by their places in the project:
    /// `train/IDENTITY/NUMBER.png`. The first time all images go through the model, in the current rayon pool.
    pub(crate) fn search(
        &self,
        project: &Project,
        (model, task): (&Arc<Served>, usize),
        embedding: &[f32],
        top: usize,
    ) -> Result<Vec<Match>, String> {
        let query = unit(embedding).ok_or("the embedding has no direction")?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |kept: &&Kept| kept.project == project.folder && Arc::ptr_eq(&kept.model, model);
        let index = if let Some(kept) = kept.as_ref().filter(fits) {
            Arc::clone(&kept.index)
        } else {
            let index = Arc::new(project.embedded(model, task)?);
            let (project, model) = (project.folder.clone(), Arc::clone(model));
            *kept = Some(Kept { project, model, index: Arc::clone(&index) });
            index
        };
        drop(kept);
        Ok(index.search(&query, top))
    }

    /// Gives up what is kept of a project.
    pub(crate) fn forget(&self, project: &Project) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|kept| kept.project == project.folder) {
            *kept = None;
        }
    }
}

impl Project {
    fn embedded(&self, model: &Served, task: usize) -> Result<Index, String> {
        let preprocess = model.preprocess.as_ref().ok_or("the model takes no images")?;
        let width = model.tasks[task].width();
        let images = self.folder.join("images");
        let mut rows = Vec::new();
        for split in ["train", "test"] {
            let dataset = Dataset::open(Format::ImageFolder, &images.join(split));
            let dataset = dataset.map_err(|error| error.to_string())?;
            let mut at = 0;
            for batch in eval_batches(&dataset, preprocess, BATCH) {
                let batch = batch.map_err(|error| error.to_string())?;
                let outputs = model.run(task, &batch.images).map_err(|error| error.to_string())?;
                for row in outputs.chunks_exact(width) {
                    let name = dataset.name(at);
                    let place = Path::new(&name).strip_prefix(&images).unwrap_or(Path::new(&name));
                    rows.push((place.display().to_string(), row.to_vec()));
                    at += 1;
                }
            }
        }
        Ok(Index::of(width, rows))
    }

    /// The file of an image by its split, identity or class, and name; none where it is not this project's.
    pub(crate) fn image(&self, [split, label, file]: [&str; 3]) -> Option<PathBuf> {
        let plain = |part: &&str| {
            let mut parts = Path::new(part).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == *part)
        };
        let sound = ["train", "test"].contains(&split) && [label, file].iter().all(plain);
        let place = self.folder.join("images").join(split).join(label).join(file);
        (sound && place.is_file()).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn images_are_found_by_their_names_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("images/test/ann b");
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join("000001.png"), "x").unwrap();
        fs::write(folder.path().join("secret"), "x").unwrap();
        let project = Project { name: "a".into(), folder: folder.path().to_path_buf() };
        assert!(project.image(["test", "ann b", "000001.png"]).is_some());
        for parts in [
            ["train", "ann b", "000001.png"],
            ["test", "..", "../../secret"],
            ["..", "..", "secret"],
            ["test", "ann b", "../ann b/000001.png"],
            ["test", ".", "ann b/000001.png"],
            ["test", "/etc", "passwd"],
            ["test", "ann b", ""],
            ["test", "ann b/", "000001.png"],
        ] {
            assert_eq!(project.image(parts), None, "{parts:?}");
        }
    }
}
