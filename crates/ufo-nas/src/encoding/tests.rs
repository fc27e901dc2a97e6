use super::*;
use crate::arch_code::{benchmark_arch, benchmark_space, parse_code};

fn encoding() -> Encoding {
    Encoding { space: benchmark_space(), blocks: 12, arch: None, coding: Coding::Overlapping }
}

#[test]
fn bits_are_the_benchmarks() {
    let slice = parse_code("j111231321311311221231121111231000000").unwrap();
    let bits = encoding().bits(&slice).unwrap();
    assert_eq!(bits.len(), 100);
    assert_eq!(bits[..8], [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(bits[8..16], [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    let cut = [0.0, 0.0, 0.0, 0.0, 1.0];
    assert!(bits[80..].chunks(5).all(|part| part == cut));
}

#[test]
fn one_hot_bits_are_one_a_choice_and_one_of_a_cut_block() {
    let slice = parse_code("j111231321311311221231121111231000000").unwrap();
    let encoding = Encoding { coding: Coding::OneHot, ..encoding() };
    let bits = encoding.bits(&slice).unwrap();
    assert_eq!(bits.len(), 10 * 6 + 2 * 8);
    assert_eq!(bits[..6], [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(bits[6..12], [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    assert!(bits[60..].chunks(4).all(|part| part == [0.0, 0.0, 0.0, 1.0]));
    let Groups { group, level } = encoding.groups();
    assert_eq!((group.len(), level.len()), (76, 76));
    assert_eq!(level[54..69], [0, 1, 2, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 7, 0]);
    // The file says so, and one without the word is as before.
    let text = serde_json::to_string(&encoding).unwrap();
    assert!(text.ends_with("\"coding\":\"one-hot\"}"), "{text}");
    assert_eq!(serde_json::from_str::<Encoding>(&text).unwrap(), encoding);
    assert!(!serde_json::to_string(&self::encoding()).unwrap().contains("coding"));
}

#[test]
fn steps_are_thresholds_of_choices_and_what_is_kept() {
    let codes = ["j111231321311311221231121111231000000", "l111231321311311221231121111231321121"];
    let slices = codes.map(|code| parse_code(code).unwrap());
    let steps = encoding().steps(&slices).unwrap();
    // 12 blocks of two steps each for heads and FFN, and whether the last two blocks are kept.
    assert_eq!((steps.rows(), steps.columns()), (2, 50));
    // 12 heads and ratio 4, 11 heads and ratio 3.
    assert_eq!(steps.row(0)[..8], [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(steps.row(0)[40..], [0.0; 10]);
    assert_eq!(steps.row(1)[40..], [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    let whole = Encoding { space: Space::whole(&benchmark_arch()), ..encoding() };
    let all = whole.steps(&[Slice::full(&benchmark_arch())]).unwrap();
    assert_eq!((all.rows(), all.columns()), (1, 0));
}

#[test]
fn groups_and_levels_are_one_a_feature() {
    let groups = encoding().groups();
    assert_eq!((groups.group.len(), groups.level.len()), (100, 100));
    assert_eq!(groups.group[90..], [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!(groups.level[70..81], [7, 8, 0, 1, 2, 3, 5, 6, 7, 8, 0]);
}

#[test]
fn costs_are_logarithms_of_shares_of_the_largest() {
    let arch = benchmark_arch();
    let encoding = Encoding { arch: Some(arch.clone()), ..encoding() };
    encoding.validate().unwrap();
    let slices = [Slice::full(&arch), parse_code("j111231321311311221231121111231000000").unwrap()];
    let rows = encoding.matrix(&slices).unwrap();
    assert_eq!(rows.row(0)[100..], [0.0, 0.0]);
    let share = macs(&arch, &slices[1]).total() as f64 / macs(&arch, &slices[0]).total() as f64;
    assert!((rows.row(1)[100] - share.ln()).abs() < 1e-15);
    assert_eq!(encoding.groups().group[100..], [2, 2]);
}

#[test]
fn choices_that_were_seen_make_an_encoding() {
    let codes = ["j111231321311311221231121111231000000", "l111231321311311221231121111231321121"];
    let slices = codes.map(|code| parse_code(code).unwrap());
    let seen = Encoding::seen(&slices).unwrap();
    let depths = vec![10, 12];
    assert_eq!(seen.space, Space { depths, ..benchmark_space() });
    assert_eq!(seen.blocks, 12);
    let error = Encoding::seen(&[]).unwrap_err().to_string();
    assert_eq!(error, "slices = no block: must keep at least one block each");
    let mut odd = slices.clone();
    odd[0].blocks[9].block = 10;
    let error = Encoding::seen(&odd).unwrap_err().to_string();
    assert_eq!(error, "slices = kept blocks: must follow one depth rule, `first` or `even`");
}

#[test]
fn slices_outside_the_space_are_named() {
    let mut slice = parse_code("j111231321311311221231121111231000000").unwrap();
    let error = |slice: &Slice| encoding().bits(slice).unwrap_err().to_string();
    slice.blocks[3].heads = 9;
    assert_eq!(error(&slice), "blocks.3.heads = 9: must be one of [10, 11, 12]");
    slice.blocks.pop();
    assert_eq!(error(&slice), "depth = 9: must be one of [10, 11, 12]");
}

#[test]
fn encodings_from_files_are_checked() {
    let error = |change: fn(&mut Encoding)| {
        let mut encoding = Encoding { arch: Some(benchmark_arch()), ..encoding() };
        change(&mut encoding);
        encoding.validate().unwrap_err().to_string()
    };
    assert_eq!(error(|e| e.blocks = 0), "encoding.blocks = 0: must be 1 to 1024");
    let depths = "encoding.space.depths = [13]: must be ascending, not empty, each 1 to 12";
    assert_eq!(error(|e| e.space.depths = vec![13]), depths);
    let deeper = "encoding.arch.depth = 12: must be 13, as encoding.blocks";
    assert_eq!(error(|e| e.blocks = 13), deeper);
    let heads = "encoding.space.heads = [99]: must be ascending, not empty, each 1 to 12";
    assert_eq!(error(|e| e.space.heads = vec![99]), heads);
}
