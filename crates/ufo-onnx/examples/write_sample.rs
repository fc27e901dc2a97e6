//! Writes into a folder a graph that uses every helper, as `inline.onnx` and, with its weights
//! beside it, `external.onnx`. `tests/reference/check_onnx.py` checks both against numpy.

use std::path::PathBuf;
use ufo_onnx::{Error, Graph, Value};

const CHANNELS: usize = 16;
const HIDDEN: usize = 24;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: write_sample FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    let mut graph = sample()?;
    graph.save(&folder.join("inline.onnx"))?;
    graph.external_above(0);
    graph.save(&folder.join("external.onnx"))?;
    Ok(())
}

fn sample() -> Result<Graph, Error> {
    let mut graph = Graph::new("sample");
    graph.metadata("reference", "sample");
    let images = graph.input("images", &["batch".into(), 3.into(), 8.into(), 8.into()]);
    let tokens = graph.scope("stem", |graph| stem(graph, &images))?;
    let class = graph.scope("sequence", |graph| sequence(graph, &tokens))?;
    graph.scope("block", |graph| block(graph, &tokens))?;
    graph.scope("head", |graph| head(graph, &class))?;
    graph.scope("bytes", |graph| bytes(graph, &images))?;
    Ok(graph)
}

/// `[b, 3, 8, 8]` to 16 tokens.
fn stem(graph: &mut Graph, images: &Value) -> Result<Value, Error> {
    let dims = |rest: &[usize]| {
        std::iter::once("batch".into())
            .chain(rest.iter().map(|&size| size.into()))
            .collect::<Vec<_>>()
    };
    let weight = wave(graph, "conv.weight", &[CHANNELS, 3, 3, 3])?;
    let bias = wave(graph, "conv.bias", &[CHANNELS])?;
    let map = graph.conv(images, &weight, Some(&bias), [2, 2], [1, 1, 1, 1]);
    graph.output("conv", &map, &dims(&[CHANNELS, 4, 4]));

    let weight = wave(graph, "bn.weight", &[CHANNELS])?;
    let bias = wave(graph, "bn.bias", &[CHANNELS])?;
    let mean = wave(graph, "bn.running_mean", &[CHANNELS])?;
    let variance: Vec<f32> = (1..=CHANNELS).map(|i| i as f32 / 8.0).collect();
    let variance = graph.weight("bn.running_var", &[CHANNELS], &variance)?;
    let map = graph.batch_norm(&map, [&weight, &bias, &mean, &variance], 1e-5);
    graph.output("batch_norm", &map, &dims(&[CHANNELS, 4, 4]));

    let flat = graph.reshape(&map, &[0, CHANNELS as i64, -1])?;
    let tokens = graph.transpose(&flat, &[0, 2, 1]);
    graph.output("tokens", &tokens, &dims(&[16, CHANNELS]));
    Ok(tokens)
}

/// The first token again in front, then single and several positions.
fn sequence(graph: &mut Graph, tokens: &Value) -> Result<Value, Error> {
    let first = graph.slice(tokens, 1, 0, 1)?;
    let joined = graph.concat(&[&first, tokens], 1);
    graph.output("concat", &joined, &["batch".into(), 17.into(), CHANNELS.into()]);
    let positions = graph.ints("positions", &[2], &[0, 3])?;
    let some = graph.gather(&joined, 1, &positions);
    graph.output("gather", &some, &["batch".into(), 2.into(), CHANNELS.into()]);
    let last = graph.select(&joined, 1, -1)?;
    graph.output("select", &last, &["batch".into(), CHANNELS.into()]);
    Ok(last)
}

fn block(graph: &mut Graph, tokens: &Value) -> Result<(), Error> {
    let dims = ["batch".into(), 16.into(), CHANNELS.into()];
    let wide = ["batch".into(), 16.into(), HIDDEN.into()];
    let weight = wave(graph, "norm.weight", &[CHANNELS])?;
    let bias = wave(graph, "norm.bias", &[CHANNELS])?;
    let x = graph.layer_norm(tokens, &weight, &bias, 1e-6);
    graph.output("layer_norm", &x, &dims);
    let weight = wave(graph, "fc.weight", &[CHANNELS, HIDDEN])?;
    let bias = wave(graph, "fc.bias", &[HIDDEN])?;
    let x = graph.linear(&x, &weight, Some(&bias));
    graph.output("linear", &x, &wide);
    let x = graph.gelu(&x)?;
    graph.output("gelu", &x, &wide);
    let x = graph.softmax(&x, -1);
    graph.output("softmax", &x, &wide);
    Ok(())
}

fn head(graph: &mut Graph, class: &Value) -> Result<(), Error> {
    let dims = ["batch".into(), CHANNELS.into()];
    let unit = graph.l2_normalize(class)?;
    graph.output("l2_normalize", &unit, &dims);
    let zero = graph.scalar(0.0)?;
    let zeros = graph.node("Mul", &[class, &zero], &[]);
    let unit = graph.l2_normalize(&zeros)?;
    graph.output("l2_normalize_zeros", &unit, &dims);
    Ok(())
}

/// Rows of pixels through a layer of 8-bit weights.
fn bytes(graph: &mut Graph, images: &Value) -> Result<(), Error> {
    let rows = graph.reshape(images, &[0, 3, -1])?;
    let weight: Vec<i8> = (0..64 * 5).map(|i| (i * 37 % 129 - 64) as i8).collect();
    let weight = graph.bytes("int8.weight", &[64, 5], &weight)?;
    let scale = graph.weight("int8.scale", &[5], &[0.01, 0.02, 0.03, 0.04, 0.05])?;
    let bias = wave(graph, "int8.bias", &[5])?;
    let y = graph.linear_int8(&rows, [&weight, &scale], Some(&bias));
    graph.output("linear_int8", &y, &["batch".into(), 3.into(), 5.into()]);
    Ok(())
}

/// Weights without a pattern that a transposed read would keep.
fn wave(graph: &mut Graph, name: &str, dims: &[usize]) -> Result<Value, Error> {
    let phase = name.len() as f32;
    let data: Vec<f32> =
        (0..dims.iter().product()).map(|i| (i as f32 * 0.37 + phase).sin() / 2.0).collect();
    graph.weight(name, dims, &data)
}
