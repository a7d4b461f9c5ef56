//! What an instance costs its process, and what it leaves behind.

use pares::{Client, Instance};

use crate::actors;

#[test]
fn an_instance_can_be_shared_by_all_threads() {
    fn shareable<T: Send + Sync + 'static>() {}
    shareable::<Instance>();
    shareable::<Client>();
    shareable::<pares::Job>();
    shareable::<pares::Watch>();
}

/// Goal: dropping leaves nothing behind, whatever was going on. Method: a process of its own;
/// instances in both roles with watches, jobs, kept connections; count before and after.
#[test]
fn dropping_leaves_no_thread_and_no_descriptor_behind() {
    actors::run("leaver");
}
