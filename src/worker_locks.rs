//! Signs of life of the daemons of one machine: a locked file for each.
//!
//! The operating system lets go of a lock when its process ends, however it ends. A lock that can be taken is
//! therefore proof that its worker is dead, and what it held need not wait for its lease to lapse: a restart finds
//! its own remains at once, and so does a neighbour. A process that is merely stopped keeps its lock. Where the
//! files cannot be kept nothing is lost but this haste.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::digest::hex_sha256;

/// Files of other databases stand in the same folder; so many digits of their digest tell them apart.
const DATABASE_DIGITS: usize = 12;
const LOCKED: &str = "lock";
/// A file that is not locked yet is not looked at by the others.
const FRESH: &str = "fresh";

/// This process' sign of life, and where those of the others are.
#[derive(Debug)]
pub struct WorkerLocks {
    folder: PathBuf,
    /// What the names of this database's files begin with.
    prefix: String,
    own: PathBuf,
    /// Held as long as this lives.
    _file: File,
}

/// A worker that is proved dead. Whoever holds this takes over what it had in hand.
#[derive(Debug)]
pub struct DeadWorker {
    /// The name under which it leased.
    pub name: String,
    path: PathBuf,
    /// Held meanwhile, so that one heir comes after the other.
    _file: File,
}

impl WorkerLocks {
    /// Makes the sign of `worker`, which works on the database of this URL.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn take(folder: &Path, database_url: &str, worker: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let digest = hex_sha256(without_secret(database_url).as_bytes());
        let database: String = digest.chars().take(DATABASE_DIGITS).collect();
        let prefix = format!("{database}-");
        let own = folder.join(format!("{prefix}{worker}.{LOCKED}"));
        let fresh = own.with_extension(FRESH);
        let file = File::create(&fresh)?;
        file.lock()?;
        // Only now can others see it: one that is not locked would be taken for dead.
        fs::rename(&fresh, &own)?;
        Ok(Self {
            folder: folder.to_owned(),
            prefix,
            own,
            _file: file,
        })
    }

    /// The workers of this database that died on this machine.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn dead(&self) -> io::Result<Vec<DeadWorker>> {
        let mut dead = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path == self.own || path.extension().is_none_or(|it| it != LOCKED) {
                continue;
            }
            let name = path.file_stem().and_then(|stem| stem.to_str());
            let Some(name) = name.and_then(|stem| stem.strip_prefix(&self.prefix)) else {
                continue;
            };
            // One that vanished was a clean end, or another heir was faster.
            let Ok(file) = File::open(&path) else {
                continue;
            };
            match file.try_lock() {
                Ok(()) => dead.push(DeadWorker {
                    name: name.to_owned(),
                    path,
                    _file: file,
                }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(dead)
    }

    /// Ends the sign: nothing is left to take over.
    ///
    /// # Errors
    /// When the file cannot be removed; it is taken for one of a dead worker then, who holds nothing.
    pub fn leave(self) -> io::Result<()> {
        fs::remove_file(&self.own)
    }
}

impl DeadWorker {
    /// Everything it had is taken over.
    ///
    /// # Errors
    /// When the file cannot be removed; the next look finds it again.
    pub fn bury(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// The same database has the same name whatever password it is asked with.
fn without_secret(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "postgres://clearday:secret@db/clearday";

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("clearday-locks-{name}-{}", std::process::id()));
        fs::remove_dir_all(&folder).ok();
        folder
    }

    fn names(locks: &WorkerLocks) -> Vec<String> {
        let mut names: Vec<String> = locks
            .dead()
            .unwrap()
            .into_iter()
            .map(|it| it.name)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn who_lives_is_not_found_dead_and_who_died_is() {
        let folder = folder("dead");
        let a = WorkerLocks::take(&folder, URL, "1-a").unwrap();
        let b = WorkerLocks::take(&folder, URL, "2-b").unwrap();
        assert!(names(&a).is_empty() && names(&b).is_empty());
        drop(b);
        assert_eq!(names(&a), ["2-b"]);
        for dead in a.dead().unwrap() {
            dead.bury().unwrap();
        }
        assert!(names(&a).is_empty());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn who_left_has_nothing_to_take_over() {
        let folder = folder("left");
        let a = WorkerLocks::take(&folder, URL, "1-a").unwrap();
        WorkerLocks::take(&folder, URL, "2-b")
            .unwrap()
            .leave()
            .unwrap();
        assert!(names(&a).is_empty());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_heir_takes_over_at_a_time() {
        let folder = folder("heirs");
        let a = WorkerLocks::take(&folder, URL, "1-a").unwrap();
        let b = WorkerLocks::take(&folder, URL, "2-b").unwrap();
        drop(WorkerLocks::take(&folder, URL, "3-c").unwrap());
        let estate = a.dead().unwrap();
        assert!(names(&b).is_empty());
        drop(estate);
        assert_eq!(names(&b), ["3-c"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn workers_of_another_database_are_left_alone_and_a_password_makes_none() {
        let folder = folder("databases");
        let a = WorkerLocks::take(&folder, URL, "1-a").unwrap();
        drop(WorkerLocks::take(&folder, "postgres://db/other", "2-b").unwrap());
        drop(WorkerLocks::take(&folder, "postgres://clearday:changed@db/clearday", "3-c").unwrap());
        assert_eq!(names(&a), ["3-c"]);
        fs::remove_dir_all(folder).unwrap();
    }
}
