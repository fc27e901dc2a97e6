//! The formula of a step's memory against what the allocator sees.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use peak_alloc::PeakAlloc;
use ufo_data::Batch;
use ufo_model::{HeadConfig, TaskSpec};
use ufo_nas::Arch;
use ufo_train::expand::{expand_step, parameters};
use ufo_train::memory::{Share, expand_bytes, task_bytes};
use ufo_train::{RunConfig, Workers, fresh_supernet, step_on};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const PATCH: &str = "preset = \"tiny\"\nimage_size = 64\n[arch]\ndim = 96\nheads = 3\nhead_dim = 32\n\
    ffn = 384\ndepth = 6\nstem = { kind = \"patch\", size = 8, stride = 8 }\n";
const CONV: &str = "preset = \"demo\"\n";

fn config(net: &str, tasks: usize, settings: &str) -> RunConfig {
    let task = |index: usize| {
        format!(
            "[[task]]\nname = \"t{index}\"\nhead = {{ kind = \"linear\" }}\nbatch = 1\n\
             data = {{ format = \"idx\", train = \"-\", test = \"-\" }}\n"
        )
    };
    let tasks: String = (0..tasks).map(task).collect();
    RunConfig::parse(&format!("{net}{settings}{tasks}"), &[]).unwrap()
}

fn batch(arch: &Arch, count: usize) -> Batch {
    let [height, width] = arch.image_size;
    Batch {
        step: 0,
        size: [count, 3, height, width],
        images: vec![0.1; count * 3 * height * width],
        labels: vec![0; count],
        masks: None,
        boxes: None,
        soft: None,
        indices: vec![0; count],
        skipped: 0,
    }
}

/// The heap in use once the threads of pools that were dropped have ended, for which nobody waits.
fn settled() -> usize {
    loop {
        let usage = HEAP.current_usage();
        std::thread::sleep(std::time::Duration::from_millis(100));
        if HEAP.current_usage() == usage {
            return usage;
        }
    }
}

/// Largest heap of a step above what was there before, and bytes of its gradients.
fn measured(config: &RunConfig, count: usize) -> (f64, f64, Arch) {
    let spec = |task: &ufo_train::TaskConfig| TaskSpec {
        name: task.name.clone(),
        head: HeadConfig::Linear,
        classes: 10,
    };
    let specs: Vec<TaskSpec> = config.tasks.iter().map(spec).collect();
    let net = fresh_supernet(config, &specs).unwrap();
    let batches: Vec<Batch> = config.tasks.iter().map(|_| batch(&net.arch, count)).collect();
    // Threads of their own, whose working memory is not there yet.
    let workers = Workers::new(1, config.tasks.len()).unwrap();
    let before = settled();
    HEAP.reset_peak_usage();
    let step = step_on(config, &workers, &net, &batches, (0, 0.5));
    let grads: usize = step.grads.values().map(|grad| grad.len() * size_of::<f32>()).sum();
    ((HEAP.peak_usage() - before) as f64, grads as f64, net.arch.clone())
}

/// Largest heap of a step of an added task, and what the formula says, both with the state of AdamW.
fn expanded(net: &str, update: &str, count: usize) -> (f64, f64) {
    let text = format!("[train]\n[expand]\nfrom = \"-\"\nupdate = \"{update}\"\n");
    let config = config(net, 2, &text);
    let spec = |name: &str| TaskSpec { name: name.into(), head: HeadConfig::Linear, classes: 10 };
    let supernet = fresh_supernet(&config, &[spec("t0"), spec("t1")]).unwrap();
    let (expand, batch) = (config.expand.as_ref().unwrap(), batch(&supernet.arch, count));
    let trained = parameters(expand, &supernet, 1).trained;
    let before = settled();
    HEAP.reset_peak_usage();
    // A thread that is gone with its working memory before the next case is measured.
    let step = std::thread::scope(|scope| {
        let run = || expand_step(&config, expand, &supernet, &batch, (0, 0.5));
        scope.spawn(run).join().unwrap()
    });
    let grads: usize = step.grads.values().map(Vec::len).sum();
    // An expert that the router did not choose has no gradient.
    assert!(grads as u64 == trained || update == "expert+router", "{update}: {grads} {trained}");
    let peak = (HEAP.peak_usage() - before) as f64 + 8.0 * trained as f64;
    let share = Share::new(count, config.router.other_fraction, config.train.mode());
    (peak, expand_bytes(&supernet.arch, share, expand.update, trained) as f64)
}

/// One test, since the heap is of the whole process.
#[test]
fn the_formula_is_what_the_allocator_sees() {
    // A convolutional stem has buffers of its own, whatever the batch.
    for (net, stem_bytes) in [(PATCH, 0.0), (CONV, 4e6)] {
        for (recompute, fraction) in [(false, 1.0), (false, 0.25), (true, 0.25)] {
            let settings = format!(
                "[train]\nrecompute = {recompute}\n[router]\nother_fraction = {fraction}\n"
            );
            let config = config(net, 1, &settings);
            for count in [16, 64] {
                let (peak, _, arch) = measured(&config, count);
                let share = Share::new(count, config.router.other_fraction, config.train.mode());
                let told = task_bytes(&arch, share) as f64;
                assert!(
                    (0.85 * told..1.15 * told + stem_bytes).contains(&peak),
                    "{settings} {count}: {peak} bytes, told {told}"
                );
            }
        }
        for update in ["head", "last-1", "last-3", "norms", "expert", "expert+router", "all"] {
            for count in [16, 64] {
                let (peak, told) = expanded(net, update, count);
                // Small buffers count where hardly anything is kept.
                let bounds = 0.75 * told..1.1 * told + stem_bytes + 1e6;
                assert!(bounds.contains(&peak), "{update} {count}: {peak} bytes, told {told}");
            }
        }
        // Tasks one after the other: of the first only its gradients stay, besides those of the second.
        let [one, two] = [1, 2].map(|tasks| measured(&config(net, tasks, "[train]\n"), 32));
        assert!(two.0 - one.0 < 2.0 * two.1, "{} and {} bytes", one.0, two.0);
    }
}
