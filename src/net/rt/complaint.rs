//! Repeated faults are logged at once, and then ever more rarely: no loop and no stranger fills a
//! disk with the log.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::lock::Mutex;

/// How long a complaint is held back after its first time. Each further time doubles it.
const FIRST_DISTANCE: Duration = Duration::from_secs(10);

const LONGEST_DISTANCE: Duration = Duration::from_secs(60 * 60);

/// A complaint that has not come for this long, and for as long as it was last held back, is new
/// again.
const NEWS_AFTER: Duration = Duration::from_secs(60);

/// The number of subjects for which one place keeps the intervals; beyond it, the subject that was
/// silent longest is forgotten.
const SUBJECTS: usize = 16;

/// A place in the code that complains. The process has one for each; [`complain`] makes it.
pub(crate) struct Site(Mutex<Vec<Complaint>>);

/// What is known of the complaints about one subject.
struct Complaint {
    subject: u64,
    said: Instant,
    seen: Instant,
    distance: Duration,
    unsaid: u64,
}

/// The number of times it was not logged since the last time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsaid(u64);

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            Ok(())
        } else {
            write!(f, " (and {} more of these since the last such line)", self.0)
        }
    }
}

impl Site {
    pub(crate) const fn new() -> Self {
        Site(Mutex::new(Vec::new()))
    }

    /// Returns whether to log a complaint about `subject` at `now`.
    pub(crate) fn due(&self, subject: &str, now: Instant) -> Option<Unsaid> {
        // Not waited for: somebody complains; or this is a forked child, where it stays locked.
        let mut complaints = self.0.try_lock()?;
        let mut hasher = DefaultHasher::new();
        subject.hash(&mut hasher);
        let subject = hasher.finish();
        let news = |one: &Complaint| now.duration_since(one.seen) >= one.distance.max(NEWS_AFTER);
        complaints.retain(|one| !news(one));
        let Some(one) = complaints.iter_mut().find(|one| one.subject == subject) else {
            if complaints.len() == SUBJECTS {
                let silent = complaints.iter().enumerate().min_by_key(|(_, one)| one.seen);
                let at = silent.map_or(0, |(at, _)| at);
                complaints.swap_remove(at);
            }
            complaints.push(Complaint {
                subject,
                said: now,
                seen: now,
                distance: FIRST_DISTANCE,
                unsaid: 0,
            });
            return Some(Unsaid(0));
        };
        one.seen = now;
        if now.duration_since(one.said) < one.distance {
            one.unsaid += 1;
            return None;
        }
        one.said = now;
        one.distance = (one.distance * 2).min(LONGEST_DISTANCE);
        Some(Unsaid(std::mem::take(&mut one.unsaid)))
    }
}

/// Logs a fault about `$subject` that may be repeated: `complain!(Warn, name, "{name} is late")`.
macro_rules! complain {
    ($level:ident, $subject:expr, $($text:tt)+) => {{
        static SITE: $crate::net::rt::complaint::Site = $crate::net::rt::complaint::Site::new();
        if let Some(unsaid) = SITE.due($subject, std::time::Instant::now()) {
            log::log!(log::Level::$level, "{}{unsaid}", format_args!($($text)+));
        }
    }};
}
pub(crate) use complain;

#[cfg(test)]
mod tests {
    use super::*;

    /// At which seconds of so many a complaint that comes four times in each is said.
    fn said(site: &Site, from: Instant, seconds: u32) -> Vec<u32> {
        let looks = (0..4 * seconds).map(|quarter| Duration::from_millis(250) * quarter);
        looks
            .filter(|at| site.due("it", from + *at).is_some())
            .map(|at| at.as_secs() as u32)
            .collect()
    }

    #[test]
    fn what_comes_again_and_again_is_said_at_once_and_then_ever_more_rarely() {
        let (site, now) = (Site::new(), Instant::now());
        assert_eq!(said(&site, now, 400), [0, 10, 30, 70, 150, 310]);
        let site = Site::new();
        let lines = said(&site, now, 24 * 60 * 60);
        assert!(lines.len() <= 9 + 24, "{lines:?}");
    }

    #[test]
    fn what_was_not_said_is_counted() {
        let (site, now) = (Site::new(), Instant::now());
        assert_eq!(site.due("it", now).unwrap().to_string(), "");
        for second in 1..10 {
            assert_eq!(site.due("it", now + Duration::from_secs(second)), None);
        }
        assert_eq!(site.due("it", now + Duration::from_secs(10)), Some(Unsaid(9)));
        assert_eq!(site.due("it", now + Duration::from_secs(30)), Some(Unsaid(0)));
    }

    #[test]
    fn another_subject_and_one_that_was_well_for_long_are_news() {
        let (site, now) = (Site::new(), Instant::now());
        let last = *said(&site, now, 100).last().unwrap();
        assert!(site.due("other", now).is_some());
        assert_eq!(site.due("it", now + Duration::from_secs(u64::from(last) + 60)), None);
        assert_eq!(said(&site, now + Duration::from_secs(1000), 20), [0, 10]);
    }

    #[test]
    fn of_ever_new_subjects_few_are_kept() {
        let (site, now) = (Site::new(), Instant::now());
        for number in 0..1000 {
            assert!(site.due(&number.to_string(), now + Duration::from_millis(number)).is_some());
        }
        assert_eq!(site.0.lock().len(), SUBJECTS);
        assert_eq!(site.due("999", now + Duration::from_secs(2)), None);
    }
}
