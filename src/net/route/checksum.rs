//! The checksum of TCP and of ICMPv6.

use std::net::IpAddr;

use crate::net::netlink::octets;

/// Returns the checksum of what `source` sends, in which its place is 0.
pub(super) fn checksum(source: IpAddr, destination: IpAddr, protocol: u8, content: &[u8]) -> u16 {
    // The pseudo-headers of both families differ in their order and in zeros only, and the sum
    // knows neither.
    let sum = sum(&octets(source))
        + sum(&octets(destination))
        + u32::from(protocol)
        + content.len() as u32
        + sum(content);
    let folded = (sum >> 16) + (sum & 0xffff);
    !((folded >> 16) + folded) as u16
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |&one| one.into()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 has the sum of these bytes, in its section 3: 0xddf2 after the carry.
    #[test]
    fn the_sum_is_that_of_the_specification() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        let sum = sum(&bytes);
        assert_eq!((sum >> 16) + (sum & 0xffff), 0xddf2);
    }

    #[test]
    fn with_its_checksum_in_place_the_sum_of_everything_is_without_a_bit() {
        for (source, destination) in
            [("10.77.0.100", "10.77.0.9"), ("fd77::100", "ff02::1"), ("ffff::ffff", "ffff::1")]
        {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            for odd in 0..2 {
                let mut content: Vec<u8> =
                    (0..40 + odd).map(|at: u8| at.wrapping_mul(37) ^ 0xa5).collect();
                content[16..18].fill(0);
                let found = checksum(source, destination, 6, &content);
                content[16..18].copy_from_slice(&found.to_be_bytes());
                assert_eq!(checksum(source, destination, 6, &content), 0, "{source} {odd}");
            }
        }
    }
}
