//! A line chart as an SVG figure.

use super::axis::{Axis, Kind, Tick, drawable};
use super::text::{Escaped, MISSING, number};
use super::{Chart, Marks, Series};
use std::fmt::{self, Write as _};

/// Size of the drawing; the page scales it.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 276.0;
/// Room above, right of and below the plot.
const TOP: f64 = 32.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Width of a character of a tick's label, an upper bound.
const CHARACTER: f64 = 8.0;
/// A longer line is thinned to so many points.
const MOST_POINTS: usize = 400;
/// Colors of the style sheet; later lines repeat them with other markers and dashes.
const COLORS: usize = 6;
const DASHES: usize = 3;
/// Outlines of the markers around (0, 0).
const MARKERS: [&str; 4] = [
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-4.8L4.8 3.6H-4.8z",
    "M0-5.2L5.2 0L0 5.2L-5.2 0z",
];

/// A chart ready to draw.
pub(crate) struct Plot<'a> {
    chart: &'a Chart,
    lines: Vec<Line<'a>>,
    x: Axis,
    y: Axis,
    left: f64,
}

struct Line<'a> {
    series: &'a Series,
    points: Vec<(f64, f64)>,
    reference: Option<f64>,
    class: String,
    marker: &'static str,
}

impl<'a> Plot<'a> {
    /// Chooses points and axes; none if the chart has no point to draw.
    pub(crate) fn new(chart: &'a Chart) -> Option<Self> {
        let kind = if chart.log_y { Kind::Log } else { Kind::Rounded };
        let lines: Vec<Line> = chart
            .series
            .iter()
            .enumerate()
            .map(|(index, series)| Line::new(index, series, kind))
            .collect();
        let points = || lines.iter().flat_map(|line| &line.points);
        let references = lines.iter().filter_map(|line| line.reference);
        let x = Axis::new(points().map(|point| point.0), Kind::Tight)?;
        let y = Axis::new(points().map(|point| point.1).chain(references), kind)?;
        let longest = y.ticks.iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0);
        Some(Self { chart, lines, x, y, left: 10.0 + CHARACTER * longest as f64 })
    }

    /// Writes the figure: title, drawing, legend.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write(&self, out: &mut String) -> fmt::Result {
        let Chart { title, x_label, y_label, .. } = self.chart;
        let (title, x_label, y_label) = (Escaped(title), Escaped(x_label), Escaped(y_label));
        writeln!(out, "<figure class=\"chart\"><figcaption>{title}</figcaption>")?;
        write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}: {y_label} by {x_label}\">"
        )?;
        self.write_axes(out)?;
        write!(out, "<text class=\"label\" x=\"2\" y=\"14\">{y_label}</text>")?;
        write!(
            out,
            "<text class=\"label end\" x=\"{:.1}\" y=\"{:.1}\">{x_label}</text>",
            WIDTH - RIGHT,
            HEIGHT - 6.0
        )?;
        for line in &self.lines {
            self.write_reference(out, line)?;
        }
        let drawn = |marks| self.lines.iter().filter(move |line| line.series.marks == marks);
        for line in drawn(Marks::Area) {
            self.write_area(out, line)?;
        }
        for line in drawn(Marks::Dots) {
            self.write_dots(out, line)?;
        }
        let lines: Vec<&Line> = drawn(Marks::Line).collect();
        for line in &lines {
            self.write_line(out, line)?;
        }
        // Markers last: no line hides the end of another.
        for line in lines {
            self.write_ends(out, line)?;
        }
        writeln!(out, "</svg>")?;
        self.write_legend(out)?;
        writeln!(out, "</figure>")
    }

    fn at_x(&self, value: f64) -> f64 {
        self.left + self.x.place(value) * (WIDTH - RIGHT - self.left)
    }

    fn at_y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - BOTTOM - TOP)
    }

    fn write_axes(&self, out: &mut String) -> fmt::Result {
        let (left, right, bottom) = (self.left, WIDTH - RIGHT, HEIGHT - BOTTOM);
        for Tick { value, label } in &self.y.ticks {
            let y = self.at_y(*value);
            write!(out, "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>")?;
            let (x, y) = (left - 6.0, y + 4.0);
            write!(out, "<text class=\"tick end\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>")?;
        }
        write!(out, "<path class=\"axis\" d=\"M{left:.1} {bottom:.1}H{right:.1}\"/>")?;
        for Tick { value, label } in &self.x.ticks {
            let x = self.at_x(*value);
            write!(out, "<path class=\"axis\" d=\"M{x:.1} {bottom:.1}v4\"/>")?;
            let y = bottom + 17.0;
            write!(out, "<text class=\"tick middle\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>")?;
        }
        Ok(())
    }

    fn write_reference(&self, out: &mut String, line: &Line) -> fmt::Result {
        let Some(value) = line.reference else { return Ok(()) };
        let (class, name, shown) = (&line.class, Escaped(&line.series.name), number(value));
        let (left, right, y) = (self.left, WIDTH - RIGHT, self.at_y(value));
        write!(
            out,
            "<path class=\"reference {class}\" d=\"M{left:.1} {y:.1}H{right:.1}\">\
             <title>{name}, baseline: {shown}</title></path>"
        )
    }

    fn write_line(&self, out: &mut String, line: &Line) -> fmt::Result {
        if line.points.len() < 2 {
            return Ok(());
        }
        write!(out, "<polyline class=\"line {}\" points=\"", line.class)?;
        for (index, (x, y)) in line.points.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(out, "{space}{:.1},{:.1}", self.at_x(*x), self.at_y(*y))?;
        }
        write!(out, "\"><title>{}</title></polyline>", Escaped(&line.series.name))
    }

    fn write_area(&self, out: &mut String, line: &Line) -> fmt::Result {
        write!(out, "<polygon class=\"area {}\" points=\"", line.class)?;
        for (index, (x, y)) in line.points.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(out, "{space}{:.1},{:.1}", self.at_x(*x), self.at_y(*y))?;
        }
        write!(out, "\"><title>{}</title></polygon>", Escaped(&line.series.name))
    }

    fn write_dots(&self, out: &mut String, line: &Line) -> fmt::Result {
        let (class, name) = (&line.class, Escaped(&line.series.name));
        for &(x, y) in &line.points {
            write!(
                out,
                "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\">\
                 <title>{name}: {} at {} {}</title></circle>",
                self.at_x(x),
                self.at_y(y),
                number(y),
                Escaped(&self.chart.x_label),
                number(x)
            )?;
        }
        Ok(())
    }

    fn write_ends(&self, out: &mut String, line: &Line) -> fmt::Result {
        let [first, .., last] = line.points.as_slice() else {
            return line
                .points
                .first()
                .map_or(Ok(()), |only| self.write_end(out, line, only, line.marker));
        };
        self.write_end(out, line, first, "M-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0z")?;
        self.write_end(out, line, last, line.marker)
    }

    fn write_end(
        &self,
        out: &mut String,
        line: &Line,
        &(x, y): &(f64, f64),
        marker: &str,
    ) -> fmt::Result {
        let (class, name) = (&line.class, Escaped(&line.series.name));
        write!(
            out,
            "<g class=\"marker {class}\" transform=\"translate({:.1} {:.1})\">\
             <title>{name}: {} at {} {}</title><circle r=\"10\"/><path d=\"{marker}\"/></g>",
            self.at_x(x),
            self.at_y(y),
            number(y),
            Escaped(&self.chart.x_label),
            number(x)
        )
    }

    /// Names with the last value of each line.
    fn write_legend(&self, out: &mut String) -> fmt::Result {
        write!(out, "<ul class=\"legend\">")?;
        for Line { series, points, class, marker, .. } in &self.lines {
            let mark = match series.marks {
                Marks::Line => None,
                Marks::Dots => {
                    Some(format!("<circle class=\"dot {class}\" cx=\"13\" cy=\"6\" r=\"3\"/>"))
                }
                Marks::Area => Some(format!("<path class=\"area {class}\" d=\"M1 1H25V11H1z\"/>")),
            };
            if let Some(mark) = mark {
                write!(
                    out,
                    "<li><svg class=\"key\" viewBox=\"0 0 26 12\" aria-hidden=\"true\">{mark}</svg>\
                     <span>{}</span></li>",
                    Escaped(&series.name)
                )?;
                continue;
            }
            let value = points.last().map_or(MISSING.to_string(), |point| number(point.1));
            write!(
                out,
                "<li><svg class=\"key\" viewBox=\"0 0 26 12\" aria-hidden=\"true\">\
                 <path class=\"line {class}\" d=\"M1 6H25\"/><g class=\"marker {class}\" \
                 transform=\"translate(13 6)\"><path d=\"{marker}\"/></g></svg>\
                 <span>{}</span> <b>{value}</b></li>",
                Escaped(&series.name)
            )?;
        }
        if self.lines.iter().any(|line| line.reference.is_some()) {
            write!(
                out,
                "<li><svg class=\"key\" viewBox=\"0 0 26 12\" aria-hidden=\"true\">\
                 <path class=\"reference\" d=\"M1 6H25\"/></svg><span>baseline</span></li>"
            )?;
        }
        writeln!(out, "</ul>")
    }
}

impl<'a> Line<'a> {
    fn new(index: usize, series: &'a Series, kind: Kind) -> Self {
        let mut points: Vec<(f64, f64)> = series
            .points
            .iter()
            .copied()
            .filter(|&(x, y)| drawable(x, Kind::Tight) && drawable(y, kind))
            .collect();
        if series.marks != Marks::Area {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        let cycle = index / COLORS;
        Self {
            series,
            points: match series.marks {
                Marks::Line => thin(&points, MOST_POINTS),
                Marks::Dots | Marks::Area => points,
            },
            reference: series.reference.filter(|&value| drawable(value, kind)),
            class: format!("c{} d{}", index % COLORS, cycle % DASHES),
            // The shift gives lines of one color different markers.
            marker: MARKERS[(index + cycle) % MARKERS.len()],
        }
    }
}

/// At most `most` points (3 or more): the first, the last, and means of even runs of those between.
pub(crate) fn thin(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let [first, middle @ .., last] = points else { return points.to_vec() };
    let runs = most - 2;
    if middle.len() <= runs {
        return points.to_vec();
    }
    let mean = |index: usize| {
        let run = &middle[index * middle.len() / runs..(index + 1) * middle.len() / runs];
        let (x, y) = run.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (x / run.len() as f64, y / run.len() as f64)
    };
    [*first].into_iter().chain((0..runs).map(mean)).chain([*last]).collect()
}
