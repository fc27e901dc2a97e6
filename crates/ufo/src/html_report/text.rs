//! Text of the page: escaping and number formats.

use std::fmt::{self, Display, Write as _};

/// Stands where a number is missing or not finite.
pub(crate) const MISSING: &str = "–";

/// Text from outside, made safe for HTML content and quoted attributes. Control characters, which
/// HTML forbids, become U+FFFD.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                '\n' | '\t' => out.write_char(char)?,
                _ if char.is_control() => out.write_char(char::REPLACEMENT_CHARACTER)?,
                _ => out.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// 1234567 as `1,234,567`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits and a unit: 494688 as `495 k`.
pub(crate) fn compact(value: u64) -> String {
    if value < 1000 {
        return value.to_string();
    }
    let mut scaled = value as f64;
    let mut unit = "";
    for next in ["k", "M", "G", "T", "P", "E"] {
        // 999.5 would round to 1000 and belongs to the next unit.
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        unit = next;
    }
    // Digits before the point, once rounded, leave the rest of the three to those after it.
    let decimals = [9.995, 99.95].into_iter().filter(|&bound| scaled < bound).count();
    format!("{scaled:.decimals$} {unit}")
}

/// A fraction as `72.7 %`.
pub(crate) fn percent(fraction: f64) -> String {
    if fraction.is_finite() {
        format!("{:.1} %", 100.0 * fraction).replace('-', "−")
    } else {
        MISSING.to_string()
    }
}

/// A value of a curve: whole numbers in full, all others with four significant digits.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return MISSING.to_string();
    }
    let size = value.abs();
    let sign = if value < 0.0 { "−" } else { "" };
    if size < 1e15 && size.fract() == 0.0 {
        return format!("{sign}{}", grouped(size as u64));
    }
    if !(1e-3..1e7).contains(&size) {
        return scientific(value, 3);
    }
    let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
    fixed(value, decimals)
}

/// `value` with so many decimals, grouped, without zeros at the end of the fraction.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.parse().map_or_else(|_| whole.to_string(), grouped);
    let sign = if value < 0.0 && (whole != "0" || !fraction.is_empty()) { "−" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// `value` as `1.25e−5`, the mantissa with at most so many decimals.
pub(crate) fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}").replace('-', "−");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    if !mantissa.contains('.') {
        return format!("{mantissa}e{exponent}");
    }
    format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
}
