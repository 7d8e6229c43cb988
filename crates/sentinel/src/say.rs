//! Saying the same thing over and over, but not in every line of the log; and saying, once, that
//! this sentinel cannot go on.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Where a part that cannot go on says why, so that the process ends. Clones report to the same
/// place.
#[derive(Debug, Clone)]
pub(crate) struct Failure(watch::Sender<Option<String>>);

impl Failure {
    /// Nothing has failed.
    pub(crate) fn new() -> Self {
        Failure(watch::Sender::new(None))
    }

    /// Something has failed for good. The first reason counts.
    pub(crate) fn report(&self, why: String) {
        tracing::error!("{why}");
        self.0.send_if_modified(|first| {
            let news = first.is_none();
            first.get_or_insert(why);
            news
        });
    }

    /// Waits for the first reason.
    pub(crate) async fn reported(&self) -> String {
        let mut reports = self.0.subscribe();
        let why = match reports.wait_for(Option::is_some).await {
            Ok(why) => why.clone(),
            Err(_) => None,
        };
        why.expect("the sender is held by self")
    }
}

/// Lets a message through at once and then at most once per interval.
#[derive(Debug)]
pub(crate) struct Limited {
    interval: Duration,
    last: Option<Instant>,
}

impl Limited {
    /// A message of which one per `interval` is enough.
    pub(crate) fn new(interval: Duration) -> Self {
        Limited { interval, last: None }
    }

    /// Logs the message, if it is time for it.
    pub(crate) fn info(&mut self, message: impl FnOnce() -> String) {
        if self.due() {
            tracing::info!("{}", message());
        }
    }

    /// Logs the warning, if it is time for it.
    pub(crate) fn warn(&mut self, message: impl FnOnce() -> String) {
        if self.due() {
            tracing::warn!("{}", message());
        }
    }

    fn due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= self.interval);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}
