//! Level 1 against a model.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn put(l1: &L1, key: &[u8], value: &[u8]) -> Stored {
    l1.insert(l1.hash(key), &New { key, value, tags: &[], meta: Meta::default() })
}

fn get(l1: &L1, key: &[u8]) -> Option<Vec<u8>> {
    l1.read(l1.hash(key), key, |held| Looked {
        made: held.value.to_vec(),
        is_wanted: true,
        is_hit: true,
        restamp: None,
    })
}

#[derive(Clone, Debug)]
enum Step {
    Put(u16, usize),
    Get(u16),
    Remove(u16),
    Resize(usize),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![8 => 0..200usize, 1 => 200..40_000usize];
    let step = prop_oneof![
        20 => (0..400u16, size).prop_map(|(key, len)| Step::Put(key, len)),
        20 => (0..400u16).prop_map(Step::Get),
        4 => (0..400u16).prop_map(Step::Remove),
        1 => (20_000..400_000usize).prop_map(Step::Resize),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec(step, 1..800)
}

proptest! {
    #[test]
    fn nothing_is_wrong_and_nothing_is_over_the_bound(steps in steps()) {
        let (l1, mut bound) = (L1::new(200_000), 200_000);
        let mut model = HashMap::<u16, Vec<u8>>::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put(key, len) => {
                    let value: Vec<u8> = (0..len).map(|at| (at * 31 + n) as u8).collect();
                    put(&l1, &key.to_le_bytes(), &value);
                    model.insert(key, value);
                }
                Step::Get(key) => {
                    if let Some(found) = get(&l1, &key.to_le_bytes()) {
                        prop_assert_eq!(Some(&found), model.get(&key));
                    }
                }
                Step::Remove(key) => {
                    l1.remove(l1.hash(&key.to_le_bytes()), &key.to_le_bytes(), Gone::Invalidated);
                    model.remove(&key);
                }
                Step::Resize(bytes) => {
                    bound = bytes;
                    l1.resize(bytes);
                }
                Step::Clear => {
                    l1.clear();
                    model.clear();
                }
            }
            let Size { entries, bytes, .. } = l1.size();
            prop_assert!(entries <= model.len() && bytes <= bound, "{bytes} of {bound}");
        }
    }
}

#[test]
fn all_that_fits_is_kept() {
    let l1 = L1::new(4 << 20);
    for n in 0..30_000u32 {
        put(&l1, &n.to_le_bytes(), &[7; 64]);
    }
    assert!((0..30_000u32).all(|n| get(&l1, &n.to_le_bytes()).is_some()));
    let Size { entries, bytes, evicted, .. } = l1.size();
    assert_eq!((entries, evicted), (30_000, 0));
    assert!(bytes < 30_000 * 96 + (64 << 10), "{bytes} B");
}

#[test]
fn what_is_read_outlives_a_flood_of_what_is_not() {
    let l1 = L1::new(1 << 20);
    for n in 0..1_000u32 {
        put(&l1, &n.to_le_bytes(), &[1; 64]);
    }
    for flood in 0..100_000u32 {
        put(&l1, &(1_000_000 + flood).to_le_bytes(), &[2; 64]);
        let key = (flood % 1_000).to_le_bytes();
        if get(&l1, &key).is_none() {
            put(&l1, &key, &[1; 64]);
        }
    }
    let kept = (0..1_000u32).filter(|n| get(&l1, &n.to_le_bytes()).is_some()).count();
    assert!(kept > 990, "{kept} of 1000");
}

#[test]
fn memory_that_is_made_smaller_keeps_as_much_as_a_small_one() {
    let keys = |l1: &L1, range: std::ops::Range<u32>| range.filter(|n| get(l1, &n.to_le_bytes()).is_some()).count();
    for (before, after) in [(64 << 20, 4 << 20), (16 << 20, 256 << 10), (1 << 20, 900 << 10)] {
        let (l1, fresh) = (L1::new(before), L1::new(after));
        for n in 0..before as u32 / 80 {
            put(&l1, &n.to_le_bytes(), &[7; 64]);
            get(&l1, &(n / 3).to_le_bytes());
        }
        l1.resize(after);
        let kept = keys(&l1, 0..before as u32 / 80);
        let Size { entries, bytes, evicted, .. } = l1.size();
        assert!(bytes <= after && kept == entries && kept > after / 180, "{kept} kept in {bytes} B");
        assert!(evicted as usize + entries <= before / 80);
        for n in 10_000_000..10_100_000u32 {
            put(&l1, &n.to_le_bytes(), &[8; 64]);
            put(&fresh, &n.to_le_bytes(), &[8; 64]);
        }
        let (kept, usual) = (keys(&l1, 10_099_900..10_100_000), l1.size().entries);
        // Small shards have little room for what is new.
        assert!(kept > 50 && usual * 2 > fresh.size().entries, "{kept} of 100, {usual} in all");
    }
}

#[test]
fn a_table_for_small_entries_takes_no_room_from_large_ones() {
    let l1 = L1::new(1 << 20);
    for n in 0..100_000u32 {
        put(&l1, &n.to_le_bytes(), &[]);
    }
    for n in 0..2_000u32 {
        put(&l1, &n.to_le_bytes(), &[7; 2048]);
    }
    let large = l1.size().entries * 2048;
    assert!(large > (1 << 20) * 3 / 4, "{large} B");
}

#[test]
fn it_says_why_a_key_is_gone() {
    let l1 = L1::new(1 << 20);
    put(&l1, b"a", b"1");
    let hash = l1.hash(b"a");
    assert_eq!(l1.why_gone(hash), None);
    assert!(l1.remove(hash, b"a", Gone::Invalidated));
    assert_eq!(l1.why_gone(hash), Some(Gone::Invalidated));
    assert_eq!(l1.why_gone(l1.hash(b"never")), None);
    put(&l1, b"b", b"1");
    for n in 0..100_000u32 {
        put(&l1, &n.to_le_bytes(), &[0; 64]);
    }
    assert!(get(&l1, b"b").is_none());
    let evicted = (0..100_000u32).filter(|n| l1.why_gone(l1.hash(&n.to_le_bytes())) == Some(Gone::Evicted)).count();
    assert!(evicted > 3_000, "{evicted} are remembered");
    assert_eq!(put(&l1, b"large", &vec![0; 1 << 20]), Stored::TooLarge);
}
