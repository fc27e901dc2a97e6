//! From the bytes of images to inputs of models, on threads that may block.

use crate::app::{App, Deadline};
use crate::refusal::Refusal;
use std::sync::Arc;
use ufo_data::{Image, Preprocess, decode_within};

/// First bytes of the formats that are read, and where they stand.
const FORMATS: [(&str, usize, &[u8]); 3] =
    [("JPEG", 0, b"\xFF\xD8\xFF"), ("PNG", 0, b"\x89PNG\r\n\x1A\n"), ("WebP", 8, b"WEBP")];

/// Decodes an image of a format that this server reads.
///
/// # Errors
/// 415 for other bytes, 413 above the limit of pixels, 400 when it is damaged.
fn decoded(app: &App, bytes: &[u8]) -> Result<Image, Refusal> {
    let known = FORMATS
        .iter()
        .any(|(_, at, magic)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    if !known {
        let said = "an image is needed, as its file's bytes; allowed: JPEG, PNG, WebP";
        return Err(Refusal::Kind(said.into()));
    }
    let image = decode_within(bytes, app.limits.pixels).map_err(|error| match error {
        ufo_data::Error::TooLarge { .. } => Refusal::TooLarge(error.to_string()),
        error => Refusal::Image(error.to_string()),
    })?;
    app.metrics.decoded();
    Ok(image)
}

/// Inputs that one image becomes, and its size.
#[derive(Debug, PartialEq)]
pub(crate) struct Prepared {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// One for each preprocessing.
    pub(crate) inputs: Vec<Vec<f32>>,
}

/// Decodes each image once and makes of it the inputs of all `ways`; waits for a free decoder.
///
/// # Errors
/// As decoding, naming which image when there are several; 504 at the deadline.
pub(crate) async fn prepare(
    app: &Arc<App>,
    deadline: Deadline,
    files: Vec<Vec<u8>>,
    ways: Vec<Preprocess>,
) -> Result<Vec<Prepared>, Refusal> {
    let free = Arc::clone(&app.decoders).acquire_owned();
    let permit = deadline.limit(free).await.ok_or(Refusal::Late)?;
    let permit = permit.map_err(|_| Refusal::Stopping)?;
    let worker = Arc::clone(app);
    let work = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut all = Vec::with_capacity(files.len());
        for file in files {
            if std::time::Instant::now() >= deadline.0 {
                return Err(Refusal::Late);
            }
            let image = decoded(&worker, &file)?;
            all.push(Prepared {
                width: image.width,
                height: image.height,
                inputs: ways.iter().map(|way| way.apply(&image)).collect(),
            });
        }
        Ok(all)
    });
    let done = deadline.limit(work).await.ok_or(Refusal::Late)?;
    done.map_err(|_| Refusal::Failed("preparing an image failed".into()))?
}
