//! Keys: every key is text, in memory, in Redis, and to whoever invalidates it.

use std::hash::Hash;
use std::io::Write;

/// Longest key.
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// What entries are found by. Two keys with one text are one key.
pub trait CacheKey: Clone + Eq + Hash + Send + Sync + 'static {
    /// Calls `use_it` with the key's text.
    fn with_text<R>(&self, use_it: impl FnOnce(&str) -> R) -> R;

    /// The key of a text, when whoever warms a cache from afar names it; none when it cannot be one.
    fn from_text(_text: &str) -> Option<Self> {
        None
    }
}

impl CacheKey for String {
    #[inline]
    fn with_text<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        use_it(self)
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl CacheKey for &'static str {
    #[inline]
    fn with_text<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        use_it(self)
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl CacheKey for $number {
            #[inline]
            fn with_text<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
                let mut digits = itoa::Buffer::new();
                use_it(digits.format(*self))
            }

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

numbers!(u16, u32, u64, i32, i64);

impl<A: CacheKey, B: CacheKey> CacheKey for (A, B) {
    /// Both texts with a colon between them.
    fn with_text<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        let mut text = Vec::with_capacity(64);
        // A vector takes whatever is written.
        self.0.with_text(|a| self.1.with_text(|b| drop(write!(text, "{a}:{b}"))));
        use_it(&String::from_utf8_lossy(&text))
    }
}
