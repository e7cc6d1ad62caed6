//! Interned label text: a million series share a few thousand strings.

use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::Labels;

/// An interned string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(u32);

/// Interned name and value.
pub type LabelPairs = Box<[(Symbol, Symbol)]>;

/// Append-only table of strings.
#[derive(Default)]
pub struct Interner {
    texts: boxcar::Vec<Arc<str>>,
    index: RwLock<HashTable<u32>>,
}

impl Interner {
    /// The symbol of `text`, made when it is new.
    pub fn intern(&self, text: &str) -> Symbol {
        let hash = xxh3_64(text.as_bytes());
        let is_it = |at: &u32| self.text_at(*at) == text;
        if let Some(found) = self.index.read().find(hash, is_it) {
            return Symbol(*found);
        }
        let mut index = self.index.write();
        if let Some(found) = index.find(hash, is_it) {
            return Symbol(*found);
        }
        let at = self.texts.push(Arc::from(text)) as u32;
        index.insert_unique(hash, at, |at| xxh3_64(self.text_at(*at).as_bytes()));
        Symbol(at)
    }

    /// The symbol of `text`, if it has one.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Symbol> {
        let found = self.index.read().find(xxh3_64(text.as_bytes()), |at| self.text_at(*at) == text).copied();
        found.map(Symbol)
    }

    fn text_at(&self, at: u32) -> &str {
        self.texts.get(at as usize).map_or("", |text| text)
    }

    /// The text of `symbol`.
    #[must_use]
    pub fn text(&self, symbol: Symbol) -> Arc<str> {
        self.texts.get(symbol.0 as usize).map_or_else(|| Arc::from(""), Arc::clone)
    }

    /// Interns `labels`, keeping their order.
    pub fn intern_labels(&self, labels: &Labels) -> LabelPairs {
        labels.iter().map(|(name, value)| (self.intern(name), self.intern(value))).collect()
    }

    /// The label set of `pairs` from several places; names are unique over all of them.
    #[must_use]
    pub fn labels(&self, parts: &[&[(Symbol, Symbol)]]) -> Labels {
        Labels::from_pairs(
            parts.iter().flat_map(|pairs| pairs.iter()).map(|(n, v)| (self.text(*n), self.text(*v))).collect(),
        )
    }

    /// Number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.count()
    }

    /// True when nothing was interned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_the_same_symbol() {
        let interner = Interner::default();
        let a = interner.intern("a");
        assert_eq!(interner.intern("a"), a);
        assert_ne!(interner.intern("b"), a);
        assert_eq!(&*interner.text(a), "a");
        assert_eq!((interner.find("a"), interner.find("c")), (Some(a), None));
        assert_eq!(interner.len(), 2);
    }
}
