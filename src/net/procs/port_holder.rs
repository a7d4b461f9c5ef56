//! Finds the holder of a port, for error messages, where the system shows it.

use std::fs;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::kernel::{self, ListeningSocket};
use crate::error::{PortHolder, printable};
use crate::net::rt::lock::Mutex;
use crate::net::rt::threads;

/// Returns true if the port's holder, which accepts connections and does not answer, is certainly
/// not an instance that is merely stopped or starved: it has no role thread, or it belongs to
/// another user and is hidden from us, and therefore cannot have our key.
///
/// Only one thread of a process looks at a time, and its finding holds for a second, see
/// [`Seldom`].
pub(crate) fn is_another_program(at: SocketAddrV4) -> bool {
    static LOOK: Seldom<bool> = Seldom::new();
    LOOK.look(at, look_at_holder)
}

/// Returns what [`of`] returns, for callers that may be many in one process.
pub(crate) fn of_seldom(at: SocketAddrV4) -> Option<PortHolder> {
    static LOOK: Seldom<Option<PortHolder>> = Seldom::new();
    LOOK.look(at, of)
}

/// A look through all sockets and processes of the machine. Where thousands of instances wait for a
/// slow one, all would look at once and slow it down still more.
struct Seldom<T>(Mutex<Option<(Instant, SocketAddrV4, T)>>);

impl<T: Clone + Default> Seldom<T> {
    const fn new() -> Self {
        Seldom(Mutex::new(None))
    }

    fn look(&self, at: SocketAddrV4, look: impl FnOnce(SocketAddrV4) -> T) -> T {
        // Not waited for: somebody is looking; or this is a forked child, where it stays locked.
        let Some(mut last) = self.0.try_lock() else { return T::default() };
        if let Some((_, _, finding)) = last
            .as_ref()
            .filter(|(when, of, _)| *of == at && when.elapsed() < Duration::from_secs(1))
        {
            return finding.clone();
        }
        let finding = look(at);
        *last = Some((Instant::now(), at, finding.clone()));
        finding
    }
}

fn look_at_holder(at: SocketAddrV4) -> bool {
    let Some(ListeningSocket { uid, inode, .. }) = kernel::listener_at(at) else { return false };
    match kernel::process_with(inode) {
        // In this order: a process that ends loses its threads one after the other.
        Some(pid) => !has_role_thread(pid) && kernel::state(pid).is_some_and(|state| !state.ending),
        None => uid != rustix::process::geteuid().as_raw(),
    }
}

/// Returns true if the port's holder has an instance, and no room for more connections.
pub(crate) fn is_full(at: SocketAddrV4) -> bool {
    static LOOK: Seldom<bool> = Seldom::new();
    let full = |pid| has_role_thread(pid) && is_at_a_limit(pid);
    LOOK.look(at, |at| {
        kernel::listener_at(at)
            .and_then(|listener| kernel::process_with(listener.inode))
            .is_some_and(full)
    })
}

/// Returns true if a process has hardly a descriptor, a thread or a mapping left, as far as it can
/// be seen.
fn is_at_a_limit(pid: u32) -> bool {
    /// It still has what it keeps in reserve, and gets by with a few less now and then.
    const FEW: usize = 8;
    kernel::usage(pid).into_iter().any(|(used, most)| used.saturating_add(FEW) >= most)
}

/// Returns true also for a process that has just ended.
fn has_role_thread(pid: u32) -> bool {
    kernel::thread_names(pid)
        .is_none_or(|names| names.iter().any(|name| name == threads::ROLE.name))
}

/// Returns the holder of the listening socket at `at`, or on its port of all addresses, as far as
/// it can be seen.
pub(crate) fn of(at: SocketAddrV4) -> Option<PortHolder> {
    let listener = kernel::listener_at(at)?;
    let pid = kernel::process_with(listener.inode);
    let state = pid.and_then(kernel::state);
    Some(PortHolder {
        pid,
        // Any process can call itself anything.
        program: state.as_ref().map(|state| printable(&state.program)),
        user: Some(user(listener.uid)),
        stopped: state.as_ref().is_some_and(|state| state.stopped),
        dumping_core: state.is_some_and(|state| state.dumping_core),
    })
}

/// Returns the user's name in /etc/passwd, otherwise the number: enough for a message, without the
/// system's name service.
fn user(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let words: Vec<&str> = line.split(':').collect();
        (words.get(2)?.parse() == Ok(uid)).then(|| words[0].to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::net::transport::port;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let socket = port::listen(port::here(0), crate::sys::Kind::Own).unwrap();
        let at = port::here(socket.local_addr().unwrap().port());
        let holder = of(at).unwrap();
        assert_eq!(holder.pid, Some(std::process::id()));
        assert!(holder.program.is_some() && holder.user.is_some() && !holder.stopped, "{holder}");
    }
}
