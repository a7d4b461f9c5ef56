//! Explains to a person what stood in the way, with what the system knows of the port's holder.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::port_holder;
use crate::error::{JoinError, PlaceError, PortHolder};
use crate::net::transport::handshake::Pass;
use crate::net::transport::port;
use crate::state::obstacle::Obstacle;
use crate::wire::PROTOCOL_VERSION;

/// What it means that the holder of the port `at` accepts connections and does not answer: a
/// supervisor that is stopped or starved may continue, another program never will.
pub(crate) fn silence(at: SocketAddrV4) -> Obstacle {
    if port_holder::is_another_program(at) { Obstacle::NotPares } else { Obstacle::Silent }
}

/// Explains to a person what stood in the way, with what the system knows of the port's holder. A
/// caller that only wants to ask has no `name`.
pub(crate) fn join_error(
    obstacle: Obstacle,
    pass: &Pass,
    address: SocketAddrV4,
    name: Option<&str>,
    waited: Duration,
) -> JoinError {
    with_holder(obstacle, pass, address, name, waited, || port_holder::of(address))
}

/// Explains the same for an instance that keeps trying: all instances of a process may meet the
/// same obstacle at once.
pub(crate) fn passing_error(
    obstacle: Obstacle,
    pass: &Pass,
    address: SocketAddrV4,
    name: &str,
) -> JoinError {
    with_holder(obstacle, pass, address, Some(name), Duration::ZERO, || {
        port_holder::of_seldom(address)
    })
}

/// Returns an error if this machine does not have the group's address. No instance could be elected
/// there, and a connect could wait in vain, because the packets go astray. This is no reason to use
/// another address: where others have found the address, there would be two supervisors.
pub(crate) fn check_address(address: SocketAddrV4) -> Result<(), PlaceError> {
    // The admin endpoints are on 127.0.0.1, wherever the port is.
    let admin_port = Some(Ipv4Addr::LOCALHOST).filter(|admin_port| admin_port != address.ip());
    match admin_port.into_iter().chain([*address.ip()]).find(|ip| !port::is_here(*ip)) {
        Some(missing) => {
            Err(PlaceError::NotHere { address: SocketAddrV4::new(missing, address.port()) })
        }
        None => Ok(()),
    }
}

fn with_holder(
    obstacle: Obstacle,
    pass: &Pass,
    address: SocketAddrV4,
    name: Option<&str>,
    waited: Duration,
    look: impl Fn() -> Option<PortHolder>,
) -> JoinError {
    let holder = || look().unwrap_or_default();
    let deadline = |obstacle: &str| JoinError::TimedOut {
        address,
        waited,
        holder: look(),
        obstacle: obstacle.to_owned(),
    };
    match obstacle {
        Obstacle::NotPares => JoinError::PortHeld { address, holder: holder() },
        Obstacle::TurnedAway if port_holder::is_full(address) => deadline(
            "the supervisor accepts connections only to close them: its process has reached its \
             limit of descriptors or threads, as its log says (see `ulimit -n`, `ulimit -u`)",
        ),
        Obstacle::TurnedAway => JoinError::PortHeld { address, holder: holder() },
        Obstacle::OtherGroup(theirs) => {
            JoinError::OtherGroup { address, ours: pass.group.clone(), theirs }
        }
        Obstacle::KeyMismatch => {
            JoinError::KeyMismatch { address, holder: holder(), key_file: pass.key_file.clone() }
        }
        Obstacle::Version { min, max } => JoinError::Version {
            address,
            ours: (PROTOCOL_VERSION, PROTOCOL_VERSION),
            theirs: (min, max),
        },
        Obstacle::NameTaken(holder) => {
            JoinError::NameTaken { name: name.unwrap_or_default().to_owned(), holder }
        }
        Obstacle::GroupFull(detail) => JoinError::GroupFull { detail },
        Obstacle::Unkept(error) => JoinError::Key { source: error.into() },
        Obstacle::NoSupervisor => JoinError::NoSupervisor { address },
        Obstacle::PortForbidden => JoinError::PortForbidden { address },
        Obstacle::Busy => deadline(
            "the port has no supervisor, or one that is too busy, or a firewall rejects \
             connections to it",
        ),
        Obstacle::SteppingDown => deadline("the supervisor is handing over"),
        Obstacle::Malformed(detail) => deadline(&format!(
            "the supervisor reports that this instance broke the protocol: {detail}"
        )),
        Obstacle::Silent => deadline(
            "no process answers on the port: its holder hangs or is stopped, or a firewall drops \
             packets to it",
        ),
        Obstacle::System { doing, errno } => {
            JoinError::Io { doing, source: io::Error::from_raw_os_error(errno) }
        }
    }
}
