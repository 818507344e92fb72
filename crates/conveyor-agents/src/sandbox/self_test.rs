//! The test from inside, before the program starts: everything that must fail is tried.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use rustix::fs::OFlags;

use super::denied::{Denied, DeniedSet, Kind};

/// Tries what must fail; `Err` says what did not. `socket` is a Unix socket that somebody listens at.
pub(super) fn check(denied: &DeniedSet, socket: &Path) -> Result<(), String> {
    for place in &denied.places {
        match place.kind {
            Kind::File => refuse_object(place, &place.path)?,
            Kind::Directory => refuse_entries(place)?,
            Kind::Missing => refuse_creation(&place.path)?,
        }
    }
    // macOS refuses to connect one, not to have one.
    let has_socket = cfg!(target_os = "linux") && UnixDatagram::unbound().is_ok();
    if has_socket || UnixStream::connect(socket).is_ok() {
        return Err("the self-test failed: Unix sockets can be used".into());
    }
    Ok(())
}

fn open(path: &Path, options: &mut OpenOptions) -> Option<File> {
    // A named pipe must not hold us up.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    options.custom_flags(flags).open(path).ok()
}

fn refuse_object(place: &Denied, path: &Path) -> Result<(), String> {
    for options in [OpenOptions::new().read(true), OpenOptions::new().append(true)] {
        let opened = open(path, options).and_then(|file| file.metadata().ok());
        // What covers a file may well be opened; it is another file.
        if opened.is_some_and(|found| (found.dev(), found.ino()) == place.object) {
            return Err(format!("the self-test failed: {} can be opened", path.display()));
        }
    }
    Ok(())
}

fn refuse_entries(place: &Denied) -> Result<(), String> {
    let is_itself = fs::metadata(&place.path).is_ok_and(|found| (found.dev(), found.ino()) == place.object);
    let Ok(entries) = fs::read_dir(&place.path) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_file = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        if is_itself && is_file && open(&path, OpenOptions::new().read(true)).is_some() {
            return Err(format!("the self-test failed: {} can be opened", path.display()));
        }
    }
    if is_itself {
        refuse_creation(&place.path.join(format!(".conveyor-self-test-{}", std::process::id())))?;
    }
    Ok(())
}

fn refuse_creation(path: &Path) -> Result<(), String> {
    if open(path, OpenOptions::new().write(true).create_new(true)).is_none() {
        return Ok(());
    }
    // It must not stay, and the set-up fails anyway.
    let _ = fs::remove_file(path);
    Err(format!("the self-test failed: {} can be created", path.display()))
}
