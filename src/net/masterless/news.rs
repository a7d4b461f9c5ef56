//! What follows from events besides telling the program: the log, the launcher, and the watch over
//! other processes' lives.

use std::net::SocketAddr;

use super::{Deeds, is_due, socket};
use crate::event::masterless::EventKind;
use crate::wire::seal::Foreign;

impl Deeds {
    /// Logs an event, and does what else follows from it.
    pub(super) fn heed(&mut self, kind: &EventKind) {
        let name = &self.name;
        match kind {
            EventKind::Role { from, to, token, cause } => match token {
                Some(token) => {
                    log::info!("{name}: {from} -> {to} ({cause}), epoch {}", token.epoch)
                }
                None => log::info!("{name}: {from} -> {to} ({cause})"),
            },
            EventKind::Joined { id, label, service } => {
                log::debug!("{name}: {label} ({id}) of service type {service} joined");
                if self.lives.begin(id.tail()) {
                    self.doubts.push(id.tail());
                }
            }
            EventKind::Left { id, label, service, cause } => {
                log::debug!("{name}: {label} ({id}) of service type {service} left ({cause})");
                self.lives.forget(id.tail());
            }
            EventKind::Suspected { id, label, service, cause } => {
                log::debug!(
                    "{name}: {label} ({id}) of service type {service} is suspected ({cause})"
                );
            }
            EventKind::PrepareHandover { to, label, within_ms } => {
                log::debug!("{name}: will hand over to {label} ({to}) within {within_ms} ms");
            }
            EventKind::EpochBump { token } => {
                log::info!("{name}: still primary, under epoch {}", token.epoch)
            }
            EventKind::Paused { for_ms } => log::info!("{name}: was suspended for {for_ms} ms"),
            EventKind::CannotSend { errno } => {
                let why = socket::why_not_sent(*errno, &self.transport);
                log::warn!(
                    "{name}: cannot send heartbeats: {why}; this process is not admitted, and is \
                     primary at most until its lease ends"
                );
            }
            EventKind::SendsAgain { after_ms } => {
                log::info!("{name}: can send heartbeats again, after {after_ms} ms");
                self.open_anew();
            }
            EventKind::Spawn { service, nonce } => {
                log::debug!(
                    "{name}: asks for a new process of service type {service}, start {nonce}"
                );
                if let Some((launcher, _)) = &self.launcher {
                    launcher.order(*service, *nonce);
                }
            }
            EventKind::Missed { .. } | EventKind::Stopped => {}
        }
    }

    pub(super) fn drop_foreign(&mut self, reason: Foreign, from: SocketAddr) {
        *self.shared.inside.lock().traffic.dropped.entry(reason).or_default() += 1;
        let what = match reason {
            Foreign::Group => return, // several groups may share a port
            Foreign::Shape => "is not a heartbeat",
            Foreign::Version => "has another protocol version",
            Foreign::Key | Foreign::Tag => "was made without this group's key",
            Foreign::Field => "has a field with an impossible value",
        };
        let mut last = self.breaches.get(&reason).copied();
        if is_due(&mut last) {
            log::warn!(
                "{}: dropped a datagram from {from}: it {what}; further ones are dropped silently",
                self.name
            );
        }
        self.breaches.extend(last.map(|last| (reason, last)));
    }
}
