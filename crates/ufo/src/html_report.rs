//! The report of a run as one HTML page: results, curves, router, parameters, samples.
//!
//! The page needs nothing beside itself: charts are SVG, images are data URLs, no script. Every text
//! that goes in is escaped, and the page's own content security policy forbids it to load or run
//! anything. A section without content is left out.

mod axis;
mod chart;
mod page;
mod samples;
mod tables;
mod text;

pub(crate) use samples::THUMBNAIL;
pub(crate) use text::Escaped;

/// All that the page shows.
#[derive(Default)]
pub(crate) struct Report {
    /// Heading of the page.
    pub(crate) title: String,
    /// Names and values below the heading, such as `steps` and `761`.
    pub(crate) facts: Vec<(String, String)>,
    /// Result of each task.
    pub(crate) tasks: Vec<TaskRow>,
    /// Charts, in order.
    pub(crate) curves: Vec<Chart>,
    /// The router's sharing map.
    pub(crate) routing: Routing,
    /// Parameter counts.
    pub(crate) params: ParamTable,
    /// Tables of their own, each a section.
    pub(crate) tables: Vec<TextTable>,
    /// Example images with what the model said.
    pub(crate) samples: Vec<Samples>,
}

impl Report {
    /// The page, complete.
    pub(crate) fn html(&self) -> String {
        let mut out = String::new();
        page::write(&mut out, self).expect("a String takes every write");
        out
    }
}

/// Result of one task beside its baseline.
pub(crate) struct TaskRow {
    /// Name of the task.
    pub(crate) name: String,
    /// Name of the metric, higher is better.
    pub(crate) metric: String,
    /// The metric, a fraction; shown as a dash when not finite.
    pub(crate) value: f64,
    /// The metric of the nearest neighbor on raw pixels, a fraction; a dash when not finite.
    pub(crate) baseline: f64,
    /// Parameters on the task's path.
    pub(crate) params: u64,
    /// Multiply-accumulates of one image.
    pub(crate) macs: u64,
    /// Two letters a block, attention then FFN, and the final norm after `|`: `st tt|s`. `s` is the
    /// shared expert, `t` the task's own.
    pub(crate) path: String,
}

/// Lines over a common x.
pub(crate) struct Chart {
    /// Heading.
    pub(crate) title: String,
    /// What x is, such as `step`.
    pub(crate) x_label: String,
    /// What y is, with its unit.
    pub(crate) y_label: String,
    /// Logarithmic y; values that are not positive are then left out.
    pub(crate) log_y: bool,
    /// The lines. Their place in the list decides color and marker, so keep tasks in one order.
    pub(crate) series: Vec<Series>,
}

/// Rows of texts.
pub(crate) struct TextTable {
    /// Heading.
    pub(crate) title: String,
    /// What the table shows.
    pub(crate) note: String,
    /// Headings, that of the rows' names first.
    pub(crate) columns: Vec<String>,
    /// Name and cells of each row.
    pub(crate) rows: Vec<Vec<String>>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Marks {
    /// A line through all points.
    #[default]
    Line,
    /// A dot each.
    Dots,
    /// The outline of an area that lies behind all else; the points go around it.
    Area,
}

/// One line of a chart.
#[derive(Default)]
pub(crate) struct Series {
    /// How it is drawn.
    pub(crate) marks: Marks,
    /// Name in the legend.
    pub(crate) name: String,
    /// (x, y) in any order but for areas; points that are not finite are left out.
    pub(crate) points: Vec<(f64, f64)>,
    /// Baseline, a dashed horizontal line in the same color.
    pub(crate) reference: Option<f64>,
}

/// How much each task shares, site by site.
#[derive(Default)]
pub(crate) struct Routing {
    /// Names of the routed modules: `0 attn`, `0 ffn`, …, `norm`.
    pub(crate) sites: Vec<String>,
    /// Task and its probability of the shared expert at each site. The task takes the shared expert
    /// where this is above 0.5, its own everywhere else.
    pub(crate) rows: Vec<(String, Vec<f32>)>,
}

/// Parameter counts.
#[derive(Default)]
pub(crate) struct ParamTable {
    /// Headings of the counts; the names of the rows have none.
    pub(crate) columns: Vec<String>,
    /// Name and counts of each row; the last row is the total.
    pub(crate) rows: Vec<(String, Vec<u64>)>,
}

/// Example images of one task.
pub(crate) struct Samples {
    /// Name of the task.
    pub(crate) task: String,
    /// A sentence on what is shown.
    pub(crate) caption: String,
    /// Classification: one row of many. Retrieval: a row for each query, the query first, its
    /// matches after.
    pub(crate) rows: Vec<Vec<Sample>>,
}

/// One image with what the model said.
pub(crate) struct Sample {
    /// A PNG file.
    pub(crate) png: Vec<u8>,
    /// The predicted label, or `query`.
    pub(crate) title: String,
    /// Truth or score.
    pub(crate) note: String,
    /// Whether the prediction holds; none for a query.
    pub(crate) right: Option<bool>,
}

#[cfg(test)]
mod tests;
