//! `pares_listener.h`: a listener that the instances of a group share.

use std::ffi::c_int;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd};

use super::given::{Handle, Slot, Text};
use super::instance::Member;
use super::number::CEnum;
use super::result::{Code, Failure, asked, guarded};
use super::table::table;
use super::time;
use crate::listener::{Listen, Listener};
use crate::net::rt::clock::deadline;
use crate::wire::Policy;

const POLICIES: [Policy; 4] = [Policy::Even, Policy::Connections, Policy::Standby, Policy::Free];

/// What C says of how it accepts; 0 stands for the default.
fn listen(weight: u16, policy: c_int, capacity: u32, backlog: u32) -> Result<Listen, Failure> {
    let mut listen = Listen::new();
    if weight != 0 {
        listen = listen.weight(weight);
    }
    if policy != 0 {
        let policy = POLICIES.into_iter().find(|one| one.number() == policy).ok_or_else(|| {
            Failure::new(Code::Invalid, format!("policy {policy} is no pares_policy"))
        })?;
        listen = listen.policy(policy);
    }
    if capacity != 0 {
        listen = listen.capacity(capacity);
    }
    Ok(if backlog == 0 { listen } else { listen.backlog(backlog) })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_listen(
    instance: Handle<Member>,
    address: Text,
    weight: u16,
    policy: c_int,
    capacity: u32,
    backlog: u32,
    timeout_ms: u64,
    listener_out: Slot<Handle<Listener>>,
) -> c_int {
    guarded(|| {
        let listener_out = listener_out.open("listener_out")?;
        let address = address.get("address")?;
        let address: SocketAddr = address.parse().map_err(|_| {
            let rule = "an address and a port, such as 0.0.0.0:80 or [::1]:80";
            Failure::new(Code::Invalid, format!("address {address:?} cannot be used: {rule}"))
        })?;
        let listen = listen(weight, policy, capacity, backlog)?;
        let instance = &instance.get("instance")?.instance;
        let listener = instance.listen_until(address, listen, deadline(time(timeout_ms)))?;
        listener_out.set(Handle::of(table().add(listener)?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_listener_accept(
    listener: Handle<Listener>,
    timeout_ms: u64,
    descriptor_out: Slot<c_int>,
) -> c_int {
    guarded(|| {
        let descriptor_out = descriptor_out.open("descriptor_out")?;
        let stream = listener.get("listener")?.accept_for_c(time(timeout_ms))?;
        descriptor_out.set(stream.into_raw_fd());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_listener_closed(listener: Handle<Listener>) -> c_int {
    guarded(|| {
        listener.get("listener")?.closed_by_c();
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_listener_fd(
    listener: Handle<Listener>,
    descriptor_out: Slot<c_int>,
) -> c_int {
    guarded(|| {
        let descriptor_out = descriptor_out.open("descriptor_out")?;
        let listener = listener.get("listener")?;
        let descriptor = listener.descriptor().map_err(system)?;
        descriptor_out.set(descriptor.as_raw_fd());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_listener_socket(
    listener: Handle<Listener>,
    descriptor_out: Slot<c_int>,
) -> c_int {
    guarded(|| {
        let descriptor_out = descriptor_out.open("descriptor_out")?;
        let socket = listener.get("listener")?.socket_copy().map_err(system)?;
        descriptor_out.set(socket.into_raw_fd());
        Ok(())
    })
}

fn system(error: std::io::Error) -> Failure {
    Failure::new(Code::Io, error)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_listener_drain(listener: Handle<Listener>) -> c_int {
    guarded(|| {
        listener.get("listener")?.drain();
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_listener_is_drained(listener: Handle<Listener>) -> c_int {
    asked(true, || Ok(listener.get("listener")?.is_drained()))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_listener_wait_closed(
    listener: Handle<Listener>,
    timeout_ms: u64,
) -> c_int {
    guarded(|| {
        if listener.get("listener")?.wait_closed(time(timeout_ms)) {
            return Ok(());
        }
        Err(Failure::new(Code::Deadline, "accepted connections are still open"))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_listener_free(listener: Handle<Listener>) -> c_int {
    guarded(|| {
        if let Some(listener) = listener.take()? {
            // Threads that wait in it hold it, too.
            listener.drain();
        }
        Ok(())
    })
}
