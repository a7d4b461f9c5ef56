//! The bodies of the fuzz targets in `fuzz/`, each with the properties that it holds the code to.
//!
//! Not part of the public interface. What a body does follows from its bytes alone, so that each
//! file of the corpus is also a test.

#[cfg(test)]
mod costs;
mod group;
mod permits;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod route;
mod stream;
mod supervisor;
pub use group::{fuzz_group, fuzz_heartbeat};
pub use permits::fuzz_permits;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use route::fuzz_route;
pub use stream::{fuzz_handshake, fuzz_stream, recode};
pub use supervisor::fuzz_supervisor;

/// Takes one choice after the other out of the input; when it is used up, all of them are 0.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }
}

fn text(choices: &mut Choices<'_>) -> String {
    (0..choices.below(65)).map(|_| char::from(choices.byte() % 128)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what fuzzing has found once stays found, without fuzzing.
    #[track_caller]
    fn replay(target: &str, body: fn(&[u8])) {
        let directory = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let mut files = 0;
        for file in std::fs::read_dir(&directory).expect(&directory) {
            let path = file.unwrap().path();
            println!("{}", path.display());
            body(&std::fs::read(path).unwrap());
            files += 1;
        }
        assert!(files > 0, "{directory} is empty");
    }

    #[test]
    fn the_corpus_of_streams_holds() {
        replay("stream", fuzz_stream);
    }

    #[test]
    fn the_corpus_of_handshakes_holds() {
        replay("handshake", fuzz_handshake);
    }

    #[test]
    fn the_corpus_of_permits_holds() {
        replay("permits", fuzz_permits);
    }

    #[test]
    fn the_corpus_of_heartbeats_holds() {
        replay("heartbeat", fuzz_heartbeat);
    }

    #[test]
    fn the_corpus_of_groups_holds() {
        replay("group", fuzz_group);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn the_corpus_of_routes_holds() {
        replay("route", fuzz_route);
    }

    #[test]
    fn the_corpus_of_supervisors_holds() {
        replay("supervisor", fuzz_supervisor);
    }
}
