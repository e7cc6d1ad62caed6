//! Windows: aligned spans of time `[start, start + width)`, the unit of aggregation.

/// Unix time in milliseconds.
pub type TimeMs = i64;

/// Start of a window in seconds since the Unix epoch, a multiple of the width.
pub type WindowStart = u32;

/// Width of a window in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Width(u32);

impl Width {
    /// The least width, which all others are multiples of.
    pub const SECOND: Self = Self(1);
    /// The default width of ingest windows.
    pub const TEN_SECONDS: Self = Self(10);
    /// The width of the second tier.
    pub const MINUTE: Self = Self(60);
    /// The width of the third tier, and the span of one block of the first.
    pub const HOUR: Self = Self(3600);

    /// A width that divides an hour, or `None`.
    #[must_use]
    pub const fn new(seconds: u32) -> Option<Self> {
        if seconds == 0 || !3600u32.is_multiple_of(seconds) {
            return None;
        }
        Some(Self(seconds))
    }

    /// The width in seconds.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// The width in milliseconds.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0 as i64 * 1000
    }

    /// The window that holds `time`; times outside 1970..2106 saturate.
    #[must_use]
    #[inline]
    pub fn window_of(self, time: TimeMs) -> WindowStart {
        let seconds = u32::try_from(time.div_euclid(1000).max(0)).unwrap_or(u32::MAX);
        seconds - seconds % self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_on_the_edge_belongs_to_the_later_window() {
        assert_eq!(Width::TEN_SECONDS.window_of(19_999), 10);
        assert_eq!(Width::TEN_SECONDS.window_of(20_000), 20);
        assert_eq!(Width::TEN_SECONDS.window_of(-5), 0);
    }

    #[test]
    fn only_divisors_of_an_hour_are_widths() {
        assert!(Width::new(7).is_none());
        assert!(Width::new(0).is_none());
        assert_eq!(Width::new(15).map(Width::seconds), Some(15));
    }
}
