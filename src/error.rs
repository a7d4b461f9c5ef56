//! Every public error, one type per operation. Each says what happened, to whom, what it did to the
//! state, and what to do.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

mod ask;
mod config;
mod join;
mod keep;
mod key;
mod listen;
pub(crate) mod masterless;
mod place;
mod role;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod route;
mod sharing;
#[cfg(test)]
mod tests;

pub use ask::{AskError, CallError};
pub use config::ConfigError;
pub use join::{JoinError, PortHolder};
pub use keep::KeepError;
pub use key::KeyError;
pub use listen::{AcceptError, ListenError};
pub use place::PlaceError;
pub use role::{StartError, StepDownError};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use route::RouteError;
pub use sharing::{AcquireError, MessageError, ResourceError, SettingError, TallyError};

/// Writes what happened, what to do, and with which methods of the configuration.
pub(crate) fn advised(
    f: &mut fmt::Formatter<'_>,
    finding: &str,
    remedy: &str,
    settings: &[&str],
) -> fmt::Result {
    f.write_str(finding)?;
    if remedy.is_empty() {
        return Ok(());
    }
    write!(f, "; {remedy}")?;
    if settings.is_empty() {
        return Ok(());
    }
    let settings: Vec<String> = settings.iter().map(|one| format!("Config::{one}")).collect();
    write!(f, " ({})", settings.join(", "))
}

/// Writes what the system refused, and what to do about it.
fn refused(f: &mut fmt::Formatter<'_>, doing: &str, source: &io::Error) -> fmt::Result {
    write!(f, "cannot {doing}: {}", Cured(source))
}

/// What the system said, and what to do about it if that is known.
pub(crate) struct Cured<'a>(pub(crate) &'a io::Error);

impl fmt::Display for Cured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        advised(f, &self.0.to_string(), cure(self.0), &[])
    }
}

/// Formats a number of bytes for people.
pub(crate) fn in_bytes(bytes: usize) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

/// Returns which limit to raise if the system is at one, or which rule to widen; empty for other
/// errors.
fn cure(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            "this process has no descriptor left: raise its limit (ulimit -n) or close some"
        }
        Some(Errno::NFILE) => "the machine has no descriptor left: raise fs.file-max",
        Some(Errno::AGAIN) => {
            "the system cannot start another thread: raise the limits (ulimit -u, \
             kernel.threads-max, kernel.pid_max, vm.max_map_count, pids.max of the control group)"
        }
        Some(Errno::FBIG) => {
            "this process may not write a file of this size: raise its limit (ulimit -f)"
        }
        Some(Errno::ADDRNOTAVAIL) => {
            "the machine has no port left: widen net.ipv4.ip_local_port_range"
        }
        Some(Errno::AFNOSUPPORT) => {
            "this kind of socket is not allowed here: widen RestrictAddressFamilies in the systemd \
             unit, or the rules of the sandbox"
        }
        _ => "",
    }
}

/// Makes `text` from a stranger fit for a terminal and a log: control characters are escaped.
pub(crate) fn printable(text: &str) -> String {
    let shown =
        |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// For a forked child, too: it cannot tell the two apart, because it asks nobody.
const STOPPED: &str =
    "this instance has left its group, or this process was forked from the one that joined";

/// A port for people, with its address unless that is 127.0.0.1.
pub(crate) struct Port<A>(pub(crate) A);

impl<A: Copy + Into<SocketAddr>> fmt::Display for Port<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address: SocketAddr = self.0.into();
        write!(f, "port {}", address.port())?;
        if address.ip() == Ipv4Addr::LOCALHOST { Ok(()) } else { write!(f, " of {}", address.ip()) }
    }
}

/// A version range for people.
struct Range((u16, u16));

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range((min, max)) = self;
        if min == max { write!(f, "{min}") } else { write!(f, "{min} to {max}") }
    }
}
