//! Builds networks from named weights; a module that several tasks use is built once.

use crate::block::{Attention, Block, Ffn, Norm};
use crate::dense::Dense;
use crate::head::{Head, Neck};
use crate::maps::{Maps, Stage};
use crate::network::Network;
use crate::stem::{Convolution, Stem};
use crate::{Described, Precision, Result};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use ufo_data::BOX_OUTPUTS;
use ufo_kernels::Level;
use ufo_kernels::conv::Activation;
use ufo_nas::{Arch, BlockSlice, HeadShape, Names, Stem as StemShape};
use ufo_weights::{Error, State, Stored, get};

/// The weights of a folder on their way into networks.
pub(crate) struct Parts<'a> {
    pub(crate) described: &'a Described,
    pub(crate) source: Source<'a>,
    /// The weights' file, for errors.
    pub(crate) from: &'a str,
    pub(crate) level: Level,
    pub(crate) precision: Precision,
    pub(crate) built: Built,
}

/// Where weights come from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// All of them are there.
    Memory(&'a State),
    /// Each is read when it is asked for.
    File(&'a Stored),
}

/// What was built so far, by the names of its tensors.
#[derive(Default)]
pub(crate) struct Built {
    used: BTreeSet<String>,
    attentions: HashMap<String, Arc<Attention>>,
    ffns: HashMap<String, Arc<Ffn>>,
}

fn key(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") }
}

impl<'a> Parts<'a> {
    /// The network of task `index`.
    pub(crate) fn network(&mut self, index: usize) -> Result<Network> {
        let (keys, head) = self.described.keys(index);
        let slice = &self.described.tasks[index].slice.blocks;
        let stem = self.stem(&keys.stem)?;
        let blocks = slice.iter().zip(&keys.blocks).map(|(kept, [attention, ffn])| {
            Ok(Block { attention: self.attention(attention, kept)?, ffn: self.ffn(ffn, kept)? })
        });
        let blocks = blocks.collect::<Result<_>>()?;
        let norm = self.norm(&keys.norm)?;
        let head = self.head(&head, self.described.tasks[index].head)?;
        Ok(Network { level: self.precision.level(self.level), stem, blocks, norm, head })
    }

    /// Refuses a file with tensors that no network took.
    pub(crate) fn finish(self) -> Result<()> {
        let names = match self.source {
            Source::Memory(state) => state.keys().cloned().collect(),
            Source::File(stored) => stored.names(),
        };
        match names.into_iter().find(|name| !self.built.used.contains(name)) {
            Some(name) => Err(Error::Unexpected { from: self.from.to_string(), name }.into()),
            None => Ok(()),
        }
    }

    fn arch(&self) -> &'a Arch {
        &self.described.arch
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Cow<'a, [f32]>> {
        let values = match self.source {
            Source::Memory(state) => Cow::Borrowed(get(state, name, shape, self.from)?),
            Source::File(stored) => stored.get(name, shape)?,
        };
        self.built.used.insert(name.to_string());
        Ok(values)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        Ok(self.tensor(name, &[len])?.into_owned())
    }

    /// A linear layer of `[out, in]` weights in the folder's precision.
    fn dense(&mut self, name: &str, sizes: [usize; 2], biased: bool) -> Result<Dense> {
        self.dense_in(self.precision, name, sizes, biased)
    }

    fn dense_in(
        &mut self,
        precision: Precision,
        name: &str,
        sizes: [usize; 2],
        biased: bool,
    ) -> Result<Dense> {
        let bias = biased.then(|| self.vector(&key(name, "bias"), sizes[0])).transpose()?;
        let weight = self.tensor(&key(name, "weight"), &sizes)?;
        Ok(Dense::new((self.level, precision), sizes, &weight, bias))
    }

    fn norm(&mut self, name: &str) -> Result<Norm> {
        let dim = self.arch().dim;
        let weight = self.vector(&key(name, "weight"), dim)?;
        Ok(Norm { weight, bias: self.vector(&key(name, "bias"), dim)? })
    }

    fn attention(&mut self, names: &Names, kept: &BlockSlice) -> Result<Arc<Attention>> {
        let place = format!("{} {}", names.norm, names.body);
        if let Some(built) = self.built.attentions.get(&place) {
            return Ok(Arc::clone(built));
        }
        let Arch { dim, head_dim, qkv_bias, .. } = *self.arch();
        let e = kept.heads * head_dim;
        let attention = Arc::new(Attention {
            norm: self.norm(&key(&names.norm, "norm1"))?,
            qkv: self.dense(&key(&names.body, "attn.qkv"), [3 * e, dim], qkv_bias)?,
            proj: self.dense(&key(&names.body, "attn.proj"), [dim, e], true)?,
            heads: kept.heads,
            head_dim,
        });
        self.built.attentions.insert(place, Arc::clone(&attention));
        Ok(attention)
    }

    fn ffn(&mut self, names: &Names, kept: &BlockSlice) -> Result<Arc<Ffn>> {
        let place = format!("{} {}", names.norm, names.body);
        if let Some(built) = self.built.ffns.get(&place) {
            return Ok(Arc::clone(built));
        }
        let dim = self.arch().dim;
        let ffn = Arc::new(Ffn {
            norm: self.norm(&key(&names.norm, "norm2"))?,
            fc1: self.dense(&key(&names.body, "mlp.fc1"), [kept.ffn, dim], true)?,
            fc2: self.dense(&key(&names.body, "mlp.fc2"), [dim, kept.ffn], true)?,
        });
        self.built.ffns.insert(place, Arc::clone(&ffn));
        Ok(ffn)
    }

    fn stem(&mut self, name: &str) -> Result<Stem> {
        let Arch { channels, dim, image_size: [height, width], stem, .. } = self.arch();
        let mut convolutions = Vec::new();
        let mut inputs = *channels;
        let (patch, stride) = match stem {
            StemShape::Patch { size, stride } => (*size, *stride),
            StemShape::Conv { widths, patch } => {
                for (index, &outputs) in widths.iter().enumerate() {
                    let name = key(name, &format!("patch_embed.convs.{index}"));
                    let conv = self.convolution(&name, [outputs, inputs, 3], [2, 1])?;
                    convolutions.push(Convolution { activation: Activation::Gelu, ..conv });
                    inputs = outputs;
                }
                (*patch, *patch)
            }
        };
        let name_proj = key(name, "patch_embed.proj");
        convolutions.push(self.convolution(&name_proj, [*dim, inputs, patch], [stride, 0])?);
        let tokens = self.arch().tokens();
        Ok(Stem {
            convolutions,
            cls_token: self.tensor(&key(name, "cls_token"), &[1, 1, *dim])?.into_owned(),
            pos_embed: self.tensor(&key(name, "pos_embed"), &[1, tokens, *dim])?.into_owned(),
            image: [*channels, *height, *width],
        })
    }

    /// With no activation.
    fn convolution(
        &mut self,
        name: &str,
        sizes: [usize; 3],
        [stride, padding]: [usize; 2],
    ) -> Result<Convolution> {
        let [outputs, inputs, kernel] = sizes;
        let shape = [outputs, inputs, kernel, kernel];
        let weight = self.tensor(&key(name, "weight"), &shape)?.into_owned();
        let bias = self.vector(&key(name, "bias"), outputs)?;
        let activation = Activation::None;
        Ok(Convolution { weight, bias, sizes, stride, padding, activation })
    }

    fn stage(&mut self, name: &str, sizes: [usize; 2]) -> Result<Stage> {
        let [outputs, inputs] = sizes;
        let shape = [outputs, inputs, 3, 3];
        let weight = self.tensor(&key(name, "conv.weight"), &shape)?.into_owned();
        let mut norm = |field| self.vector(&key(name, &format!("bn.{field}")), outputs);
        let norm = [norm("weight")?, norm("bias")?, norm("running_mean")?, norm("running_var")?];
        Ok(Stage { weight, sizes, norm })
    }

    /// So many convolutions of as many channels on the map of tokens.
    fn stages(&mut self, name: &str, [count, channels]: [usize; 2]) -> Result<Vec<Stage>> {
        let features = self.arch().dim;
        let stage = |index: usize| {
            let inputs = if index == 0 { features } else { channels };
            self.stage(&key(name, &format!("stages.{index}")), [channels, inputs])
        };
        (0..count).map(stage).collect()
    }

    fn head(&mut self, name: &str, shape: HeadShape) -> Result<Head> {
        let features = self.arch().dim;
        match shape {
            HeadShape::Linear { classes } => {
                Ok(Head::Linear(self.dense_in(Precision::F32, name, [classes, features], true)?))
            }
            HeadShape::Embedding { dim, classes } => {
                let width = if dim == 0 { features } else { dim };
                let named = key(name, "projection");
                let projection = (width != features)
                    .then(|| self.dense_in(Precision::F32, &named, [width, features], false))
                    .transpose()?;
                // Only training needs these.
                self.tensor(&key(name, "classes.weight"), &[classes, width])?;
                let mut neck = |field| self.vector(&key(name, &format!("neck.{field}")), width);
                let neck =
                    [neck("weight")?, neck("bias")?, neck("running_mean")?, neck("running_var")?];
                Ok(Head::Embedding { projection, neck: Neck::new(neck) })
            }
            HeadShape::Segmentation { channels, doublings, classes, detail, .. } => {
                let stages = self.stages(name, [doublings + 1, channels])?;
                let (named, pixel) = (key(name, "detail"), self.arch().channels);
                let detail = detail.then(|| self.stage(&named, [channels, pixel])).transpose()?;
                let named = key(name, "classes");
                let outputs = self.dense_in(Precision::F32, &named, [classes, channels], true)?;
                let sizes = [self.arch().grid(), self.arch().image_size];
                let level = self.level;
                Ok(Head::Maps(Maps { level, stages, detail, doublings, outputs, sizes }))
            }
            HeadShape::Detection { channels, convolutions, doublings, classes } => {
                let stages = self.stages(name, [convolutions, channels])?;
                let (named, count) = (key(name, "outputs"), classes + BOX_OUTPUTS);
                let outputs = self.dense_in(Precision::F32, &named, [count, channels], true)?;
                let grid = self.arch().grid();
                let sizes = [grid, grid.map(|side| side << doublings)];
                let level = self.level;
                Ok(Head::Maps(Maps { level, stages, detail: None, doublings, outputs, sizes }))
            }
        }
    }
}
