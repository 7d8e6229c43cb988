//! Progress: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The progress of one piece of work.
pub(crate) struct Progress {
    /// `None` where nobody watches a bar.
    bar: Option<ProgressBar>,
    title: String,
}

impl Progress {
    /// Work of so many steps begins.
    pub(crate) fn new(title: &str, steps: usize) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps as u64);
            let style =
                ProgressStyle::with_template("{spinner} {prefix:<10} [{bar:30}] {pos}/{len} {msg}");
            bar.set_style(style.expect("the template is well-formed").progress_chars("=> "));
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Progress { bar, title: title.to_owned() }
    }

    /// Says what is being waited for.
    pub(crate) fn waiting(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => line(&format!("{}: {what}", self.title)),
        }
    }

    /// One step is done.
    pub(crate) fn done(&self, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(what.to_owned());
                bar.inc(1);
            }
            None => line(&format!("{}: {what}", self.title)),
        }
    }

    /// Something that stays on the screen.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => line(text),
        }
    }

    /// Something that is part of the result: goes to the standard output.
    pub(crate) fn print(&self, text: &str) -> anyhow::Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| super::say(text)),
            None => super::say(text),
        }
    }

    /// All of it is done.
    pub(crate) fn finish(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        line(text);
    }
}

fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
