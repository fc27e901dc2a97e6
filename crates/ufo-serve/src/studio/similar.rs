//! Which images of a project look most like another: by embeddings of one of its models that is served.

use super::Project;
use crate::gallery::Index;
use crate::served::Served;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;
use ufo_data::{Dataset, Format, eval_batches};

/// Images that go through a model at a time.
const BATCH: usize = 32;

/// The embeddings of all images of a project by one model; those that were asked for last are kept.
#[derive(Debug, Default)]
pub(crate) struct Similar {
    /// Held for moments only: a thread that computes takes up other work while it waits, such as another search.
    kept: Mutex<Option<Kept>>,
    /// Of those who ask for the first time one makes the embeddings while the others wait, off the threads that compute.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Kept {
    project: PathBuf,
    model: Arc<Served>,
    index: Arc<Index>,
}

impl Similar {
    /// The embeddings of a project's images by a model, where they are kept.
    pub(crate) fn known(&self, project: &Project, model: &Arc<Served>) -> Option<Arc<Index>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |kept: &&Kept| kept.project == project.folder && Arc::ptr_eq(&kept.model, model);
        kept.as_ref().filter(fits).map(|kept| Arc::clone(&kept.index))
    }

    /// Waits for the turn to make embeddings.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// The embeddings of a project's images by a model, made where they are not kept.
    pub(crate) fn index(
        &self,
        project: &Project,
        model: &Arc<Served>,
        make: impl FnOnce() -> Result<Index, String>,
    ) -> Result<Arc<Index>, String> {
        if let Some(index) = self.known(project, model) {
            return Ok(index);
        }
        let index = Arc::new(make()?);
        let (project, model) = (project.folder.clone(), Arc::clone(model));
        let kept = Kept { project, model, index: Arc::clone(&index) };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(index)
    }

    /// Gives up what is kept of a project.
    pub(crate) fn forget(&self, project: &Project) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|kept| kept.project == project.folder) {
            *kept = None;
        }
    }
}

impl Project {
    /// Embeddings of all images by their places in the project (`train/IDENTITY/NUMBER.png`), computed in the current
    /// rayon pool.
    pub(crate) fn embedded(&self, model: &Served, task: usize) -> Result<Index, String> {
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
    use crate::config::ModelConfig;
    use crate::served::Runtimes;
    use std::fs;
    use std::sync::mpsc::channel;
    use std::time::Duration;
    use ufo_onnx::{Dim, Graph};
    use ufo_runtime::Precision;

    #[test]
    fn embeddings_are_made_with_nothing_held() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.onnx");
        let mut graph = Graph::new("same");
        let sizes = [1, 3, 2, 2].map(Dim::Fixed);
        let image = graph.input("image", &sizes);
        let same = graph.node("Identity", &[&image], &[]);
        graph.output("same", &same, &sizes);
        graph.save(&file).unwrap();
        let told = ModelConfig::new("m", file, Precision::F32);
        let model = Arc::new(Served::open(&told, &Runtimes::new(1, None).unwrap()).unwrap());
        let project = |name: &str| Project { name: name.into(), folder: name.into() };
        let index = |id: &str| Index::of(1, [(id.to_string(), vec![1.0])]);
        let found = |index: &Index| index.search(&[1.0], 1)[0].id.clone();
        // Another search goes through while embeddings are made, as a thread that waits may take one up.
        let similar = Arc::new(Similar::default());
        let (done, ended) = channel();
        let (first, other) = (Arc::clone(&similar), Arc::clone(&model));
        std::thread::spawn(move || {
            let made = first.index(&project("a"), &other, || {
                let inner = first.index(&project("b"), &other, || Ok(index("inner")))?;
                assert_eq!(found(&inner), "inner");
                Ok(index("outer"))
            });
            done.send(found(&made.unwrap())).unwrap();
        });
        assert_eq!(ended.recv_timeout(Duration::from_secs(20)).unwrap(), "outer");
        // The latest is kept, for its project and its model alone.
        let again = similar.index(&project("a"), &model, || panic!("it is kept")).unwrap();
        assert_eq!(found(&again), "outer");
        assert!(similar.known(&project("b"), &model).is_none());
        similar.forget(&project("a"));
        assert!(similar.known(&project("a"), &model).is_none());
    }

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
