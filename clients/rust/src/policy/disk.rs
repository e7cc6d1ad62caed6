//! The last good policies on disk, for a start without the server. Blocks; to be called off the runtime's threads.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use prost::Message as _;

use crate::proto::PolicySnapshot;

/// Format and its version; then CRC32C, little-endian, and a `PolicySnapshot`.
const MAGIC: &[u8; 4] = b"FBP1";
const HEAD: usize = MAGIC.len() + size_of::<u32>();
/// Largest file that is read or written.
const BYTES_MAX: usize = 16 << 20;

/// What was kept; none when there is no file.
///
/// # Errors
/// The file cannot be read, or it is not whole.
pub(super) fn read(path: &Path) -> io::Result<Option<PolicySnapshot>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    if bytes.len() > BYTES_MAX {
        return Err(invalid("it is larger than 16 MiB"));
    }
    let head = bytes.first_chunk::<HEAD>().ok_or_else(|| invalid("it is cut off"))?;
    let (magic, sum) = head.split_at(MAGIC.len());
    let body = bytes.get(HEAD..).unwrap_or_default();
    if magic != MAGIC {
        return Err(invalid("it is of another format"));
    }
    if sum != crc32c::crc32c(body).to_le_bytes() {
        return Err(invalid("its checksum is wrong"));
    }
    PolicySnapshot::decode(body).map(Some).map_err(|_| invalid("it is not a snapshot"))
}

/// Puts it in the place of what was kept: whole or not at all.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(path: &Path, kept: &PolicySnapshot) -> io::Result<()> {
    let body = kept.encode_to_vec();
    if body.len() + HEAD > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "policies are larger than 16 MiB"));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // Of its own process and watcher, so that two never write into one.
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.{:08x}", std::process::id(), fastrand::u32(..)));
    let written = write_draft(Path::new(&draft), &body).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // The reason is told; a draft left over is only untidy.
        let _gone = fs::remove_file(&draft);
    }
    written?;
    File::open(directory)?.sync_all()
}

fn write_draft(draft: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(draft)?;
    file.write_all(MAGIC)?;
    file.write_all(&crc32c::crc32c(body).to_le_bytes())?;
    file.write_all(body)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::AssignedPolicy;

    #[test]
    fn what_was_written_is_read_and_what_is_damaged_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/checkout.policies");
        assert_eq!(read(&path).expect("no file is no fault"), None);
        let policy = AssignedPolicy { policy_id: "p".to_owned(), revision: 7, ..AssignedPolicy::default() };
        let kept = PolicySnapshot { policies: vec![policy], ..PolicySnapshot::default() };
        write(&path, &kept).expect("written");
        write(&path, &kept).expect("written over");
        assert_eq!(read(&path).expect("whole"), Some(kept));
        assert_eq!(fs::read_dir(directory.path().join("deep")).expect("readable").count(), 1, "no draft is left");
        let whole = fs::read(&path).expect("readable");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("written");
            assert!(read(&path).is_err(), "{cut} bytes of it");
            let mut bent = whole.clone();
            bent[cut] ^= 1;
            fs::write(&path, &bent).expect("written");
            assert!(read(&path).is_err(), "byte {cut} changed");
        }
    }
}
