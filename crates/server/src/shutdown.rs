//! The end of the node, wherever it is asked for.

use tokio::sync::watch;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    /// Nobody wants it.
    #[default]
    Running,
    /// Somebody asked for it (a signal, `SHUTDOWN`): the node leaves its shard in order.
    Asked,
    /// Somebody asked for it at once.
    Hurried,
    /// Workers stop.
    Begun,
}

/// Tells everybody that the node ends.
#[derive(Debug, Default)]
pub(crate) struct Shutdown(watch::Sender<Stage>);

impl Shutdown {
    /// Asks for the end. Asked for once more, or `now`, it does not wait for anybody.
    pub(crate) fn ask(&self, now: bool) {
        self.0.send_modify(|stage| {
            let next = match stage {
                Stage::Running if !now => Stage::Asked,
                _ => Stage::Hurried,
            };
            *stage = next.max(*stage);
        });
    }

    /// Takes the request back; false if there is none, or if it is too late.
    pub(crate) fn cancel(&self) -> bool {
        self.0.send_if_modified(|stage| {
            let asked = *stage == Stage::Asked;
            if asked {
                *stage = Stage::Running;
            }
            asked
        })
    }

    /// Waits until somebody asks for the end.
    pub(crate) async fn asked(&self) {
        self.until(|stage| stage >= Stage::Asked).await;
    }

    /// Waits until the end is not to wait for anybody.
    pub(crate) async fn hurried(&self) {
        self.until(|stage| stage >= Stage::Hurried).await;
    }

    /// Waits until the request is taken back.
    pub(crate) async fn cancelled(&self) {
        self.until(|stage| stage == Stage::Running).await;
    }

    /// Begins the end: workers stop.
    pub(crate) fn begin(&self) {
        self.0.send_replace(Stage::Begun);
    }

    /// Waits until the end begins.
    pub(crate) async fn begun(&self) {
        self.until(|stage| stage == Stage::Begun).await;
    }

    async fn until(&self, holds: impl Fn(Stage) -> bool) {
        // The sender is in `self`: it is not gone.
        let mut stages = self.0.subscribe();
        let _here = stages.wait_for(|stage| holds(*stage)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_request_hurries_and_only_the_first_can_be_taken_back() {
        let shutdown = Shutdown::default();
        assert!(!shutdown.cancel(), "nobody asked");
        shutdown.ask(false);
        assert!(shutdown.cancel() && !shutdown.cancel());
        shutdown.ask(false);
        shutdown.ask(false);
        assert_eq!(*shutdown.0.borrow(), Stage::Hurried);
        assert!(!shutdown.cancel(), "too late");
        shutdown.begin();
        shutdown.ask(true);
        assert_eq!(*shutdown.0.borrow(), Stage::Begun);
    }
}
