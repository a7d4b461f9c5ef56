//! The listeners of `pares run --listen`: shared with the group, and handed to CMD as a service
//! manager does it.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pares::channel::Sender;
use pares::{Instance, Listen, Listener, Policy};

use crate::failure::Failure;
use crate::sys;
use crate::wrap::begin::HANDED_DOWN;

/// The first descriptor that a program looks for (`sd_listen_fds(3)`).
const FIRST: usize = 3;

pub(crate) struct Listening {
    listeners: Vec<Arc<Listener>>,
    /// Copies above all numbers at which CMD is to have them.
    copies: Vec<OwnedFd>,
}

impl Listening {
    /// Listens at all of the addresses.
    pub(crate) fn begin(instance: &Instance, addresses: &[SocketAddr]) -> Result<Self, Failure> {
        let listen = |address: &SocketAddr| {
            instance.listen(*address, Listen::new().policy(Policy::Free)).map(Arc::new)
        };
        let listeners = addresses.iter().map(listen).collect::<Result<Vec<_>, _>>()?;
        let above = (FIRST + listeners.len()) as i32;
        let copy = |listener: &Arc<Listener>| {
            let socket = listener.socket_copy()?;
            Ok(rustix::io::fcntl_dupfd_cloexec(&socket, above)?)
        };
        let copies = listeners.iter().map(copy).collect::<std::io::Result<Vec<_>>>()?;
        Ok(Listening { listeners, copies })
    }

    /// Has a command get them when it is started next: by the protocol of service managers, and by
    /// that of nginx.
    pub(crate) fn hand_down(&self, command: &mut Command) {
        if self.copies.is_empty() {
            return;
        }
        let numbers: Vec<String> =
            self.copies.iter().map(|copy| copy.as_raw_fd().to_string()).collect();
        let names: Vec<String> = self
            .listeners
            .iter()
            .map(|listener| format!("port-{}", listener.address().port()))
            .collect();
        let for_nginx: String =
            (FIRST..).take(self.copies.len()).map(|number| format!("{number};")).collect();
        command
            .env(HANDED_DOWN, numbers.join(","))
            .env("LISTEN_FDS", self.copies.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NGINX", for_nginx);
        // One that cannot be handed down is missed by CMD, which says so.
        self.copies.iter().for_each(|copy| _ = sys::hand_down(copy));
    }

    /// Sends a word once an operator has this instance accept no more.
    pub(crate) fn tell_of_drain<T: Send + 'static>(
        &self,
        tell: &Sender<T>,
        word: impl Fn() -> T + Clone + Send + 'static,
    ) -> Result<(), Failure> {
        for listener in &self.listeners {
            let (listener, tell, word) = (listener.clone(), tell.clone(), word.clone());
            thread::Builder::new().name("drain".into()).spawn(move || {
                _ = listener.wait_drained(Duration::MAX);
                _ = tell.try_send(word()); // one is enough
            })?;
        }
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listeners.iter().for_each(|listener| listener.drain()); // which ends the threads
    }
}
