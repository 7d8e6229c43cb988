//! What the allocator and the system know about our memory.

use tikv_jemalloc_ctl::{epoch, raw, stats};

/// Bytes of memory, from different points of view.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Asked of the allocator and not given back.
    pub(crate) allocated: u64,
    /// In pages that hold something.
    pub(crate) active: u64,
    /// Held by the allocator.
    pub(crate) mapped: u64,
    /// Held by the process, as the system counts.
    pub(crate) resident: u64,
}

/// How much memory is in use. Where the process has another allocator, only what the system knows.
pub(crate) fn usage() -> Usage {
    // Statistics are as of the last advance of the epoch.
    let advanced = epoch::advance().is_ok();
    let read = |result: Result<usize, tikv_jemalloc_ctl::Error>| {
        if advanced { result.map_or(0, |bytes| bytes as u64) } else { 0 }
    };
    let resident = resident_bytes();
    let allocated = read(stats::allocated::read());
    Usage {
        allocated: if allocated == 0 { resident } else { allocated },
        active: read(stats::active::read()),
        mapped: read(stats::mapped::read()),
        resident,
    }
}

/// What the system counts as resident.
pub(crate) fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * PAGE_BYTES)
}

/// How much memory the machine has.
pub(crate) fn system_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.unwrap_or(0u64) * 1024
}

/// Gives unused pages back to the system.
#[allow(unsafe_code)]
pub(crate) fn purge() {
    // 4096 is jemalloc's name for "all arenas".
    // SAFETY: the name is a nul-terminated control that takes no value; `()` has none.
    let result = unsafe { raw::write(b"arena.4096.purge\0", ()) };
    if let Err(error) = result {
        tracing::debug!(%error, "the allocator cannot purge");
    }
}

/// The allocator's own report.
pub(crate) fn report() -> String {
    let mut text = Vec::new();
    // Without the parts on each arena and each size class: they are long.
    let mut options = tikv_jemalloc_ctl::stats_print::Options::default();
    options.skip_per_arena = true;
    options.skip_bin_size_classes = true;
    options.skip_large_size_classes = true;
    match tikv_jemalloc_ctl::stats_print::stats_print(&mut text, options) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("The allocator has nothing to say: {error}"),
    }
}

/// A number of bytes for people, as `INFO` prints it.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.2}{}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_redis_shows_them() {
        for (bytes, want) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1 << 20, "1.00M"), (3 << 29, "1.50G")]
        {
            assert_eq!(human(bytes), want);
        }
    }
}
