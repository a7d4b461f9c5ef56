//! Looks up host names in the way that this machine is set up to.
//!
//! std does so, too, but tells only in a text whether there is no such name, or no server could
//! say.

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

/// Why a name has no address.
#[derive(Debug)]
pub(crate) struct Unresolved {
    /// There is no such name, or it has no address of this family: this failure does not pass soon.
    pub(crate) is_absent: bool,
    pub(crate) why: String,
}

// "No data" and "no address of this family" are not everywhere in libc, nor in POSIX.
#[cfg(target_os = "linux")]
const ABSENT: [c_int; 3] = [libc::EAI_NONAME, -5, -9];
#[cfg(not(target_os = "linux"))]
const ABSENT: [c_int; 3] = [libc::EAI_NONAME, 7, 1];

/// Returns the addresses of a host that are of the family of `like`, each with this port, and at
/// most so many: sorted, each once.
///
/// Waits as long as the system's resolver does: usually some ten seconds for each name server that
/// does not answer.
pub(crate) fn resolve(
    host: &str,
    port: u16,
    like: SocketAddr,
    most: usize,
) -> Result<Vec<SocketAddr>, Unresolved> {
    let lasting = |why: &str| Unresolved { is_absent: true, why: why.into() };
    let name = CString::new(host).map_err(|_| lasting("a name has no NUL byte"))?;
    // SAFETY: a struct of numbers and pointers, for which zeros are valid; they mean "any".
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = if like.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    hints.ai_socktype = libc::SOCK_DGRAM;
    let mut list = ptr::null_mut();
    // SAFETY: the name ends with NUL, and it, the hints and the place for the list live across the
    // call.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &hints, &mut list) };
    if code != 0 {
        return Err(Unresolved { is_absent: ABSENT.contains(&code), why: reason(code) });
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: an element of the list, which is freed below.
        let entry = unsafe { &*next };
        found.extend(
            address(entry, port)
                .filter(|at| at.is_ipv4() == like.is_ipv4() && !at.ip().is_unspecified()),
        );
        next = entry.ai_next;
    }
    // SAFETY: the list is what getaddrinfo has made, and nothing points into it any more.
    unsafe { libc::freeaddrinfo(list) };
    found.sort_unstable();
    found.dedup();
    found.truncate(most);
    if found.is_empty() { Err(lasting("it has no address that can be sent to")) } else { Ok(found) }
}

fn address(entry: &libc::addrinfo, port: u16) -> Option<SocketAddr> {
    let has = |size: usize| !entry.ai_addr.is_null() && entry.ai_addrlen as usize >= size;
    match entry.ai_family {
        libc::AF_INET if has(size_of::<libc::sockaddr_in>()) => {
            // SAFETY: of this family, and so long.
            let at = unsafe { ptr::read_unaligned(entry.ai_addr.cast::<libc::sockaddr_in>()) };
            Some(SocketAddrV4::new(Ipv4Addr::from(u32::from_be(at.sin_addr.s_addr)), port).into())
        }
        libc::AF_INET6 if has(size_of::<libc::sockaddr_in6>()) => {
            // SAFETY: of this family, and so long.
            let at = unsafe { ptr::read_unaligned(entry.ai_addr.cast::<libc::sockaddr_in6>()) };
            Some(
                SocketAddrV6::new(Ipv6Addr::from(at.sin6_addr.s6_addr), port, 0, at.sin6_scope_id)
                    .into(),
            )
        }
        _ => None,
    }
}

fn reason(code: c_int) -> String {
    if code == libc::EAI_SYSTEM {
        return io::Error::last_os_error().to_string();
    }
    // SAFETY: gives a string that lives as long as the process, for any number.
    let text = unsafe { CStr::from_ptr(libc::gai_strerror(code)) };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_has_its_addresses_of_one_family_and_the_port_that_was_asked_for() {
        assert_eq!(resolve("localhost", 7, at("0.0.0.0:1"), 9).unwrap(), [at("127.0.0.1:7")]);
        if let Ok(found) = resolve("localhost", 7, at("[::]:1"), 9) {
            assert_eq!(found, [at("[::1]:7")]);
        }
    }

    /// No part of a name may be longer than this: no name server is asked for one.
    #[test]
    fn that_there_is_no_such_name_is_no_failure_that_may_be_over_soon() {
        let nobody = resolve(&"a".repeat(64), 7, at("0.0.0.0:1"), 9).unwrap_err();
        assert!(nobody.is_absent && !nobody.why.is_empty(), "{nobody:?}");
        assert!(resolve("a\0b", 7, at("0.0.0.0:1"), 9).unwrap_err().is_absent);
    }
}
