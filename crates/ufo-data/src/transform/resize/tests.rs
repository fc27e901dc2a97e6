use super::*;

fn pattern(width: usize, height: usize) -> Image {
    let rgb = (0..width * height * 3).map(|at| (at * at * 7 + at / 5 * 31) as u8).collect();
    Image { width, height, rgb }
}

fn mirror(image: &Image) -> Image {
    let rows = image.rgb.chunks_exact(image.width * 3);
    let rgb = rows.flat_map(|row| row.rchunks(3).flatten().copied()).collect();
    Image { rgb, ..*image }
}

#[test]
fn planes_are_the_8_bit_image_scaled_and_mirrored() {
    let source = pattern(37, 29);
    let mut scratch = Scratch::default();
    let filters = [Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Bicubic];
    for (size, filter) in [[50, 41], [11, 9], [37, 29], [1, 1], [33, 64]]
        .into_iter()
        .flat_map(|size| filters.map(|filter| (size, filter)))
    {
        let affine = [[0.5, 1.0], [0.1, -3.0], [2.0, 0.25]];
        for mirrored in [false, true] {
            let target = Target { part: None, size, filter, mirrored };
            let small = resize(source.view(), target);
            let plain = resize(source.view(), Target { mirrored: false, ..target });
            assert_eq!(small, if mirrored { mirror(&plain) } else { plain });
            let mut planes = vec![0.0; small.rgb.len()];
            resize_into(source.view(), target, affine, &mut scratch, &mut planes);
            let want = affine.iter().enumerate().flat_map(|(channel, [scale, offset])| {
                let values = small.rgb.iter().skip(channel).step_by(3);
                values.map(move |&value| f32::from(value) * scale + offset)
            });
            assert_eq!(planes, want.collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_part_of_a_view_is_as_if_it_were_cut_out() {
    let source = pattern(37, 29);
    let ([left, top], [width, height]) = ([5, 3], [20, 17]);
    let rows =
        (top..top + height).flat_map(|y| source.view().row(y)[left * 3..][..width * 3].to_vec());
    let cut = Image { width, height, rgb: rows.collect() };
    for size in [[20, 17], [31, 8], [64, 64]] {
        let filter = Interpolation::Bicubic;
        let target = Target { part: None, size, filter, mirrored: false };
        let part = source.view().part([left, top], [width, height]);
        assert_eq!(resize(part, target), resize(cut.view(), target));
    }
}

#[test]
fn a_mirrored_part_is_the_mirrored_result_of_the_part() {
    let source = pattern(300, 200);
    let part = Some([20.25, 11.5, 240.5, 150.75]);
    let target = Target { part, size: [61, 40], filter: Interpolation::Bicubic, mirrored: false };
    let plain = resize(source.view(), target);
    assert_eq!(resize(source.view(), Target { mirrored: true, ..target }), mirror(&plain));
}
