//! The files of Unix sockets.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use tokio::net::UnixListener;

/// Removes the file of a socket when dropped, unless another file has replaced it: device and inode number are
/// compared.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf, (u64, u64));

impl SocketFile {
    fn new(path: PathBuf) -> io::Result<Self> {
        let file = file(&path)?;
        Ok(Self(path, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file(&self.0).is_ok_and(|file| file == self.1) {
            drop(fs::remove_file(&self.0));
        }
    }
}

fn file(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Replaces a file that is left over from a server that was killed, but not one with a listener, or one that is not a
/// socket. Its owner and its group may connect: that of the process, or another one.
pub(super) fn bind_unix(path: &Path, group: Option<u32>) -> io::Result<(UnixListener, SocketFile)> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    let file = SocketFile::new(path.to_owned())?;
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok((socket, file))
}
