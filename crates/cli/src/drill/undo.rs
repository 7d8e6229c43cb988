//! What has to be undone if a drill ends before its time: nobody else knows which node stands still.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use parking_lot::Mutex;

/// Undoes something.
pub(super) type Step = Box<dyn FnOnce() -> anyhow::Result<()> + Send>;

/// What is to be undone, by node. Clones are the same list.
#[derive(Clone, Default)]
pub(super) struct Undo(Arc<Mutex<BTreeMap<String, Step>>>);

impl Undo {
    /// This has to be done for the node.
    pub(super) fn add(&self, node: &str, step: Step) {
        self.0.lock().insert(node.to_owned(), step);
    }

    /// It was done.
    pub(super) fn done(&self, node: &str) {
        self.0.lock().remove(node);
    }

    /// Does all of it now.
    pub(super) fn run(&self) {
        for (node, step) in std::mem::take(&mut *self.0.lock()) {
            if let Err(error) = step() {
                let _ = writeln!(std::io::stderr(), "{node} was left as it is: {error:#}");
            }
        }
    }
}

/// Undoes before the process ends by an interrupt.
pub(super) fn on_interrupt(undo: &Undo) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let undo = undo.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        undo.run();
        let _ = writeln!(std::io::stderr(), "\nInterrupted; a node that was stopped stays so.");
        std::process::exit(130);
    };
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait).context("a thread")?;
    Ok(())
}
