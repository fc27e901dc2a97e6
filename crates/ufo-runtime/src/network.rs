//! A task's network: images to features.

use crate::block::{Attention, Between, Block, Norm, Rows};
use crate::head::Head;
use crate::stem::Stem;
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};
use ufo_kernels::attention::{Heads, attend};
use ufo_kernels::{Level, Scratch};

/// Rows of x after which further images go through the network by themselves: what lies between
/// two layers should stay in the cache.
const GROUP_ROWS: usize = 256;

/// Multiply-adds of a block below which one thread is as fast as several that must meet twice in it.
const SHARED_BLOCK: usize = 1 << 25;

/// A network with its head.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) level: Level,
    pub(crate) stem: Stem,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Norm,
    pub(crate) head: Head,
}

/// Working memory of the calls that run at the same time.
#[derive(Debug, Default)]
pub(crate) struct Scratches(Mutex<Vec<Scratch>>);

impl Scratches {
    fn with<T>(&self, f: impl FnOnce(&mut Scratch) -> T) -> T {
        let idle = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = idle().pop().unwrap_or_default();
        let result = f(&mut scratch);
        idle().push(scratch);
        result
    }
}

impl Network {
    fn dim(&self) -> usize {
        self.norm.weight.len()
    }

    fn tokens(&self) -> usize {
        self.stem.pos_embed.len() / self.dim()
    }

    /// The features `[n, d]` of `images` `[n, channels, height, width]`, or the tokens `[n, t, d]` where the
    /// head reads them, in the current pool: groups of images at the same time, or the rows of one.
    pub(crate) fn features(&self, images: &[f32], scratches: &Scratches) -> Vec<f32> {
        self.read(images, self.head.reads_tokens(), scratches)
    }

    /// The class tokens behind the final norm, or the `whole` of the tokens.
    fn read(&self, images: &[f32], whole: bool, scratches: &Scratches) -> Vec<f32> {
        let len: usize = self.stem.image.iter().product();
        let (count, threads) = (images.len() / len, rayon::current_num_threads());
        let group = (GROUP_ROWS / self.tokens()).clamp(1, count.div_ceil(threads).max(1));
        let rows = count * self.tokens();
        let work = self.blocks.iter().map(|block| rows * block.weights()).max();
        let alone = count > group || work.is_none_or(|work| work < SHARED_BLOCK);
        let parts = if alone { 1 } else { threads };
        let width = if whole { self.tokens() } else { 1 } * self.dim();
        let mut features = vec![0.0; count * width];
        let groups = images.par_chunks(group * len);
        groups.zip(features.par_chunks_mut(group * width)).for_each(|(images, features)| {
            scratches.with(|scratch| self.group((images, features, whole), parts, scratch));
        });
        features
    }

    /// The task's outputs, row-major.
    pub(crate) fn outputs(&self, images: &[f32], scratches: &Scratches) -> Vec<f32> {
        let features = self.features(images, scratches);
        scratches.with(|scratch| self.head.run(features, images, scratch))
    }

    /// The features and the outputs.
    pub(crate) fn both(&self, images: &[f32], scratches: &Scratches) -> (Vec<f32>, Vec<f32>) {
        let features = self.features(images, scratches);
        let outputs = scratches.with(|scratch| self.head.run(features.clone(), images, scratch));
        (features, outputs)
    }

    /// All tokens `[n, t, d]`, the class token first, and the outputs.
    ///
    /// # Panics
    /// If the head reads tokens.
    pub(crate) fn tokens_and_outputs(
        &self,
        images: &[f32],
        scratches: &Scratches,
    ) -> (Vec<f32>, Vec<f32>) {
        assert!(!self.head.reads_tokens(), "features are the tokens already");
        let tokens = self.read(images, true, scratches);
        let of_classes = tokens.chunks_exact(self.tokens() * self.dim());
        let features = of_classes.flat_map(|tokens| &tokens[..self.dim()]).copied().collect();
        let outputs = scratches.with(|scratch| self.head.run(features, images, scratch));
        (tokens, outputs)
    }

    /// The features of a few images, class tokens or the `whole`, in `parts` at the same time.
    fn group(
        &self,
        (images, features, whole): (&[f32], &mut [f32], bool),
        parts: usize,
        scratch: &mut Scratch,
    ) {
        let (level, d, tokens) = (self.level, self.dim(), self.tokens());
        let count = features.len() / (if whole { tokens } else { 1 } * d);
        let rows = count * tokens;
        let widest = self.blocks.iter().map(|block| block.attention.proj.sizes()[0]).max();
        let e = widest.unwrap_or(0);
        let lens = [rows * d, rows * 3 * e, rows * e, count * d];
        let ([x, qkv, o, classes], children) = scratch.lend(lens, parts);
        self.stem.run(level, images, x, &mut children[0]);
        let first = &*self.blocks[0].attention;
        let qkv_of = |attention: &Attention| rows * attention.qkv.sizes()[1];
        let qkv_first = &mut qkv[..qkv_of(first)];
        let pass = Between { level, d, after: None, before: Some(first) };
        pass.run(Rows { x, o: &[], qkv: qkv_first }, children);
        for (index, block) in self.blocks.iter().enumerate() {
            let attention = &*block.attention;
            let next = self.blocks.get(index + 1).map(|block| &*block.attention);
            // After the last heads no token looks at another: only the class tokens go on.
            let (x, queries) = if next.is_some() || whole {
                (&mut *x, tokens)
            } else {
                for (to, from) in classes.chunks_exact_mut(d).zip(x.chunks_exact(tokens * d)) {
                    to.copy_from_slice(&from[..d]);
                }
                (&mut *classes, 1)
            };
            let Attention { heads, head_dim, .. } = *attention;
            let sizes = Heads { heads, head_dim, tokens, queries };
            let o = &mut o[..count * queries * heads * head_dim];
            attend(level, &sizes, &qkv[..qkv_of(attention)], o, &mut children[0]);
            let qkv = &mut qkv[..next.map_or(0, qkv_of)];
            Between { level, d, after: Some(block), before: next }
                .run(Rows { x, o, qkv }, children);
        }
        self.norm.run(level, if whole { x } else { classes }, features);
    }
}
