//! Changes of colors, to the bit as Pillow's `ImageOps` and `ImageEnhance`.

use crate::Image;

/// One table a channel.
type Tables = [[u8; 256]; 3];

/// Keeps the `bits` highest bits, 1 to 8.
pub(super) fn posterize(image: &Image, bits: u32) -> Image {
    mapped(image, |value| value & (0xFF_u8 << (8 - bits)))
}

/// Inverts the values from `threshold` on.
pub(super) fn solarize(image: &Image, threshold: u32) -> Image {
    mapped(image, |value| if u32::from(value) < threshold { value } else { 255 - value })
}

/// `255 - value`.
pub(super) fn invert(image: &Image) -> Image {
    mapped(image, |value| 255 - value)
}

/// Stretches each channel to 0..255.
pub(super) fn autocontrast(image: &Image) -> Image {
    looked_up(
        image,
        &histograms(image).map(|counts| {
            let low = counts.iter().position(|&count| count > 0).unwrap_or(0);
            let high = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
            if high <= low {
                return identity();
            }
            let scale = 255.0 / (high - low) as f64;
            let offset = -(low as f64) * scale;
            std::array::from_fn(|value| (value as f64 * scale + offset).clamp(0.0, 255.0) as u8)
        }),
    )
}

/// Makes each channel's values equally frequent.
pub(super) fn equalize(image: &Image) -> Image {
    looked_up(
        image,
        &histograms(image).map(|counts| {
            let last = counts.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
            let step = (counts.iter().sum::<u64>() - last) / 255;
            if step == 0 {
                return identity();
            }
            let mut below = step / 2;
            counts.map(|count| {
                let value = (below / step).min(255) as u8;
                below += count;
                value
            })
        }),
    )
}

/// Blends with the gray image: 0 is gray, 1 the image, more is more colorful.
pub(super) fn color(image: &Image, factor: f32) -> Image {
    let gray: Vec<u8> =
        image.rgb.as_chunks::<3>().0.iter().flat_map(|pixel| [luma(*pixel); 3]).collect();
    blended(&gray, image, factor)
}

/// Blends with the mean gray.
pub(super) fn contrast(image: &Image, factor: f32) -> Image {
    let pixels = image.rgb.as_chunks::<3>().0;
    let sum: u64 = pixels.iter().map(|pixel| u64::from(luma(*pixel))).sum();
    let mean = (sum as f64 / pixels.len() as f64 + 0.5) as u8;
    blended(&vec![mean; image.rgb.len()], image, factor)
}

/// Blends with black.
pub(super) fn brightness(image: &Image, factor: f32) -> Image {
    blended(&vec![0; image.rgb.len()], image, factor)
}

/// Blends with a smoothed image; borders stay as they are.
pub(super) fn sharpness(image: &Image, factor: f32) -> Image {
    let mut smooth = image.rgb.clone();
    let stride = image.width * 3;
    for y in 1..image.height.saturating_sub(1) {
        let inner = smooth.iter_mut().enumerate().take((y + 1) * stride - 3).skip(y * stride + 3);
        for (at, value) in inner {
            let row = |from: usize| [from - 3, from, from + 3].map(|at| u32::from(image.rgb[at]));
            let around = [row(at - stride), row(at), row(at + stride)];
            // Weights 1 and, in the middle, 5 over 13, rounded; a half cannot occur.
            let sum = around.iter().flatten().sum::<u32>() + 4 * u32::from(image.rgb[at]);
            *value = ((2 * sum + 13) / 26) as u8;
        }
    }
    blended(&smooth, image, factor)
}

/// Gray by ITU-R 601 in 16-bit fixed point.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
    ((sum + 0x8000) >> 16) as u8
}

/// `from + factor * (image - from)`, cut to 0..255 and truncated.
fn blended(from: &[u8], image: &Image, factor: f32) -> Image {
    let blend = |(&from, &to): (&u8, &u8)| {
        (f32::from(from) + factor * (f32::from(to) - f32::from(from))).clamp(0.0, 255.0) as u8
    };
    let rgb = from.iter().zip(&image.rgb).map(blend).collect();
    Image { width: image.width, height: image.height, rgb }
}

fn histograms(image: &Image) -> [[u64; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.rgb.as_chunks::<3>().0 {
        for (counts, &value) in counts.iter_mut().zip(pixel) {
            counts[usize::from(value)] += 1;
        }
    }
    counts
}

fn identity() -> [u8; 256] {
    std::array::from_fn(|value| value as u8)
}

fn mapped(image: &Image, change: impl Fn(u8) -> u8) -> Image {
    looked_up(image, &[identity().map(change); 3])
}

fn looked_up(image: &Image, tables: &Tables) -> Image {
    let pixels = image.rgb.as_chunks::<3>().0.iter();
    let rgb = pixels.flat_map(|&[red, green, blue]| {
        [tables[0][usize::from(red)], tables[1][usize::from(green)], tables[2][usize::from(blue)]]
    });
    Image { width: image.width, height: image.height, rgb: rgb.collect() }
}
