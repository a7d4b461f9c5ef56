use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;

use super::*;

/// Runs `child` in a forked child; gives its exit code. The other threads of this process are other
/// tests: the child must not lock or allocate.
fn fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child does what the callers below do, and `_exit`s.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = child();
        // SAFETY: ends the child at once, without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    assert!(pid > 0);
    let mut status = 0;
    // SAFETY: `status` is a writable integer, and the child is ours.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "{status}");
    libc::WEXITSTATUS(status)
}

fn is_open(descriptor: i32) -> bool {
    // SAFETY: asks for flags, whatever the number is.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) >= 0 }
}

#[test]
fn a_child_is_one_generation_further() {
    install();
    install();
    let origin = Origin::here();
    // (Two where the handlers are there twice, because another test came first at the same moment.)
    let further =
        fork(|| generation().wrapping_sub(origin.0) as i32 + i32::from(origin.is_elsewhere()) * 10);
    assert!((11..=18).contains(&further), "{further}");
    assert!(!origin.is_elsewhere());
}

#[test]
fn a_child_has_none_of_our_descriptors_and_all_of_the_programs() {
    let ours = Booked::make(Kind::Peer, || TcpListener::bind("127.0.0.1:0")).unwrap();
    let (one, other) = Booked::pair(Kind::Own, UnixStream::pair).unwrap();
    let the_programs = TcpListener::bind("127.0.0.1:0").unwrap();
    let numbers = [ours.as_raw_fd(), one.as_raw_fd(), other.as_raw_fd()];
    assert!(numbers.iter().all(|number| book::all().contains(number)));
    let code = fork(|| {
        let leaked = numbers.iter().filter(|number| is_open(**number)).count();
        leaked as i32 + i32::from(!is_open(the_programs.as_raw_fd())) * 10
    });
    assert_eq!(code, 0);
    assert!(numbers.iter().all(|number| is_open(*number)), "closed in the parent");
}

#[test]
fn a_child_does_not_close_what_has_an_old_number_by_now() {
    let ours = Booked::make(Kind::Peer, || TcpListener::bind("127.0.0.1:0")).unwrap();
    let number = ours.as_raw_fd();
    let code = fork(move || {
        // SAFETY: standard error is open; the number is free, as the test above shows.
        let again = unsafe { libc::dup2(2, number) };
        drop(ours);
        i32::from(again != number) + i32::from(!is_open(number)) * 10
    });
    assert_eq!(code, 0);
}

#[test]
fn a_struck_off_descriptor_is_no_longer_ours() {
    let ours = Booked::make(Kind::Lifeline, || TcpListener::bind("127.0.0.1:0")).unwrap();
    let number = ours.as_raw_fd();
    drop(ours);
    let mut found = false;
    book::each(Kind::Lifeline, |descriptor| found |= descriptor == number);
    assert!(!found);
}

#[test]
fn high_numbers_have_a_place_in_the_book() {
    // Beyond any limit of this process, so that no descriptor of another test is meant.
    let high = (1 << 24) - 1;
    book::enter(high, Kind::Own).unwrap();
    let mut found = false;
    book::each(Kind::Own, |descriptor| found |= descriptor == high);
    book::strike(high, Kind::Own);
    assert!(found);
    assert!(book::enter(high + 1, Kind::Own).is_err());
    assert!(book::enter(-1, Kind::Own).is_err());
}

#[test]
fn a_child_can_make_its_own_although_other_threads_were_at_it() {
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(Booked::make(Kind::Peer, || TcpListener::bind("127.0.0.1:0")));
                }
            });
        }
        let codes: Vec<i32> = (0..200)
            .map(|_| {
                fork(|| {
                    let socket = || {
                        Ok(rustix::net::socket(
                            rustix::net::AddressFamily::INET,
                            rustix::net::SocketType::STREAM,
                            None,
                        )?)
                    };
                    i32::from(Booked::make(Kind::Peer, socket).is_err())
                })
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
    });
}

#[test]
fn a_handler_that_forks_inside_a_section_does_not_wait_for_itself() {
    let outer = section();
    drop(section()); // one in the other is one
    assert_eq!(fork(|| 7), 7);
    drop(outer);
    assert_eq!(fork(|| 8), 8);
}
