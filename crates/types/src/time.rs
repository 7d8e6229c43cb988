//! Two kinds of time: a steady one for leases and timeouts, and the calendar for expiry.

use std::ops::{Add, AddAssign, Sub};

/// A moment on, or a span of, a steady clock that also runs while the machine is suspended
/// (`CLOCK_BOOTTIME`), in milliseconds. Comparable only within one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Millis(pub u64);

impl Millis {
    /// The span from `earlier` to `self`, zero if it is the other way round.
    pub const fn since(self, earlier: Millis) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Millis {
    type Output = Millis;
    fn add(self, other: Millis) -> Millis {
        Millis(self.0 + other.0)
    }
}

impl AddAssign for Millis {
    fn add_assign(&mut self, other: Millis) {
        self.0 += other.0;
    }
}

impl Sub for Millis {
    type Output = Millis;
    fn sub(self, other: Millis) -> Millis {
        Millis(self.0.checked_sub(other.0).expect("the earlier time is subtracted from the later"))
    }
}

/// A moment of the calendar: milliseconds since 1970, as `PEXPIREAT` takes them. Negative and
/// far-off values are legal, since clients may send them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub i64);
