//! Whoever is told of each thing that happens: an instrument that comes later than what it measures.

use parking_lot::RwLock;

type Tell<T> = Box<dyn Fn(&T) + Send + Sync>;

/// Nobody at first, then whoever came last.
pub(crate) struct Told<T>(RwLock<Option<Tell<T>>>);

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self(RwLock::new(None))
    }
}

impl<T> Told<T> {
    /// Tells `tell` from now on. It must be quick, for whoever does the thing waits for it.
    pub(crate) fn set(&self, tell: impl Fn(&T) + Send + Sync + 'static) {
        *self.0.write() = Some(Box::new(tell));
    }

    pub(crate) fn tell(&self, what: &T) {
        if let Some(tell) = &*self.0.read() {
            tell(what);
        }
    }
}
