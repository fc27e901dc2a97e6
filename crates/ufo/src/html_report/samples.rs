//! Example images as cards, the PNG files inside the page.

use super::text::Escaped;
use super::{Sample, Samples};
use std::fmt::{self, Write as _};

/// Longer side of an image on the page, in CSS pixels, at most.
const SIDE: u32 = 96;
/// The same of one that is larger than thumbnails are, which is to be looked at closely.
const CLOSE: u32 = 288;
/// Longer side of thumbnails, in pixels of the file, at most.
pub(crate) const THUMBNAIL: usize = 192;

/// Images of one task.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut String, samples: &Samples) -> fmt::Result {
    writeln!(
        out,
        "<h3>{}</h3><p class=\"small\">{}</p>",
        Escaped(&samples.task),
        Escaped(&samples.caption)
    )?;
    for row in samples.rows.iter().filter(|row| !row.is_empty()) {
        let class = if is_query(row) { "cards matches" } else { "cards" };
        write!(out, "<div class=\"{class}\">")?;
        for sample in row {
            card(out, sample)?;
        }
        writeln!(out, "</div>")?;
    }
    Ok(())
}

/// Whether the row is a query with its matches: those are judged, the query is not.
fn is_query(row: &[Sample]) -> bool {
    let [query, matches @ ..] = row else { return false };
    query.right.is_none() && matches.iter().any(|sample| sample.right.is_some())
}

fn card(out: &mut String, sample: &Sample) -> fmt::Result {
    let (class, mark) = match sample.right {
        Some(true) => (" right", "<b role=\"img\" aria-label=\"right\">✓</b>"),
        Some(false) => (" wrong", "<b role=\"img\" aria-label=\"wrong\">✗</b>"),
        None => ("", ""),
    };
    let (width, height, enlarged) = shown_size(&sample.png);
    let pixelated = if enlarged { " class=\"pixelated\"" } else { "" };
    write!(
        out,
        "<figure class=\"card{class}\">{mark}<img{pixelated} width=\"{width}\" height=\"{height}\" \
         alt=\"{title}\" src=\"data:image/png;base64,{data}\"><figcaption>{title}\
         <small>{note}</small></figcaption></figure>",
        title = Escaped(&sample.title),
        note = Escaped(&sample.note),
        data = base64(&sample.png)
    )
}

/// Width and height on the page, and whether the image is enlarged: by a whole factor, so that its
/// pixels stay equal squares.
pub(crate) fn shown_size(png: &[u8]) -> (u32, u32, bool) {
    // After the signature the header chunk: length, `IHDR`, width, height.
    let side = |at: usize| {
        let bytes = png.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes)).filter(|&side| side > 0)
    };
    let (Some(width), Some(height)) = (side(16), side(20)) else { return (SIDE, SIDE, false) };
    let longer = width.max(height);
    if longer <= SIDE {
        let factor = SIDE / longer;
        return (width * factor, height * factor, factor > 1);
    }
    let most = if longer as usize > THUMBNAIL { CLOSE.min(longer) } else { SIDE };
    let shrunk = |side: u32| (side as f64 * most as f64 / longer as f64).round().max(1.0) as u32;
    (shrunk(width), shrunk(height), false)
}

/// Base64 of RFC 4648, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for index in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * index)) as usize & 63] as char;
            text.push(if index <= chunk.len() { digit } else { '=' });
        }
    }
    text
}
