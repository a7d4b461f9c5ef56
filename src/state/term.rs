//! What a group's directory keeps of its last supervisorship.

/// The last supervisorship, as far as the directory says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) term: u64,
    /// True if the supervisor of that term left as the last instance of the group.
    pub(crate) vacant: bool,
}

impl Last {
    /// The content of a new group's directory: there was no supervisor.
    pub(crate) const NONE: Last = Last { term: 0, vacant: true };

    /// Returns what to write over `there`. The term never goes down: somebody may have repaired the
    /// file after a supervisorship had started from an older copy of it.
    pub(crate) fn over(self, there: Option<Last>) -> Last {
        match there {
            Some(Last { term, .. }) if term > self.term => Last { term, vacant: false },
            Some(_) | None => self,
        }
    }
}
