//! Admits instances into the group, and notes what that means for the survivors that are waited
//! for.

use super::*;

impl Supervisor {
    pub(super) fn on_hello(
        &mut self,
        now: Time,
        conn: ConnId,
        hello: Hello,
        actions: &mut Vec<ServerAction>,
    ) {
        if let Some((refusal, detail)) = self.refusal(conn, &hello) {
            actions.push(ServerAction::Send { conn, message: Message::rejected(refusal, detail) });
            actions.push(ServerAction::Close { conn });
            return;
        }
        let Hello { entry, last_term, roster, claims, settings } = hello;
        let replaced = self.connection.get(&entry.name).copied();
        if let Some(old) = replaced {
            // The same life of the same instance: its link was cut, and it was back before we saw
            // the end. It stays on the witnesses' rosters: were it taken off and put on again, we
            // could die in between.
            self.forget(old);
            actions.push(ServerAction::Close { conn: old });
        }
        // Of a setting one may have heard otherwise than from the supervisor that it followed: as
        // the answer to whoever asked for the change. Ours must be newer than all that are known.
        self.raise_term(
            settings.iter().map(|setting| setting.term).fold(last_term, u64::max),
            actions,
        );
        let was_settled = self.settled();
        let told = self.on_survivor(now, &entry, last_term, roster, actions);
        let (name, admin_port) = (entry.name.clone(), entry.admin_port);
        self.registry.insert(entry);
        self.connection.insert(name.clone(), conn);
        let mut verdicts = Vec::new();
        let ours = self.settings.newer_than(&settings);
        self.merge(settings, &mut verdicts, actions);
        self.admitted.insert(
            conn,
            Admitted { name, admin_port, cause: LeftCause::Died, under_way: 0, missed: 0 },
        );
        if !told {
            self.tell_witnesses(false, &[admin_port], &[], actions);
        }
        self.ledger.enter(conn, claims, replaced, &mut verdicts);
        // Settled first: its cursor is taken after all this, so what the welcome does not say it
        // would never hear.
        self.settle_if_complete(actions, &mut verdicts);
        // Before the welcome: from that on, its claims are as good as those of the others.
        let lost = |it: &Verdict| matches!(it, Verdict::Revoked { holder, .. } if *holder == conn);
        let (lost, verdicts) = verdicts.into_iter().partition(lost);
        self.pronounce(lost, actions);
        actions.push(ServerAction::Send { conn, message: self.welcome().into() });
        actions.extend(ours.into_iter().map(|setting| ServerAction::Send {
            conn,
            message: ToHolder::Setting { setting }.into(),
        }));
        self.pronounce(verdicts, actions);
        // After the welcome, which may be to one of them.
        if !was_settled && self.settled() {
            self.renew_witnesses(actions);
        }
        self.appoint_witness(actions);
        if self.settled() && self.registry.len() >= self.tell_size_at {
            return self.announce_state(actions);
        }
        actions.push(ServerAction::Announce);
    }

    /// Takes a term above `seen`, if that is above ours.
    pub(super) fn raise_term(&mut self, seen: u64, actions: &mut Vec<ServerAction>) {
        if seen > self.term {
            // Only possible where the last term could not be kept in the group's directory. Terms
            // still grow: whoever has seen that one will see a higher one from us. (A peer that
            // claims to come from the last of all terms is wrong, but no reason to overflow.)
            self.term = seen.saturating_add(1);
            actions.push(ServerAction::TermRaised { term: self.term });
            self.announce_state(actions);
        }
    }

    pub(super) fn refusal(&self, conn: ConnId, hello: &Hello) -> Option<(Refusal, String)> {
        let entry = &hello.entry;
        if self.admitted.contains_key(&conn) {
            return Some((Refusal::Malformed, "a second hello on one lifeline".into()));
        }
        if let Err(error) = hello.check() {
            return Some((Refusal::Malformed, error));
        }
        if let Some(holder) = self.registry.entry(&entry.name) {
            if holder.id != entry.id || holder.name == self.name {
                return Some((
                    Refusal::NameTaken,
                    format!("a living instance (pid {})", holder.pid),
                ));
            }
            return None;
        }
        (self.registry.len() >= self.max_members).then(|| {
            (
                Refusal::GroupFull,
                format!("its supervisor `{}` admits {} instances", self.name, self.max_members),
            )
        })
    }

    /// Crosses a survivor off the list of the expected ones. While there may be others, learns them
    /// from it, if it was a witness of the previous term that knew more. Returns true if the
    /// witnesses already know that it is in the group.
    pub(super) fn on_survivor(
        &mut self,
        now: Time,
        entry: &Entry,
        last_term: u64,
        roster: Option<Roster>,
        actions: &mut Vec<ServerAction>,
    ) -> bool {
        let Some(settling) = &mut self.settling else { return false };
        // One whose link was cut in our own term was counted when it first came.
        let survived = (1..self.term).contains(&last_term);
        let known = settling.came_back(now, entry.admin_port, survived);
        let recent = roster.filter(|_| last_term.checked_add(1) == Some(self.term));
        if !recent.is_some_and(|roster| settling.learn(now, roster)) {
            return known;
        }
        settling.expected.remove(&self.admin_port);
        self.admitted.values().for_each(|member| _ = settling.expected.remove(&member.admin_port));
        // Told with this survivor on it, not after it: between two messages we may die.
        settling.expected.insert(entry.admin_port);
        self.tell_witnesses(true, &self.roster(), &[], actions);
        self.settling
            .iter_mut()
            .for_each(|settling| _ = settling.expected.remove(&entry.admin_port));
        true
    }
}
