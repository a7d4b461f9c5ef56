//! Terms: no supervisorship has the term of an earlier one, or a smaller one, whatever happened in
//! between.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::doctor::{may_unshare, says};
use crate::support::{GROUP, Ground, Proc, finish};

impl Ground {
    fn term_file(&self) -> PathBuf {
        self.directory.join(format!("{GROUP}.term"))
    }

    /// Has the directory say that this was the last term, of a supervisor that left survivors.
    fn last_term_was(&self, term: u64) {
        fs::write(self.term_file(), format!("{term:020} 0 {:020}\n", 0)).expect("a term file");
    }

    fn kept_term(&self) -> u64 {
        let line = fs::read_to_string(self.term_file()).expect("a term file");
        line.split(' ')
            .next()
            .and_then(|term| term.parse().ok())
            .unwrap_or_else(|| panic!("{line:?} is no term"))
    }
}

/// A supervisor that began in term 1, although there was a term 10, and whose term the survivor of
/// that has raised to 11.
fn raised(ground: &Ground) -> (Proc, Proc) {
    ground.last_term_was(9);
    let first = ground.join("first");
    let survivor = ground.join("survivor");
    survivor.stop();
    first.kill();
    fs::remove_file(ground.term_file()).expect("a term file");
    let second = ground.start("join --json --name second");
    second.expect(|event| event["event"] == "supervisor" && event["term"] == 1);
    survivor.signal(Signal::CONT);
    second.expect(|event| event["event"] == "supervisor" && event["term"] == 11);
    survivor.expect(|event| event["event"] == "subordinate" && event["term"] == 11);
    (second, survivor)
}

#[test]
fn a_term_that_a_survivor_has_raised_is_the_one_that_the_last_who_leaves_keeps() {
    let ground = Ground::new();
    let (second, survivor) = raised(&ground);
    survivor.leave();
    second.leave();
    assert_eq!(ground.kept_term(), 11);
    assert_eq!(ground.start("join --json --name third").role()["term"], 12);
}

#[test]
fn who_steps_down_after_its_term_was_raised_is_followed_by_a_higher_one() {
    let ground = Ground::new();
    let (second, survivor) = raised(&ground);
    ground.ask("step-down").code(0);
    survivor.expect(|event| event["event"] == "supervisor" && event["term"] == 12);
    second.expect(|event| event["event"] == "subordinate" && event["term"] == 12);
    assert_eq!(ground.kept_term(), 12);
}

/// A shell's command that says in which term CMD runs.
const SAY_TERM: &str = "$PARES run --when-supervisor -- sh -c 'echo term $PARES_TERM'";

#[test]
fn on_a_full_disk_no_term_is_given_that_could_be_given_again() {
    if !may_unshare("--mount") {
        return;
    }
    let ground = Ground::new();
    let full = "mount -t tmpfs -o size=8k,mode=700 none $PARES_DIR && cd $PARES_DIR && \
        head -c 32 /dev/urandom >it.key && chmod 600 it.key && head -c 100000 /dev/zero >fill \
        2>/dev/null";
    let begin = |rest: &str| finish(ground.shell_in("--mount", &format!("{full}; {rest}")));
    let refused =
        begin(SAY_TERM).code(1).says("No space left on device").says("make room").says("it.term");
    assert_eq!(refused.out, "");
    let left = begin(&format!("{SAY_TERM}; ls")).code(0);
    assert_eq!(left.out, "fill\nit.key\n", "nothing is left behind");
    says(&begin("$PARES doctor --json"), "directory", "cure", &["No space left on device"]);

    // Where there is a file, it is written in place, which needs no room.
    let there =
        "rm fill; $PARES run --when-supervisor -- true; head -c 100000 /dev/zero >fill 2>/dev/null";
    let twice = begin(&format!("{there}; {SAY_TERM}; {SAY_TERM}")).code(0);
    assert_eq!(twice.out, "term 2\nterm 3\n", "{twice:?}");
    says(
        &begin(&format!("{there}; $PARES doctor --json")),
        "directory",
        "ok",
        &["the last term is 1"],
    );
}

#[test]
fn where_no_file_may_grow_no_term_begins() {
    let ground = Ground::new();
    drop(ground.join("one")); // the key is there
    fs::remove_file(ground.term_file()).expect("a term file");
    let refused = finish(ground.shell(&format!("ulimit -f 0; {SAY_TERM}"))).code(1);
    assert_eq!(refused.says("ulimit -f").out, "");
    let term = finish(ground.shell(SAY_TERM)).code(0);
    assert_eq!(term.out, "term 1\n");
    assert_eq!(finish(ground.shell(&format!("ulimit -f 0; {SAY_TERM}"))).code(1).out, "");
    assert_eq!(finish(ground.shell(SAY_TERM)).code(0).out, "term 2\n");
}

#[test]
fn a_damaged_term_file_is_an_error_that_says_how_to_go_on() {
    let ground = Ground::new();
    finish(ground.shell(SAY_TERM)).code(0);
    for damage in ["", "nonsense\n", "0000000000000000000", "\0\0\0\0"] {
        fs::write(ground.term_file(), damage).expect("a term file");
        let refused = finish(ground.shell(SAY_TERM)).code(1).says("echo NUMBER >").says("it.term");
        assert_eq!(refused.out, "", "{damage:?}");
        says(&ground.ask("doctor --json"), "directory", "cure", &["does not hold the last number"]);
    }
    fs::write(ground.term_file(), "57\n").expect("a term file");
    assert_eq!(finish(ground.shell(SAY_TERM)).code(0).out, "term 58\n");
}

#[test]
fn survivors_go_on_after_a_term_file_that_is_damaged_or_removed_and_write_it_anew() {
    let ground = Ground::new();
    ground.last_term_was(6);
    let mut present = ground.join("m0");
    for (term, content) in (8..).zip([Some("nonsense"), Some(""), None]) {
        let next = ground.join(&format!("m{term}"));
        match content {
            Some(content) => fs::write(ground.term_file(), content).expect("a term file"),
            None => fs::remove_file(ground.term_file()).expect("a term file"),
        }
        present.kill();
        next.expect(|event| event["event"] == "supervisor" && event["term"] == term);
        assert_eq!(ground.kept_term(), term);
        present = next;
    }
    present.kill();
    assert_eq!(ground.start("join --json").role()["term"], 11);
}

#[test]
fn a_survivor_that_cannot_keep_its_term_goes_on_and_says_so() {
    let ground = Ground::new();
    let first = ground.join("first");
    let survivor =
        Proc::start(ground.shell("ulimit -f 0; exec $PARES join --json --name survivor"));
    survivor.role();
    first.kill();
    survivor.expect(|event| event["event"] == "supervisor" && event["term"] == 2);
    assert_eq!(ground.kept_term(), 1);
    let third = ground.join("third");
    survivor.signal(Signal::KILL);
    third.expect(|event| event["event"] == "supervisor" && event["term"] == 3);
    assert_eq!(ground.kept_term(), 3);
    let said = survivor.stderr();
    assert!(
        said.contains("File too large") && said.contains("only the present instances know term 2"),
        "{said}"
    );
}

/// Epochs of masterless groups are kept in the same way.
#[test]
fn an_epoch_that_cannot_be_kept_is_an_error_that_says_how_to_go_on() {
    let ground = Ground::new();
    let run = "$PARES peer run --when-primary -- true";
    finish(ground.shell(run)).code(0);
    let file = ground.directory.join(format!("{GROUP}.0.epoch"));
    let kept = fs::read_to_string(&file).expect("an epoch file");
    for damage in ["", "nonsense\n", "0000000000000000000"] {
        fs::write(&file, damage).expect("an epoch file");
        finish(ground.shell(run)).code(1).says("echo NUMBER >").says("it.0.epoch");
    }
    fs::write(&file, &kept).expect("an epoch file");
    finish(ground.shell(&format!("ulimit -f 0; {run}"))).code(1).says("ulimit -f");
    finish(ground.shell(run)).code(0);
    assert!(fs::read_to_string(&file).expect("an epoch file") > kept, "another epoch");
    fs::remove_file(&file).expect("an epoch file");
    finish(ground.shell(&format!("ulimit -f 0; {run}"))).code(1).says("ulimit -f");
    assert!(!file.exists());
}
