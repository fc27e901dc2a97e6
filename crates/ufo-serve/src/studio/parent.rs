//! Work of a studio ends with its server, also where that is killed and can ask for nothing any more.

/// Tells a command which process started it.
pub(super) const SERVER: &str = "UFO_STUDIO_SERVER";

/// Has the system ask this process to save and end (SIGTERM) when the studio that started it is gone; for the
/// beginning of a command's `main`. Without a studio, and on other systems than Linux, it does nothing.
pub fn end_with_studio() {
    #[cfg(target_os = "linux")]
    if let Some(server) = std::env::var(SERVER).ok().and_then(|told| told.parse::<i32>().ok()) {
        use nix::sys::signal::{Signal, raise};
        let set = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM);
        // It may have ended before.
        let there = nix::unistd::getppid().as_raw() == server;
        let asked = if there { set } else { raise(Signal::SIGTERM) };
        if let Err(error) = asked {
            tracing::warn!(%error, "this command may outlive its studio");
        }
    }
}
