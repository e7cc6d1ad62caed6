//! Where the private servers keep their files and sockets, and who may reach them.
//!
//! A private server trusts whoever reaches its socket: the directory of the sockets is for its user alone, and one that is
//! there already must be that user's. As root, the servers run as an unprivileged user; where that user cannot walk down to
//! the data directory, another one stands in for it.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::child;
use super::private::PrivateError;

/// Longest path of a unix socket that every kernel takes.
const SOCKET_PATH_MAX: usize = 100;
/// What is longer than this is added to the directory of the sockets: `/.s.PGSQL.5432.lock`.
const SOCKET_NAME_MAX: usize = 24;
/// For their user alone.
const ONLY_OWNER: u32 = 0o700;
/// Where a data directory that the servers' user cannot reach is stood in for.
const INSTEAD: &str = "/var/lib/fastbreak";

/// The user that private servers run as: ourselves, or an unprivileged one when we are root.
#[derive(Clone, Copy, Debug)]
pub(super) struct User(Option<(u32, u32)>);

impl User {
    pub(super) fn find() -> Self {
        Self(child::is_root().then(|| child::unprivileged_user().unwrap_or((65_534, 65_534))))
    }

    fn own(self, path: &Path) -> Result<(), PrivateError> {
        let Some((uid, gid)) = self.0 else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).map_err(files(path))
    }

    /// Ours before it is given away, or the servers' user's.
    fn may_own(self, uid: u32) -> bool {
        uid == child::own_uid() || self.0.is_some_and(|(own, _)| uid == own)
    }

    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).current_dir("/");
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// The first of `path` and its parents that this user cannot walk through.
    fn stopped_at(self, path: &Path) -> Result<Option<PathBuf>, PrivateError> {
        let Some((uid, gid)) = self.0 else { return Ok(None) };
        for parent in path.ancestors() {
            let meta = std::fs::metadata(parent).map_err(files(parent))?;
            let walks = if meta.uid() == uid {
                0o100
            } else if meta.gid() == gid {
                0o010
            } else {
                0o001
            };
            if meta.mode() & walks == 0 {
                return Ok(Some(parent.to_owned()));
            }
        }
        Ok(None)
    }
}

pub(super) fn files(path: &Path) -> impl Fn(io::Error) -> PrivateError {
    let what = format!("{} cannot be used", path.display());
    move |source| PrivateError::Files { what: what.clone(), source }
}

/// The directories of one server.
#[derive(Debug)]
pub(super) struct Directories {
    /// Holds the others: the data directory, or what stands in for it.
    pub(super) base: PathBuf,
    /// The server's files.
    pub(super) own: PathBuf,
    /// Its socket.
    pub(super) run: PathBuf,
}

impl Directories {
    /// Makes those of server `name`.
    pub(super) fn make(data_dir: &Path, name: &str, user: User) -> Result<Self, PrivateError> {
        let base = reachable(data_dir, user)?;
        let own = base.join(name);
        keep_for(user, &own)?;
        let beside = base.join("run");
        let run = if beside.as_os_str().len() + SOCKET_NAME_MAX > SOCKET_PATH_MAX {
            std::env::temp_dir().join(format!("fastbreak-{}", short_name(&base)))
        } else {
            beside
        };
        keep_for(user, &run)?;
        Ok(Self { base, own, run })
    }
}

/// The data directory, or one that stands in for it since `user` cannot walk there.
fn reachable(data_dir: &Path, user: User) -> Result<PathBuf, PrivateError> {
    std::fs::create_dir_all(data_dir).map_err(files(data_dir))?;
    let data_dir = data_dir.canonicalize().map_err(files(data_dir))?;
    let Some(closed) = user.stopped_at(&data_dir)? else { return Ok(data_dir) };
    let instead = Path::new(INSTEAD).join(short_name(&data_dir));
    std::fs::create_dir_all(&instead).map_err(files(&instead))?;
    if let Some(closed) = user.stopped_at(&instead)? {
        let what = format!("{} is closed to the user that Postgres runs as; choose another data_dir", closed.display());
        return Err(PrivateError::Files { what, source: io::ErrorKind::PermissionDenied.into() });
    }
    tracing::warn!(
        data_dir = %data_dir.display(),
        closed = %closed.display(),
        directory = %instead.display(),
        "the user that Postgres runs as cannot reach data_dir; its files are kept in another directory"
    );
    Ok(instead)
}

/// A name for `path` that is short and always the same.
fn short_name(path: &Path) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(path.as_os_str().as_encoded_bytes()))
}

/// Makes `directory` for `user` alone; one that is there must not be somebody else's.
pub(super) fn keep_for(user: User, directory: &Path) -> Result<(), PrivateError> {
    match std::fs::DirBuilder::new().mode(ONLY_OWNER).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(files(directory)(error)),
        _ => {}
    }
    let meta = std::fs::symlink_metadata(directory).map_err(files(directory))?;
    if !meta.is_dir() || !user.may_own(meta.uid()) {
        let what = format!("{} is not a directory of ours (its owner is user {})", directory.display(), meta.uid());
        return Err(PrivateError::Files { what, source: io::ErrorKind::PermissionDenied.into() });
    }
    user.own(directory)?;
    let mode = std::fs::Permissions::from_mode(ONLY_OWNER);
    std::fs::set_permissions(directory, mode).map_err(files(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(data_dir: &Path) -> Result<Directories, PrivateError> {
        Directories::make(data_dir, "postgres", User(None))
    }

    #[test]
    fn directories_are_for_their_user_alone() {
        let base = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(base.path().join("run")).expect("made");
        let made = make(base.path()).expect("made");
        for directory in [&made.own, &made.run] {
            let mode = std::fs::metadata(directory).expect("there").mode() & 0o777;
            assert_eq!(mode, ONLY_OWNER, "{}", directory.display());
        }
    }

    #[test]
    fn what_somebody_else_may_have_put_there_is_not_taken() {
        let base = tempfile::tempdir().expect("a directory");
        let elsewhere = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(elsewhere.path(), base.path().join("run")).expect("a link");
        let told = make(base.path()).expect_err("refused").to_string();
        assert!(told.contains("is not a directory of ours"), "{told}");
        if child::is_root() {
            std::fs::remove_file(base.path().join("run")).expect("removed");
            std::fs::create_dir(base.path().join("run")).expect("made");
            chown(base.path().join("run"), Some(12_345), None).expect("root may");
            let told = make(base.path()).expect_err("refused").to_string();
            assert!(told.contains("its owner is user 12345"), "{told}");
        }
    }

    #[test]
    fn a_long_path_gets_a_short_one_for_its_socket() {
        let base = tempfile::tempdir().expect("a directory");
        let made = make(&base.path().join("d".repeat(90))).expect("made");
        assert!(made.run.as_os_str().len() + SOCKET_NAME_MAX <= SOCKET_PATH_MAX, "{}", made.run.display());
        std::fs::remove_dir(made.run).expect("empty");
    }
}
