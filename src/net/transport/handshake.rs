//! The handshake, both ends of it: who are you, prove it, here is my proof and my first request.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::link::{Link, LinkError};
use super::port::Stream;
use crate::state::obstacle::Obstacle;
use crate::wire::proof::{Key, Meeting, Prover};
use crate::wire::{
    Handshake, MAGIC, Message, Nonce, PROTOCOL_VERSION, Purpose, Refusal, common_version,
};

/// What two ends need to be members of one group.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    pub(crate) group: String,
    pub(crate) key: Key,
    /// The origin of the key, for messages.
    pub(crate) key_file: PathBuf,
}

/// Why a client did not get through.
#[derive(Debug)]
pub(crate) enum Denied {
    /// The connection ended before a valid message.
    ClosedAtOnce,
    /// The other end accepts connections but does not answer: see `procs` for what that means.
    Late,
    /// The other end would not admit us, or not now.
    Obstructed(Obstacle),
}

/// The client's side: proves itself to the process that listens at `at`, has it prove itself, and
/// sends `first`.
///
/// Nothing of `first` is shown to an end that has not proved that it has the key.
pub(crate) fn open(
    stream: Arc<Stream>,
    pass: &Pass,
    at: impl Into<SocketAddr>,
    purpose: Purpose,
    first: Message,
    deadline: Instant,
) -> Result<Link, Denied> {
    let mut link = Link::to_stranger(stream);
    let client_nonce = nonce().map_err(|error| system("read random bytes", &error))?;
    let opening = Message::Handshake(Handshake::Opening {
        magic: MAGIC,
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        purpose,
        group: pass.group.clone(),
        nonce: client_nonce,
    });
    link.write(&[opening], deadline).map_err(denied)?;
    let (version, server_nonce, proof) = match link.read(Some(deadline)).map_err(denied)? {
        Message::Handshake(Handshake::Challenge { version, nonce, proof }) => {
            (version, nonce, proof)
        }
        Message::Handshake(Handshake::Rejected { rejection }) => {
            return Err(Denied::Obstructed(match rejection.refusal {
                Refusal::Version | Refusal::OtherGroup | Refusal::Key => {
                    Obstacle::refused(&rejection)
                }
                // A supervisor says these only after its proof, or never to us. Of one who has
                // proved nothing they are not believed: it would pass for a supervisor that is
                // full, or busy until our deadline.
                Refusal::NameTaken
                | Refusal::GroupFull
                | Refusal::Busy
                | Refusal::Malformed
                | Refusal::SteppingDown => Obstacle::NotPares,
            }));
        }
        _ => return Err(Denied::Obstructed(Obstacle::NotPares)),
    };
    if common_version(version, version).is_none() {
        return Err(Denied::Obstructed(Obstacle::Version { min: version, max: version }));
    }
    let at = at.into();
    let meeting = Meeting {
        purpose,
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        version,
        group: pass.group.clone(),
        port: at.port(),
        ip: at.ip(),
        client_nonce,
        server_nonce,
    };
    if !meeting.check(&pass.key, Prover::Server, &proof) {
        return Err(Denied::Obstructed(Obstacle::KeyMismatch));
    }
    link.trust();
    let proof = Handshake::Proof { proof: meeting.proof(&pass.key, Prover::Client) }.into();
    if purpose != Purpose::Route {
        link.write(&[proof, first], deadline).map_err(denied)?;
        return Ok(link);
    }
    link.write(&[proof], deadline).map_err(denied)?;
    link.seal(&pass.key, &meeting, Prover::Client);
    link.write(&[first], deadline).map_err(denied)?;
    Ok(link)
}

fn denied(error: LinkError) -> Denied {
    match error {
        LinkError::Gone { .. } => Denied::ClosedAtOnce,
        LinkError::Late => Denied::Late,
        LinkError::Malformed(_) => Denied::Obstructed(Obstacle::NotPares),
        LinkError::Io(error) => system("talk to the supervisor", &error),
    }
}

fn system(doing: &'static str, error: &io::Error) -> Denied {
    Denied::Obstructed(Obstacle::System { doing, errno: error.raw_os_error().unwrap_or(0) })
}

/// Why a server did not let a client in: for its log, after the client has been told.
#[derive(Debug)]
pub(crate) enum Unwelcome {
    /// The client went away, before or after its first byte: it looked whether a process is here,
    /// or died.
    Gone,
    /// The client broke the protocol, or has no business here.
    Broke(String),
}

/// The server's side: reads the opening, proves itself, checks the proof and reads the first
/// request.
///
/// `opened` is called once the opening is valid: from then on the client is worth some patience.
pub(crate) fn answer(
    mut link: Link,
    pass: &Pass,
    at: impl Into<SocketAddr>,
    purposes: &[Purpose],
    opened: impl FnOnce(),
    deadline: Instant,
) -> Result<(Link, Purpose, Message), Unwelcome> {
    let opening = link.read(Some(deadline)).map_err(unwelcome)?;
    let Message::Handshake(Handshake::Opening {
        magic: MAGIC,
        version_min,
        version_max,
        purpose,
        group,
        nonce: client_nonce,
    }) = opening
    else {
        return Err(reject(link, Refusal::Malformed, "not the opening of a pares connection"));
    };
    let Some(version) = common_version(version_min, version_max) else {
        return Err(reject(link, Refusal::Version, &format!("{version_min} to {version_max}")));
    };
    if group != pass.group {
        return Err(reject(link, Refusal::OtherGroup, &pass.group));
    }
    if !purposes.contains(&purpose) {
        return Err(reject(link, Refusal::Malformed, "this port serves another purpose"));
    }
    opened();
    let server_nonce = nonce().map_err(|error| Unwelcome::Broke(error.to_string()))?;
    let at = at.into();
    let (port, ip) = (at.port(), at.ip());
    let meeting = Meeting {
        purpose,
        version_min,
        version_max,
        version,
        group,
        port,
        ip,
        client_nonce,
        server_nonce,
    };
    let proof = meeting.proof(&pass.key, Prover::Server);
    link.write(&[Handshake::Challenge { version, nonce: server_nonce, proof }.into()], deadline)
        .map_err(unwelcome)?;
    let Message::Handshake(Handshake::Proof { proof }) =
        link.read(Some(deadline)).map_err(unwelcome)?
    else {
        return Err(reject(link, Refusal::Malformed, "not a proof"));
    };
    if !meeting.check(&pass.key, Prover::Client, &proof) {
        return Err(reject(link, Refusal::Key, "wrong proof"));
    }
    link.trust();
    if purpose == Purpose::Route {
        link.seal(&pass.key, &meeting, Prover::Server);
    }
    let first = link.read(Some(deadline)).map_err(unwelcome)?;
    Ok((link, purpose, first))
}

fn reject(link: Link, refusal: Refusal, detail: &str) -> Unwelcome {
    link.close_with(&Message::rejected(refusal, detail));
    Unwelcome::Broke(format!("{refusal:?}: {detail}"))
}

fn unwelcome(error: LinkError) -> Unwelcome {
    match error {
        LinkError::Gone { .. } => Unwelcome::Gone,
        LinkError::Late => Unwelcome::Broke("silent".into()),
        LinkError::Malformed(error) => Unwelcome::Broke(error.to_string()),
        LinkError::Io(error) => Unwelcome::Broke(error.to_string()),
    }
}

fn nonce() -> io::Result<Nonce> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    Ok(nonce)
}
