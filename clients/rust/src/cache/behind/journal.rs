//! The file in which writes wait: what is in there survives the process.
//!
//! Records are appended: `crc (4) · length (4) · kind (1) · number (8) · length of the key (4) · key · value`. A thread of its
//! own takes everything that waits, writes it in one go and syncs as [`Sync`] says; so a thousand writers share one sync, and
//! no task of the host waits for a disk. When most of the file is done, it is written anew; also after a write or a sync that
//! failed, before anything else is acknowledged. A record that is torn ends the file; whole ones behind it are no end of a
//! write that a crash cut off, and the file is then kept beside, as `.damaged-` and a number.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// Bytes that may wait to be written; one more record is refused.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// A file is written anew when it is larger than this and four times what counts of it.
const FILE_BYTES: u64 = 4 << 20;
const HEAD: usize = 8;
/// After a failure the file is written anew so much later at the earliest, unless more comes to be written.
const REST: Duration = Duration::from_secs(1);
/// With nothing to sync, the thread looks about so often.
const IDLE: Duration = Duration::from_secs(60);

/// When what was written is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before the write is acknowledged. A crash of the process or the machine loses none that was.
    #[default]
    Always,
    /// At most so long after. A crash of the process loses none that was acknowledged, one of the machine at most those of
    /// this time.
    Every(Duration),
}

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const DONE: u8 = 3;

/// A write as it is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) key: String,
    /// None removes.
    pub(super) value: Option<Vec<u8>>,
}

fn bytes_of(kind: u8, number: u64, key: &str, value: &[u8]) -> Vec<u8> {
    let len = 13 + key.len() + value.len();
    let mut bytes = vec![0; 4];
    bytes.reserve(len + 4);
    bytes.extend_from_slice(&(len as u32).to_le_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(value);
    let crc = crc32c::crc32c(bytes.get(4..).unwrap_or_default());
    if let Some(room) = bytes.first_chunk_mut::<4>() {
        *room = crc.to_le_bytes();
    }
    bytes
}

/// `(kind, record, length)` of the record that begins `bytes`.
fn parse(bytes: &[u8]) -> Option<(u8, Record, usize)> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    let (len, _) = rest.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    let body = rest.get(..4 + len)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (kind, body) = body.get(4..)?.split_first()?;
    let (number, body) = body.split_first_chunk::<8>()?;
    let (key_len, body) = body.split_first_chunk::<4>()?;
    let (key, value) = body.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
    let key = String::from_utf8(key.to_vec()).ok()?;
    let value = (*kind == PUT).then(|| value.to_vec());
    Some((*kind, Record { number: u64::from_le_bytes(*number), key, value }, HEAD + len))
}

/// Whether a whole record begins anywhere in `bytes`.
fn holds_whole(bytes: &[u8]) -> bool {
    // Only what looks like one is worth a checksum.
    let looks_so = |at: &[u8]| matches!(at.get(HEAD), Some(&(PUT | REMOVE | DONE)));
    (0..bytes.len()).any(|at| bytes.get(at..).is_some_and(|bytes| looks_so(bytes) && parse(bytes).is_some()))
}

/// The path with more behind its whole name, so that no two journals share one.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{what}"));
    PathBuf::from(name)
}

#[derive(Default)]
struct Waiting {
    /// `(number, bytes)`; no bytes: it is done.
    records: Vec<(u64, Option<Vec<u8>>)>,
    bytes: usize,
    acks: Vec<oneshot::Sender<Result<(), String>>>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// How often the thread took what waits.
    #[cfg(test)]
    rounds: std::sync::atomic::AtomicUsize,
}

/// See the module. Dropping it lets the thread finish what waits.
pub(super) struct Journal {
    shared: Arc<Shared>,
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.waiting.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Journal {
    /// Opens or makes the file; what is in there and not done comes back, in its order. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read or written, or another process has it.
    pub(super) fn open(path: &Path, sync: Sync) -> io::Result<(Self, Vec<Record>)> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        file.try_lock().map_err(|_held| io::Error::other("another process has it"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (mut live, mut at) = (BTreeMap::new(), 0);
        while let Some((kind, record, len)) = bytes.get(at..).and_then(parse) {
            match kind {
                DONE => drop(live.remove(&record.number)),
                _ => drop(live.insert(record.number, (bytes.get(at..at + len).unwrap_or_default().to_vec(), record))),
            }
            at += len;
        }
        if holds_whole(bytes.get(at..).unwrap_or_default()) {
            let kept = beside(path, &format!("damaged-{:08x}", fastrand::u32(..)));
            std::fs::write(&kept, &bytes)?;
            tracing::warn!(journal = %path.display(), at, kept = %kept.display(), "writes behind damaged bytes are not made");
        }
        file.set_len(at as u64)?;
        file.sync_all()?;
        let records = live.values().map(|(_, record)| record.clone()).collect();
        let live = live.into_iter().map(|(number, (bytes, _))| (number, bytes)).collect();
        let shared = Arc::<Shared>::default();
        let keeper =
            Keeper { path: path.to_owned(), file, len: at as u64, live, is_whole: true, sync, synced: Instant::now() };
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("fastbreak-journal".to_owned()).spawn(move || keeper.run(&theirs))?;
        Ok((Self { shared }, records))
    }

    /// Appends a write; resolves when it is as safe as [`Sync`] says.
    pub(super) fn append(&self, record: &Record) -> Result<oneshot::Receiver<Result<(), String>>, String> {
        let kind = if record.value.is_some() { PUT } else { REMOVE };
        let bytes = bytes_of(kind, record.number, &record.key, record.value.as_deref().unwrap_or_default());
        let (ack, acked) = oneshot::channel();
        let mut waiting = self.shared.waiting.lock();
        if waiting.bytes + bytes.len() > WAITING_BYTES_MAX {
            return Err(format!("more than {WAITING_BYTES_MAX} B wait for the disk"));
        }
        waiting.bytes += bytes.len();
        waiting.records.push((record.number, Some(bytes)));
        waiting.acks.push(ack);
        drop(waiting);
        self.shared.wake.notify_one();
        Ok(acked)
    }

    /// Notes that writes need not be made any more. If the note is lost, they are made again.
    pub(super) fn done(&self, numbers: impl Iterator<Item = u64>) {
        let mut waiting = self.shared.waiting.lock();
        waiting.records.extend(numbers.map(|number| (number, None)));
        drop(waiting);
        self.shared.wake.notify_one();
    }
}

/// What the thread has.
struct Keeper {
    path: PathBuf,
    file: File,
    len: u64,
    /// Records that are not done.
    live: BTreeMap<u64, Vec<u8>>,
    /// The file is what was written: nothing has failed since it was begun.
    is_whole: bool,
    sync: Sync,
    /// When it was synced, or was tried to be in vain.
    synced: Instant,
}

impl Keeper {
    fn run(mut self, shared: &Shared) {
        let mut dirty = false;
        loop {
            let mut waiting = shared.waiting.lock();
            while waiting.records.is_empty() && !waiting.closed {
                let Sync::Every(every) = self.sync else {
                    shared.wake.wait(&mut waiting);
                    continue;
                };
                let every = if self.is_whole { every } else { every.max(REST) };
                let left = if dirty { every.saturating_sub(self.synced.elapsed()) } else { IDLE };
                if shared.wake.wait_for(&mut waiting, left).timed_out() && dirty {
                    break;
                }
            }
            let Waiting { records, acks, closed, .. } = std::mem::take(&mut *waiting);
            waiting.closed = closed;
            drop(waiting);
            #[cfg(test)]
            shared.rounds.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let is_last = closed && records.is_empty();
            dirty |= !records.is_empty();
            let written = self.write(records).and_then(|()| self.sync_if_due(&mut dirty, !acks.is_empty(), is_last));
            if written.is_err() {
                (self.is_whole, self.synced) = (false, Instant::now());
            }
            for ack in acks {
                // Who has left wants no answer.
                drop(ack.send(written.as_ref().copied().map_err(ToString::to_string)));
            }
            if is_last {
                return;
            }
        }
    }

    fn write(&mut self, records: Vec<(u64, Option<Vec<u8>>)>) -> io::Result<()> {
        let (mut bytes, mut puts) = (Vec::new(), Vec::new());
        for (number, record) in records {
            match record {
                Some(record) => {
                    bytes.extend_from_slice(&record);
                    self.live.insert(number, record);
                    puts.push(number);
                }
                None if self.live.remove(&number).is_some() => bytes.extend(bytes_of(DONE, number, "", &[])),
                None => {}
            }
        }
        if bytes.is_empty() && self.is_whole {
            return Ok(());
        }
        let counts: u64 = self.live.values().map(|record| record.len() as u64).sum();
        let is_large = self.len + bytes.len() as u64 > FILE_BYTES.max(counts * 4);
        let anew = is_large || !self.is_whole || self.file.metadata()?.len() != self.len;
        let written = if anew { self.rewrite() } else { self.append(&bytes) };
        if written.is_err() {
            // Their callers are told so; a file that is written anew must not have them.
            puts.iter().for_each(|number| drop(self.live.remove(number)));
        }
        written
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// What counts, in a file that takes the place of the other when it is whole.
    fn rewrite(&mut self) -> io::Result<()> {
        let draft = beside(&self.path, "new");
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&draft)?;
        file.try_lock().map_err(|_held| io::Error::other("another process has it"))?;
        let bytes = self.live.values().flatten().copied().collect::<Vec<u8>>();
        let mut replace = || {
            file.set_len(0)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&draft, &self.path)
        };
        if let Err(why) = replace() {
            // On a full disk, what it holds is what is missing.
            let _gone = std::fs::remove_file(&draft);
            return Err(why);
        }
        (self.file, self.len, self.is_whole) = (file, bytes.len() as u64, true);
        if let Some(directory) = self.path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    fn sync_if_due(&mut self, dirty: &mut bool, acks: bool, is_last: bool) -> io::Result<()> {
        let due = match self.sync {
            Sync::Always => acks,
            Sync::Every(every) => self.synced.elapsed() >= every,
        };
        if *dirty && (due || is_last) {
            self.file.sync_data()?;
            (self.synced, *dirty) = (Instant::now(), false);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(journal: &Journal, number: u64, key: &str, value: &str) {
        let record = Record { number, key: key.to_owned(), value: Some(value.as_bytes().to_vec()) };
        journal.append(&record).expect("room").blocking_recv().expect("answered").expect("written");
    }

    fn open(path: &Path) -> (Journal, Vec<Record>) {
        let began = Instant::now();
        loop {
            // The thread of the last one lets go of the file when it has written everything.
            match Journal::open(path, Sync::Always) {
                Err(_held) if began.elapsed() < Duration::from_secs(10) => std::thread::yield_now(),
                opened => return opened.expect("opens"),
            }
        }
    }

    #[test]
    fn what_is_not_done_comes_back_and_a_torn_end_is_cut_off() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("writes");
        let (journal, none) = open(&path);
        assert!(none.is_empty() && Journal::open(&path, Sync::Always).is_err(), "it is held");
        (0..10).for_each(|n| put(&journal, n, &format!("key {n}"), "value"));
        journal.done((0..10).filter(|n| n % 2 == 0));
        drop(journal);
        let (journal, odd) = open(&path);
        assert_eq!(odd.iter().map(|record| record.number).collect::<Vec<_>>(), [1, 3, 5, 7, 9]);
        put(&journal, 10, "torn", "value");
        drop(journal);
        drop(open(&path));
        let len = std::fs::metadata(&path).expect("there").len();
        OpenOptions::new().write(true).open(&path).expect("opens").set_len(len - 3).expect("cut");
        let (journal, odd) = open(&path);
        assert_eq!(odd.len(), 5);
        put(&journal, 11, "after", "value");
        drop(journal);
        assert_eq!(open(&path).1.len(), 6);
    }

    #[test]
    fn what_was_not_written_does_not_count() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("writes");
        std::fs::write(&path, []).expect("written");
        let mut keeper = Keeper {
            file: File::open(&path).expect("opens, to be read alone"),
            path: path.clone(),
            len: 0,
            live: BTreeMap::new(),
            is_whole: true,
            sync: Sync::Always,
            synced: Instant::now(),
        };
        assert!(keeper.write(vec![(0, Some(bytes_of(PUT, 0, "key", b"lost")))]).is_err());
        keeper.rewrite().expect("written anew");
        keeper.write(vec![(1, Some(bytes_of(PUT, 1, "key", b"value")))]).expect("written");
        drop(keeper);
        assert_eq!(open(&path).1.iter().map(|record| record.number).collect::<Vec<_>>(), [1]);
    }

    fn append(path: &Path, bytes: &[u8]) {
        OpenOptions::new().append(true).open(path).expect("opens").write_all(bytes).expect("written");
    }

    #[test]
    fn half_a_record_hides_nothing_that_is_written_after_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("writes");
        let (journal, _) = open(&path);
        put(&journal, 0, "before", "value");
        // As a write leaves it for which there was no more space.
        append(&path, &bytes_of(PUT, 1, "torn", b"value")[..20]);
        put(&journal, 2, "after", "value");
        drop(journal);
        assert_eq!(open(&path).1.iter().map(|record| record.number).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_file_that_cannot_be_written_anew_is_tried_seldom() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("writes");
        let (journal, _) = Journal::open(&path, Sync::Every(Duration::from_millis(10))).expect("opens");
        put(&journal, 0, "waits", "value");
        std::fs::create_dir(beside(&path, "new")).expect("made");
        append(&path, &[0]);
        let began = Instant::now();
        let record = Record { number: 1, key: "refused".to_owned(), value: None };
        assert!(journal.append(&record).expect("room").blocking_recv().expect("answered").is_err());
        let rounds = || journal.shared.rounds.load(std::sync::atomic::Ordering::SeqCst);
        let refused = rounds();
        while rounds() == refused {
            std::thread::yield_now();
        }
        assert!(began.elapsed() >= REST, "again after {:?}", began.elapsed());
    }

    #[test]
    fn a_draft_that_comes_to_nothing_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, draft) = (directory.path().join("writes"), directory.path().join("writes.new"));
        // A file does not take the place of a directory.
        std::fs::create_dir(&path).expect("made");
        let mut keeper = Keeper {
            file: File::open(&path).expect("opens, to be read alone"),
            path,
            len: 0,
            live: BTreeMap::from([(0, vec![0; 100])]),
            is_whole: false,
            sync: Sync::Always,
            synced: Instant::now(),
        };
        assert!(keeper.rewrite().is_err());
        assert!(!draft.exists());
    }

    #[test]
    fn what_lies_behind_damage_is_kept_beside() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("writes");
        let (journal, _) = open(&path);
        put(&journal, 0, "before", "value");
        drop(journal);
        drop(open(&path));
        append(&path, &bytes_of(PUT, 1, "torn", b"value")[..20]);
        append(&path, &bytes_of(PUT, 2, "after", b"value"));
        let damaged = std::fs::read(&path).expect("readable");
        assert_eq!(open(&path).1.len(), 1);
        let files = std::fs::read_dir(directory.path()).expect("readable").map(|file| file.expect("there").path());
        let kept: Vec<PathBuf> = files.filter(|file| *file != path).collect();
        assert_eq!(kept.iter().map(|file| std::fs::read(file).expect("readable")).collect::<Vec<_>>(), [damaged]);
    }

    #[test]
    fn journals_with_like_names_have_drafts_of_their_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let value = "v".repeat(1 << 20);
        let paths = ["x.new", "x.users", "x.orders"].map(|name| directory.path().join(name));
        let journals = paths.each_ref().map(|path| open(path).0);
        for number in 0..6 {
            for journal in &journals {
                put(journal, number, "key", &value);
                journal.done(std::iter::once(number));
            }
        }
        for journal in &journals {
            put(journal, 6, "last", "value");
        }
        drop(journals);
        for path in &paths {
            assert_eq!(open(path).1.iter().map(|record| record.number).collect::<Vec<_>>(), [6]);
        }
    }

    #[test]
    fn the_file_stays_small_however_much_goes_through() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("writes");
        let (journal, _) = open(&path);
        let value = "v".repeat(100_000);
        for number in 0..200 {
            put(&journal, number, "key", &value);
            journal.done(std::iter::once(number));
        }
        put(&journal, 200, "last", "value");
        drop(journal);
        let (_journal, left) = open(&path);
        assert_eq!(left.len(), 1);
        assert!(std::fs::metadata(&path).expect("there").len() <= FILE_BYTES + 200_000);
    }
}
