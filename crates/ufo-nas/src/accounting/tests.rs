use super::*;
use crate::HeadShape;
use crate::{Arch, Preset, Stem, TaskShape};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn billions(layout: Layout, tasks: usize) -> f64 {
    let mut spec = SupernetSpec::ufo_17b();
    spec.arch.layout = layout;
    let extra = TaskShape { name: "extra".into(), head: HeadShape::Linear { classes: 2 } };
    spec.tasks.push(extra);
    spec.tasks.truncate(tasks);
    (accounting(&spec).backbone_params as f64 / 1e7).round() / 1e2
}

#[test]
fn totals_of_both_layouts() {
    for (tasks, a, b) in [(24, 10.73, 15.77), (26, 11.57, 17.03), (27, 11.99, 17.66)] {
        assert_eq!(
            (billions(Layout::A, tasks), billions(Layout::B, tasks)),
            (a, b),
            "{tasks} tasks"
        );
    }
}

#[test]
fn figures_of_the_17b_supernet() {
    let spec = SupernetSpec::ufo_17b();
    let account = accounting(&spec);
    assert_eq!(account.path_params, 630_851_840);
    // 27 * (32 * 19,677,440 + 2,560) + 26 * 1,171,200.
    assert_eq!(account.backbone_params, 17_031_828_480);
    assert_eq!(format!("{:.1}", account.ratio), "27.0");
    assert_eq!(account.router_params, 2 * 65 * 26);
    let embeddings: u64 = account.per_task[..4].iter().map(|task| task.head_params).sum();
    assert_eq!(embeddings, 193_228_800);
    assert_eq!(format!("{:.1}", account.total_params as f64 / 1e9), "17.2");
    assert_eq!(account.total_params - account.trainable_params, 4 * 1280);
    let face = &account.per_task[0];
    assert_eq!(face.activated_params, 630_851_840 + 1280 * (93_431 + 2));
}

#[test]
fn json_has_the_agreed_keys() {
    let account = accounting(&SupernetSpec::ufo_17b());
    let json = serde_json::to_value(&account).unwrap();
    assert_eq!(json["path_params"], 630_851_840_u64);
    assert_eq!(json["backbone_params"], 17_031_828_480_u64);
    assert_eq!(json["total_params"], account.total_params);
    assert_eq!(json["tasks"], 26);
    assert_eq!(json["layout"], "b");
    assert_eq!(json["ratio"], account.ratio);
    assert_eq!(serde_json::from_value::<Accounting>(json).unwrap(), account);
}

#[test]
fn extracting_rejects_what_does_not_fit() {
    let spec = SupernetSpec::ufo_17b();
    let path = Path::uniform(&spec.arch, Expert::Shared);
    let full = Slice::full(&spec.arch);
    let message = |chosen: &[(usize, &Path)], slice: &Slice| {
        extracted(&spec, chosen, slice).unwrap_err().to_string()
    };
    let twice = message(&[(3, &path), (3, &path)], &full);
    assert_eq!(twice, "chosen.1.task = 3: must be unique and less than 26");
    let beyond = message(&[(26, &path)], &full);
    assert_eq!(beyond, "chosen.0.task = 26: must be unique and less than 26");
    let short = Path { ffn: vec![Expert::Task; 31], ..path.clone() };
    let short = message(&[(0, &short)], &full);
    assert_eq!(short, "path.ffn = 31 entries: must have one entry a block, 32");
    let empty = message(&[(0, &path)], &Slice { blocks: Vec::new() });
    assert_eq!(empty, "slice.blocks = []: must keep at least one block");
}

/// Every tensor of a supernet by name, written out from the layout's description rather than from
/// the closed forms. `keep` tells the heads and hidden units of a block, none if it is cut.
fn tensors(
    spec: &SupernetSpec,
    keep: impl Fn(usize) -> Option<(usize, usize)>,
) -> BTreeMap<String, Vec<usize>> {
    let mut all = BTreeMap::new();
    let dim = spec.arch.dim;
    let owners = || ["shared"].into_iter().chain(spec.tasks.iter().map(|task| task.name.as_str()));
    for owner in owners() {
        let attention_too = owner == "shared" || spec.arch.layout == Layout::B;
        for block in 0..spec.arch.depth {
            let Some((heads, ffn)) = keep(block) else { continue };
            let mut add = |name: &str, shape: &[usize]| {
                all.insert(format!("{owner}/blocks.{block}.{name}"), shape.to_vec());
            };
            let inner = heads * spec.arch.head_dim;
            add("mlp.fc1.weight", &[ffn, dim]);
            add("mlp.fc1.bias", &[ffn]);
            add("mlp.fc2.weight", &[dim, ffn]);
            add("mlp.fc2.bias", &[dim]);
            if attention_too {
                for name in ["q", "k", "v"] {
                    add(&format!("attn.{name}.weight"), &[inner, dim]);
                    if spec.arch.qkv_bias {
                        add(&format!("attn.{name}.bias"), &[inner]);
                    }
                }
                add("attn.proj.weight", &[dim, inner]);
                add("attn.proj.bias", &[dim]);
                for name in ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"] {
                    add(name, &[dim]);
                }
            }
        }
        if attention_too {
            all.insert(format!("{owner}/norm.weight"), vec![dim]);
            all.insert(format!("{owner}/norm.bias"), vec![dim]);
        }
    }
    for task in &spec.tasks {
        for (name, shape) in task_tensors(&spec.arch, task) {
            all.insert(format!("{}/{name}", task.name), shape);
        }
    }
    all
}

/// What is per task in both layouts.
fn task_tensors(arch: &Arch, task: &TaskShape) -> Vec<(String, Vec<usize>)> {
    let dim = arch.dim;
    let mut all = vec![
        ("cls_token".to_owned(), vec![1, 1, dim]),
        ("pos_embed".to_owned(), vec![1, arch.grid()[0] * arch.grid()[1] + 1, dim]),
        ("router".to_owned(), vec![arch.routed_sites(), 2]),
    ];
    let mut convolution = |name: String, input: usize, output: usize, kernel: usize| {
        all.push((format!("{name}.weight"), vec![output, input, kernel, kernel]));
        all.push((format!("{name}.bias"), vec![output]));
    };
    match &arch.stem {
        Stem::Patch { size, .. } => convolution("patch_embed".into(), arch.channels, dim, *size),
        Stem::Conv { widths, patch } => {
            let mut input = arch.channels;
            for (index, &width) in widths.iter().enumerate() {
                convolution(format!("patch_embed.{index}"), input, width, 3);
                input = width;
            }
            convolution("patch_embed.proj".into(), input, dim, *patch);
        }
    }
    all.extend(head_tensors([dim, arch.channels], task));
    all
}

fn head_tensors([dim, pixel]: [usize; 2], task: &TaskShape) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, shape: &[usize]| all.push((format!("head.{name}"), shape.to_vec()));
    match task.head {
        HeadShape::Linear { classes } => {
            add("weight", &[classes, dim]);
            add("bias", &[classes]);
        }
        HeadShape::Embedding { dim: projected, classes } => {
            let width = if projected == 0 { dim } else { projected };
            if width != dim {
                add("proj.weight", &[projected, dim]);
            }
            add("neck.weight", &[width]);
            add("neck.bias", &[width]);
            add("weight", &[classes, width]);
        }
        HeadShape::Segmentation { channels, doublings, classes, auxiliary, detail } => {
            let mut convolution = |name: &str, inputs: usize| {
                add(&format!("{name}.conv.weight"), &[channels, inputs, 3, 3]);
                add(&format!("{name}.bn.weight"), &[channels]);
                add(&format!("{name}.bn.bias"), &[channels]);
            };
            for stage in 0..=doublings {
                convolution(&format!("stages.{stage}"), if stage == 0 { dim } else { channels });
            }
            if detail {
                convolution("detail", pixel);
            }
            if auxiliary {
                convolution("auxiliary", dim);
                add("auxiliary.norm.weight", &[dim]);
                add("auxiliary.norm.bias", &[dim]);
            }
            for holder in ["", "auxiliary."].into_iter().take(1 + usize::from(auxiliary)) {
                add(&format!("{holder}classes.weight"), &[classes, channels]);
                add(&format!("{holder}classes.bias"), &[classes]);
            }
        }
        HeadShape::Detection { channels, convolutions, classes, .. } => {
            for stage in 0..convolutions {
                let inputs = if stage == 0 { dim } else { channels };
                add(&format!("stages.{stage}.conv.weight"), &[channels, inputs, 3, 3]);
                add(&format!("stages.{stage}.bn.weight"), &[channels]);
                add(&format!("stages.{stage}.bn.bias"), &[channels]);
            }
            add("outputs.weight", &[classes + 5, channels]);
            add("outputs.bias", &[classes + 5]);
        }
    }
    all
}

fn size(all: &BTreeMap<String, Vec<usize>>, keep: impl Fn(&str) -> bool) -> u64 {
    let kept = all.iter().filter(|(name, _)| keep(name));
    kept.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
}

fn any_spec() -> impl Strategy<Value = SupernetSpec> {
    let stem = prop_oneof![
        (1_usize..=6).prop_flat_map(|size| {
            (1..=size).prop_map(move |stride| Stem::Patch { size, stride })
        }),
        (prop::collection::vec(1_usize..=9, 1..=2), 1_usize..=2)
            .prop_map(|(widths, patch)| Stem::Conv { widths, patch }),
    ];
    let head = prop_oneof![
        (1_usize..50).prop_map(|classes| HeadShape::Linear { classes }),
        (0_usize..9, 1_usize..50).prop_map(|(dim, classes)| HeadShape::Embedding { dim, classes }),
        (1_usize..9, 1_usize..4, 1_usize..50).prop_map(|(channels, convolutions, classes)| {
            HeadShape::Detection { channels, convolutions, doublings: 0, classes }
        }),
        (1_usize..9, 0_usize..3, 1_usize..50, any::<bool>()).prop_map(
            |(channels, doublings, classes, detail)| HeadShape::Segmentation {
                channels,
                doublings,
                classes,
                auxiliary: false,
                detail,
            }
        ),
    ];
    let sizes = (8_usize..=17, 8_usize..=17, 1_usize..=4, 1_usize..=20);
    let blocks = (1_usize..=5, 1_usize..=4, 1_usize..=9, 1_usize..=30);
    let flags = (any::<bool>(), prop_oneof![Just(Layout::A), Just(Layout::B)]);
    (stem, prop::collection::vec(head, 1..=5), sizes, blocks, flags).prop_map(
        |(stem, heads, (rows, columns, channels, dim), (depth, most, head_dim, ffn), flags)| {
            let named = |(index, head)| TaskShape { name: format!("task{index}"), head };
            let arch = Arch {
                image_size: [rows, columns],
                channels,
                stem,
                dim,
                depth,
                heads: most,
                head_dim,
                ffn,
                qkv_bias: flags.0,
                layout: flags.1,
            };
            SupernetSpec { arch, tasks: heads.into_iter().enumerate().map(named).collect() }
        },
    )
}

/// A spec, a path for each chosen task (by site), and a slice.
fn any_extraction() -> impl Strategy<Value = (SupernetSpec, Vec<(usize, Path)>, Slice)> {
    any_spec().prop_flat_map(|spec| {
        let Arch { depth, heads, ffn, .. } = spec.arch;
        let sites = prop::collection::vec(any::<bool>(), spec.arch.routed_sites());
        let rows = prop::collection::vec(prop::option::of(sites), spec.tasks.len());
        let block = (prop::bool::weighted(0.8), 1..=heads, 1..=ffn);
        let blocks = prop::collection::vec(block, depth);
        (Just(spec), rows, blocks).prop_map(|(spec, rows, blocks)| {
            let expert = |task: bool| if task { Expert::Task } else { Expert::Shared };
            let path = |sites: Vec<bool>| {
                let experts: Vec<_> = sites.into_iter().map(expert).collect();
                Path::from_sites(&spec.arch, &experts).unwrap()
            };
            let rows = rows.into_iter().enumerate();
            let chosen = rows.filter_map(|(row, sites)| Some((row, path(sites?)))).collect();
            let last = blocks.len() - 1;
            let kept = blocks.into_iter().enumerate().filter(|(index, b)| b.0 || *index == last);
            let keep = |(block, (_, heads, ffn))| BlockSlice { block, heads, ffn };
            let slice = Slice { blocks: kept.map(keep).collect() };
            (spec, chosen, slice)
        })
    })
}

/// Names of the tensors that a task reads on its way.
fn used(spec: &SupernetSpec, row: usize, path: &Path) -> BTreeSet<String> {
    let task = &spec.tasks[row].name;
    let owner = |expert| if expert == Expert::Shared { "shared" } else { task.as_str() };
    let everything = tensors(spec, |_| Some((1, 1)));
    let reads = |full: &String| {
        let (holder, name) = full.split_once('/').unwrap();
        let part: Vec<_> = name.split('.').collect();
        match part[..] {
            ["router"] => false,
            ["norm", _] => holder == owner(path.norm),
            ["blocks", block, module, ..] => {
                let block: usize = block.parse().unwrap();
                let expert = match (module, spec.arch.layout) {
                    ("mlp", _) | ("norm2", Layout::B) => path.ffn[block],
                    ("norm2", Layout::A) => Expert::Shared,
                    _ => path.attn[block],
                };
                holder == owner(expert)
            }
            _ => holder == task,
        }
    };
    everything.into_keys().filter(reads).collect()
}

proptest! {
    #[test]
    fn the_supernet_is_the_sum_of_its_tensors(spec in any_spec()) {
        spec.validate().unwrap();
        let account = accounting(&spec);
        let all = tensors(&spec, |_| Some((spec.arch.heads, spec.arch.ffn)));
        let head = |name: &str| name.contains("/head.");
        let router = |name: &str| name.ends_with("/router");
        prop_assert_eq!(account.total_params, size(&all, |_| true));
        prop_assert_eq!(account.head_params, size(&all, head));
        prop_assert_eq!(account.router_params, size(&all, router));
        prop_assert_eq!(account.backbone_params, size(&all, |name| !head(name) && !router(name)));
        prop_assert_eq!(account.shared.total(), size(&all, |name| name.starts_with("shared/")));
        prop_assert_eq!(account.backbone.stem, size(&all, |name| name.contains("/patch_embed")));
        prop_assert_eq!(account.backbone.attention, size(&all, |name| name.contains(".attn.")));
        prop_assert_eq!(account.backbone.ffn, size(&all, |name| name.contains(".mlp.")));
        prop_assert_eq!(account.backbone.final_norm, size(&all, |name| name.contains("/norm.")));
        let frozen = size(&all, |name| name.ends_with("neck.bias"));
        prop_assert_eq!(account.trainable_params, account.total_params - frozen);
        for task in &account.per_task {
            let own = |name: &str| {
                name.starts_with(&format!("{}/", task.name)) && !head(name) && !router(name)
            };
            prop_assert_eq!(task.own_params, size(&all, own));
        }
    }

    #[test]
    fn an_extraction_is_the_sum_of_the_tensors_read((spec, chosen, slice) in any_extraction()) {
        let rows: Vec<_> = chosen.iter().map(|(row, path)| (*row, path)).collect();
        let count = extracted(&spec, &rows, &slice).unwrap();
        let kept = |block| {
            let kept = slice.blocks.iter().find(|kept| kept.block == block)?;
            Some((kept.heads, kept.ffn))
        };
        let all = tensors(&spec, kept);
        let names: BTreeSet<_> =
            chosen.iter().flat_map(|(row, path)| used(&spec, *row, path)).collect();
        prop_assert_eq!(count.total_params, size(&all, |name| names.contains(name)));
        let shared = |name: &str| names.contains(name) && name.starts_with("shared/");
        prop_assert_eq!(count.shared.total(), size(&all, shared));
    }

    #[test]
    fn a_task_alone_is_its_activated_path((spec, chosen, _) in any_extraction()) {
        let account = accounting(&spec);
        for (row, path) in &chosen {
            let alone = extracted(&spec, &[(*row, path)], &Slice::full(&spec.arch)).unwrap();
            prop_assert_eq!(alone.total_params, account.per_task[*row].activated_params);
        }
    }
}

#[test]
fn every_preset_is_counted() {
    for preset in Preset::ALL {
        let task = TaskShape { name: "one".into(), head: HeadShape::Linear { classes: 10 } };
        let spec = SupernetSpec { arch: preset.arch(), tasks: vec![task] };
        let all = tensors(&spec, |_| Some((spec.arch.heads, spec.arch.ffn)));
        assert_eq!(accounting(&spec).total_params, size(&all, |_| true), "{preset}");
    }
    // timm's vit_tiny_patch16_224 has 5,717,416, 193,000 of them in its classifier.
    let arch = Preset::Tiny.arch();
    let head = HeadShape::Linear { classes: 1000 }.params(arch.dim, arch.channels);
    assert_eq!(params(&arch, &Slice::full(&arch)).total() + head, 5_717_416);
}
