//! The tables of the page: results, router, parameters.

use super::text::{Escaped, MISSING, compact, grouped, percent};
use super::{ParamTable, Routing, TaskRow, TextTable};
use std::fmt::{self, Write as _};

/// Results that differ by less, a fraction, look equal in print.
const SAME: f64 = 0.0005;
/// Above this probability the shared expert is taken.
const THRESHOLD: f32 = 0.5;
/// Opacity of a heat map cell that is sure; more would hide its number.
const STRONGEST: f32 = 0.55;

/// How a result stands to its baseline.
#[derive(Clone, Copy, PartialEq)]
enum Standing {
    Above,
    Equal,
    Below,
    Unknown,
}

impl TaskRow {
    fn standing(&self) -> Standing {
        let lead = self.value - self.baseline;
        if !lead.is_finite() {
            Standing::Unknown
        } else if lead.abs() < SAME {
            Standing::Equal
        } else if lead > 0.0 {
            Standing::Above
        } else {
            Standing::Below
        }
    }
}

/// Result of each task beside its baseline.
///
/// # Errors
/// Those of `out`.
pub(crate) fn results(out: &mut String, tasks: &[TaskRow]) -> fmt::Result {
    let judged = tasks.iter().filter(|task| task.standing() != Standing::Unknown).count();
    let above = tasks.iter().filter(|task| task.standing() == Standing::Above).count();
    if judged > 0 {
        let are = if above == 1 { "is" } else { "are" };
        writeln!(
            out,
            "<p>{above} of {judged} {} {are} above the nearest neighbor on raw pixels (1-NN).</p>",
            if judged == 1 { "task" } else { "tasks" }
        )?;
    }
    writeln!(
        out,
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">task</th>\
         <th scope=\"col\">metric</th><th scope=\"col\" class=\"n\">ufo</th>\
         <th scope=\"col\" class=\"n\">raw-pixel<br>1-NN</th>\
         <th scope=\"col\" class=\"n\">difference</th><td></td>\
         <th scope=\"col\" class=\"n\">parameters</th><th scope=\"col\" class=\"n\">MACs</th>\
         <th scope=\"col\">path</th></tr></thead><tbody>"
    )?;
    for task in tasks {
        result(out, task)?;
    }
    writeln!(
        out,
        "</tbody></table></div><p class=\"small\">Bar: ufo, from 0 to 100 %; line across it: \
         1-NN. Difference: in percentage points. Path: two boxes a block, attention and FFN, \
         the final norm last; <i class=\"site s\">s</i> shared expert, \
         <i class=\"site t\">t</i> the task's own.</p>"
    )
}

fn result(out: &mut String, task: &TaskRow) -> fmt::Result {
    let (class, mark) = match task.standing() {
        Standing::Above => ("above", "▲ +"),
        Standing::Equal => ("equal", "= "),
        Standing::Below => ("below", "▼ −"),
        Standing::Unknown => ("equal", MISSING),
    };
    write!(
        out,
        "<tr><th scope=\"row\">{}</th><td class=\"wrap\">{}</td><td class=\"n\"><b>{}</b></td>\
         <td class=\"n\">{}</td><td class=\"n {class}\">{mark}",
        Escaped(&task.name),
        Escaped(&task.metric),
        percent(task.value),
        percent(task.baseline)
    )?;
    if task.standing() != Standing::Unknown {
        write!(out, "{:.1}", 100.0 * (task.value - task.baseline).abs())?;
    }
    write!(out, "</td><td>")?;
    bar(out, task, class)?;
    write!(
        out,
        "</td><td class=\"n\" title=\"{}\">{}</td><td class=\"n\" title=\"{}\">{}</td><td>",
        grouped(task.params),
        compact(task.params),
        grouped(task.macs),
        compact(task.macs)
    )?;
    path(out, &task.path)?;
    writeln!(out, "</td></tr>")
}

/// Bar of the value with the baseline as a line across.
fn bar(out: &mut String, task: &TaskRow, class: &str) -> fmt::Result {
    write!(
        out,
        "<svg class=\"bar {class}\" viewBox=\"0 0 104 18\" aria-hidden=\"true\">\
         <rect class=\"track\" x=\"2\" y=\"5\" width=\"100\" height=\"8\" rx=\"2\"/>"
    )?;
    if task.value.is_finite() {
        let width = 100.0 * task.value.clamp(0.0, 1.0);
        write!(out, "<rect x=\"2\" y=\"5\" width=\"{width:.1}\" height=\"8\" rx=\"2\"/>")?;
    }
    if task.baseline.is_finite() {
        let x = 2.0 + 100.0 * task.baseline.clamp(0.0, 1.0);
        write!(out, "<path d=\"M{x:.1} 1V17\"/>")?;
    }
    write!(out, "</svg>")
}

/// The path's letters as boxes, a group for each block.
fn path(out: &mut String, path: &str) -> fmt::Result {
    write!(out, "<span class=\"path\"><span>")?;
    for char in path.chars() {
        match char {
            's' | 't' => write!(out, "<i class=\"site {char}\">{char}</i>")?,
            ' ' => write!(out, "</span> <span>")?,
            '|' => write!(out, "</span><span class=\"norm\">|")?,
            _ => write!(out, "{}", Escaped(char.encode_utf8(&mut [0; 4])))?,
        }
    }
    write!(out, "</span></span>")
}

/// Heat map of the router, tasks by sites.
///
/// # Errors
/// Those of `out`.
pub(crate) fn routing(out: &mut String, routing: &Routing) -> fmt::Result {
    writeln!(
        out,
        "<p>Probability that a task takes the shared expert, site by site. The letter is the \
         choice: <i class=\"site s\">s</i> the shared expert, above 0.50; \
         <i class=\"site t\">t</i> the task's own. The stronger the color, the surer.</p>\
         <div class=\"scroll\"><table class=\"heat\"><thead><tr><th scope=\"col\">task</th>"
    )?;
    for site in &routing.sites {
        // Block above module keeps the columns narrow.
        let name = Escaped(site).to_string().replacen(' ', "<br>", 1);
        write!(out, "<th scope=\"col\">{name}</th>")?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    for (task, shares) in &routing.rows {
        write!(out, "<tr><th scope=\"row\">{}</th>", Escaped(task))?;
        for index in 0..routing.sites.len() {
            cell(out, shares.get(index).copied().unwrap_or(f32::NAN))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

fn cell(out: &mut String, share: f32) -> fmt::Result {
    if !share.is_finite() {
        return write!(out, "<td>{MISSING}</td>");
    }
    let letter = if share > THRESHOLD { 's' } else { 't' };
    let strength = STRONGEST * ((share - 0.5).abs() * 2.0).min(1.0);
    write!(
        out,
        "<td class=\"{letter}\" style=\"--a:{strength:.2}\">{share:.2}<i class=\"site {letter}\">\
         {letter}</i></td>"
    )
}

/// Parameter counts, the total last.
///
/// # Errors
/// Those of `out`.
pub(crate) fn params(out: &mut String, table: &ParamTable) -> fmt::Result {
    write!(out, "<div class=\"scroll\"><table><thead><tr><td></td>")?;
    for column in &table.columns {
        write!(out, "<th scope=\"col\" class=\"n\">{}</th>", Escaped(column))?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    for (index, (name, counts)) in table.rows.iter().enumerate() {
        let total = if index + 1 == table.rows.len() { " class=\"total\"" } else { "" };
        write!(out, "<tr{total}><th scope=\"row\">{}</th>", Escaped(name))?;
        for index in 0..table.columns.len().max(counts.len()) {
            let count = counts.get(index).map_or(String::new(), |&count| grouped(count));
            write!(out, "<td class=\"n\">{count}</td>")?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

/// Texts; what is not in the first column is set to the right.
///
/// # Errors
/// Those of `out`.
pub(crate) fn texts(out: &mut String, table: &TextTable) -> fmt::Result {
    let class = |index: usize| if index == 0 { "" } else { " class=\"n\"" };
    write!(out, "<div class=\"scroll\"><table><thead><tr>")?;
    for (index, column) in table.columns.iter().enumerate() {
        write!(out, "<th scope=\"col\"{}>{}</th>", class(index), Escaped(column))?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    for row in &table.rows {
        write!(out, "<tr>")?;
        for (index, cell) in row.iter().enumerate() {
            let (name, row) = if index == 0 { ("th", " scope=\"row\"") } else { ("td", "") };
            write!(out, "<{name}{row}{}>{}</{name}>", class(index), Escaped(cell))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div><p class=\"small\">{}</p>", Escaped(&table.note))
}
