//! Proofs: two ends show each other that they hold the group's key, without showing the key.
//!
//! Both send 32 fresh random bytes. A proof is HMAC-SHA256 (RFC 2104) under the group key over
//! everything that both must agree on, as one sequence of fields. No two different meetings have
//! the same sequence:
//!
//! | field          | what it prevents                                                       |
//! |----------------|------------------------------------------------------------------------|
//! | `"pares"`      | a proof made for another protocol under the same key                   |
//! | prover         | reflection: an answer sent back as if it were the other side's         |
//! | purpose        | a proof to ask being used to join                                      |
//! | versions       | talking both ends down to an old protocol                              |
//! | group, port    | relaying to another group or another port under the same key           |
//! | address        | the same, where it is not 127.0.0.1; else it is left out               |
//! | both nonces    | replaying an earlier meeting                                           |

use core::net::{IpAddr, Ipv4Addr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::field::Field;
use super::{Nonce, Purpose};

/// The secret that makes a group: a process that has it may join, ask and call.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)") // never in a log
    }
}

/// The facts on which both ends of one connection must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meeting {
    pub(crate) purpose: Purpose,
    pub(crate) version_min: u16,
    pub(crate) version_max: u16,
    pub(crate) version: u16,
    pub(crate) group: String,
    pub(crate) port: u16,
    /// The address that the port is on.
    pub(crate) ip: IpAddr,
    pub(crate) client_nonce: Nonce,
    pub(crate) server_nonce: Nonce,
}

/// The end that proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prover {
    Client = 1,
    Server = 2,
}

impl Meeting {
    pub(crate) fn proof(&self, key: &Key, prover: Prover) -> [u8; 32] {
        self.mac(key, prover).finalize().into_bytes().into()
    }

    /// Compares in constant time: a wrong proof's timing tells nothing about the right one.
    pub(crate) fn check(&self, key: &Key, prover: Prover, proof: &[u8; 32]) -> bool {
        self.mac(key, prover).verify_slice(proof).is_ok()
    }

    fn mac(&self, key: &Key, prover: Prover) -> Hmac<Sha256> {
        let mut text = Vec::with_capacity(192);
        text.extend_from_slice(b"pares");
        (prover as u8).put(&mut text);
        self.purpose.put(&mut text);
        self.version_min.put(&mut text);
        self.version_max.put(&mut text);
        self.version.put(&mut text);
        self.group.put(&mut text);
        self.port.put(&mut text);
        // All other fields say or have their length, so that no text without it looks like one with
        // it.
        match self.ip {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => {}
            IpAddr::V4(address) => text.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => text.extend_from_slice(&address.octets()),
        }
        self.client_nonce.put(&mut text);
        self.server_nonce.put(&mut text);
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes a key of any length");
        mac.update(&text);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meeting() -> Meeting {
        Meeting {
            purpose: Purpose::Join,
            version_min: 1,
            version_max: 1,
            version: 1,
            group: "default".into(),
            port: 30099,
            ip: Ipv4Addr::LOCALHOST.into(),
            client_nonce: [1; 32],
            server_nonce: [2; 32],
        }
    }

    #[test]
    fn a_proof_holds_for_its_own_meeting_only() {
        let (key, this) = (Key([7; 32]), meeting());
        let proof = this.proof(&key, Prover::Client);
        assert!(this.check(&key, Prover::Client, &proof));

        assert!(!this.check(&key, Prover::Server, &proof), "reflected");
        assert!(!this.check(&Key([8; 32]), Prover::Client, &proof), "other key");
        let others = [
            Meeting { purpose: Purpose::Ask, ..meeting() },
            Meeting { version_min: 0, ..meeting() },
            Meeting { version_max: 2, ..meeting() },
            Meeting { version: 2, ..meeting() },
            Meeting { group: "other".into(), ..meeting() },
            Meeting { port: 30100, ..meeting() },
            Meeting { ip: [127, 0, 0, 2].into(), ..meeting() },
            Meeting { client_nonce: [3; 32], ..meeting() },
            Meeting { server_nonce: [3; 32], ..meeting() },
        ];
        for other in others {
            assert!(!other.check(&key, Prover::Client, &proof), "{other:?}");
        }
    }

    /// The text under the proof is part of the protocol. This value was computed independently,
    /// with Python's `hmac` module over the fields in the order of the table.
    #[test]
    fn the_proof_is_the_documented_one() {
        let proof = meeting().proof(&Key([7; 32]), Prover::Client);
        let hex: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "2fc5e0df904fa17a9943acb81168441a326f8b17997f51bc837a9b0814968216");
    }
}
