//! Memory of this process as the system counts it, where it tells (Linux).

use std::fs;

/// The resident set now, in MB.
pub(crate) fn now_mb() -> Option<f64> {
    status_mb("VmRSS:")
}

/// The largest resident set since [`reset_peak`] or the start, in MB.
pub(crate) fn peak_mb() -> Option<f64> {
    status_mb("VmHWM:")
}

/// Starts [`peak_mb`] anew, where the system lets a process do that.
pub(crate) fn reset_peak() {
    // Without it the peak is that of the whole process: more, never less.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn status_mb(key: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}
