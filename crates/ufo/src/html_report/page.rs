//! The page: head, heading with facts, and the sections in order.

use super::chart::Plot;
use super::text::Escaped;
use super::{Report, Samples, samples, tables};
use std::fmt::{self, Write as _};

const STYLE: &str = include_str!("style.css");
/// A fact with more characters takes two columns.
const WIDE: usize = 18;

/// Writes the whole page.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut String, report: &Report) -> fmt::Result {
    let title = Escaped(&report.title);
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body><main>"
    )?;
    heading(out, report)?;
    if !report.tasks.is_empty() {
        section(out, "Results", |out| tables::results(out, &report.tasks))?;
    }
    let plots: Vec<Plot> = report.curves.iter().filter_map(Plot::new).collect();
    if !plots.is_empty() {
        section(out, "Curves", |out| curves(out, &plots))?;
    }
    if !report.routing.sites.is_empty() && !report.routing.rows.is_empty() {
        section(out, "Router", |out| tables::routing(out, &report.routing))?;
    }
    if !report.params.rows.is_empty() {
        section(out, "Parameters", |out| tables::params(out, &report.params))?;
    }
    for table in &report.tables {
        section(out, &Escaped(&table.title).to_string(), |out| tables::texts(out, table))?;
    }
    let shown: Vec<&Samples> =
        report.samples.iter().filter(|task| task.rows.iter().any(|row| !row.is_empty())).collect();
    if !shown.is_empty() {
        section(out, "Samples", |out| shown.iter().try_for_each(|task| samples::write(out, task)))?;
    }
    writeln!(out, "</main></body></html>")
}

fn heading(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "<header><h1>{}</h1>", Escaped(&report.title))?;
    if !report.facts.is_empty() {
        write!(out, "<dl>")?;
        for (name, value) in &report.facts {
            let class = if value.chars().count() > WIDE { " class=\"wide\"" } else { "" };
            let (name, value) = (Escaped(name), Escaped(value));
            write!(out, "<div{class}><dt>{name}</dt><dd>{value}</dd></div>")?;
        }
        writeln!(out, "</dl>")?;
    }
    writeln!(out, "</header>")
}

fn section(
    out: &mut String,
    name: &str,
    content: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    writeln!(out, "<section><h2>{name}</h2>")?;
    content(out)?;
    writeln!(out, "</section>")
}

fn curves(out: &mut String, plots: &[Plot]) -> fmt::Result {
    writeln!(out, "<div class=\"charts\">")?;
    plots.iter().try_for_each(|plot| plot.write(out))?;
    writeln!(out, "</div>")
}
